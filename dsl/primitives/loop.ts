/** @file The interpreter's one strided loop: every primitive is a walk over named axes. */
import { axesOf, type Shape, sizeOf, stridesOf } from "../shape.ts";

/** Strides of `shape`'s axes as seen by a loop over `space` (0 where `shape` lacks the axis). */
export const along = (space: Shape, shape: Shape, names: Readonly<Record<string, string>> = {}): number[] => {
  const strides = stridesOf(shape);
  return axesOf(space).map((axis) => strides[names[axis] ?? axis] ?? 0);
};

/** A zeroed (or filled) array for `shape`. */
export const fresh = (shape: Shape, value = 0): Float64Array => new Float64Array(sizeOf(shape)).fill(value);

/** Calls `body` with one running offset per operand, for every index of `space` in row-major order. */
export function loop(
  space: Shape,
  strides: readonly (readonly number[])[],
  body: (at: readonly number[]) => void,
): void {
  const sizes = Object.values(space), rank = sizes.length, index = new Int32Array(rank), total = sizeOf(space);
  const at: number[] = strides.map(() => 0);
  for (let count = 0; count < total; count++) {
    body(at);
    for (let axis = rank - 1; axis >= 0; axis--) {
      for (let k = 0; k < at.length; k++) at[k] += strides[k][axis];
      if (++index[axis] < sizes[axis]) break;
      for (let k = 0; k < at.length; k++) at[k] -= strides[k][axis] * sizes[axis];
      index[axis] = 0;
    }
  }
}
