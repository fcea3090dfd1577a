/** @file Making tensors from numbers. */
import { node } from "../build.ts";
import { type HostArray, mistake } from "../node.ts";
import { showShape, sizeOf } from "../shape.ts";
import type { AnyTensor, DType, Kind, KindOf, Scalar, Sizes, Tensor } from "../tensor.ts";
import { nodeOf, tensorOf } from "../tensor.ts";

/** Numbers, nested as deep as there are axes. */
export type Nested = number | readonly Nested[];

const flat = (values: Nested): number[] => typeof values === "number" ? [values] : values.flatMap(flat);

/**
 * A tensor from host values, row-major in the order of `sizes`.
 *
 * @throws TypeError when the number of values is not the product of the sizes
 * @example
 * ```ts
 * import { read, tensor } from "../mod.ts";
 * const x = tensor({ batch: 2, seq: 2 }, [[1, 2], [3, 4]]);
 * console.assert(read(x, "seq", "batch").join() === "1,3,2,4");
 * ```
 */
export function tensor<const S extends Sizes, D extends DType = "f32">(
  sizes: S,
  values: Nested | HostArray,
  dtype?: D,
): Tensor<keyof S & string, KindOf<D>> {
  const array = ArrayBuffer.isView(values) ? values : Float64Array.from(flat(values));
  if (array.length !== sizeOf(sizes)) {
    mistake("tensor", `${showShape(sizes)} needs ${sizeOf(sizes)} values, got ${array.length}`);
  }
  return tensorOf(node("data", [], { shape: sizes, dtype: dtype ?? "f32", values: array }));
}

/**
 * A number as a tensor without axes, f32.
 *
 * @example
 * ```ts
 * import { item, scalar } from "../mod.ts";
 * console.assert(item(scalar(3)) === 3);
 * ```
 */
export const scalar = (value: number): Scalar => tensorOf(node("constant", [], { value, dtype: "f32" }));

/**
 * One value everywhere.
 *
 * @param dtype how it is stored (default f32)
 * @example
 * ```ts
 * import { full, read } from "../mod.ts";
 * console.assert(read(full({ seq: 3 }, 0.5)).join() === "0.5,0.5,0.5");
 * ```
 */
export const full = <const S extends Sizes, D extends DType = "f32">(
  sizes: S,
  value: number,
  dtype?: D,
): Tensor<keyof S & string, KindOf<D>> =>
  tensorOf(node("expand", [node("constant", [], { value, dtype: dtype ?? "f32" })], { shape: sizes }));

/**
 * 0, 1, 2, … along one axis, i32. Computed where it is used: it takes no memory.
 *
 * @example
 * ```ts
 * import { iota, read } from "../mod.ts";
 * console.assert(read(iota("seq", 3)).join() === "0,1,2");
 * ```
 */
export const iota = <N extends string>(axis: N, size: number): Tensor<N, "int"> =>
  tensorOf(node("iota", [], { axis, size }));

/**
 * Zeros of the axes and sizes of `x`, f32.
 *
 * @example
 * ```ts
 * import { read, tensor, zerosLike } from "../mod.ts";
 * console.assert(read(zerosLike(tensor({ seq: 2 }, [1, 2]))).join() === "0,0");
 * ```
 */
export const zerosLike = <A extends string>(x: Tensor<A>): Tensor<A> =>
  full(nodeOf(x).shape, 0) as unknown as Tensor<A>;

/**
 * States the axes of a tensor whose names are known at run time only.
 *
 * @throws TypeError when it has other axes
 * @example
 * ```ts
 * import { entries, expectAxes, sum, tensor } from "../mod.ts";
 * const [[, leaf]] = entries({ weight: tensor({ embed: 2 }, [1, 2]) });
 * console.assert(sum(expectAxes(leaf, "embed")).dtype === "f32");
 * ```
 */
export function expectAxes<A extends string, K extends Kind = "real">(x: AnyTensor, ...axes: A[]): Tensor<A, K> {
  const have = Object.keys(nodeOf(x).shape);
  if (have.length !== axes.length || axes.some((axis) => !have.includes(axis))) {
    mistake("expectAxes", `expected axes ${axes.join(" ")}, got ${showShape(nodeOf(x).shape)}`);
  }
  return tensorOf(nodeOf(x));
}
