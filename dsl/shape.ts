/** @file Shapes: sizes by axis name. The order of the names is the physical order, never a meaning. */

/** Size of every axis; insertion order = physical (row-major) order. */
export type Shape = Readonly<Record<string, number>>;

/** Names of the axes, outermost first. */
export const axesOf = (shape: Shape): string[] => Object.keys(shape);

/** Number of elements. */
export const sizeOf = (shape: Shape): number => {
  let size = 1;
  for (const axis in shape) size *= shape[axis];
  return size;
};

/** The shape without the axes named. */
export const without = (shape: Shape, drop: readonly string[]): Shape => {
  const kept: Record<string, number> = {};
  for (const axis in shape) if (!drop.includes(axis)) kept[axis] = shape[axis];
  return kept;
};

/** The axes of `from` that `shape` lacks. */
export const missing = (shape: Shape, from: Shape): string[] => axesOf(from).filter((axis) => !(axis in shape));

/** As it is written in messages: `[seq:3 embed:8]`. */
export const showShape = (shape: Shape): string =>
  `[${Object.entries(shape).map(([axis, size]) => `${axis}:${size}`).join(" ")}]`;

/** Do both have the same axes with the same sizes, in whatever order? */
export const sameAxes = (a: Shape, b: Shape): boolean => {
  if (a === b) return true;
  let more = 0;
  for (const axis in a) {
    if (a[axis] !== b[axis]) return false;
    more++;
  }
  for (const _ in b) more--;
  return more === 0;
};

/** Are they the same in memory too? */
export const sameOrder = (a: Shape, b: Shape): boolean => {
  if (a === b) return true;
  const names = axesOf(a), others = axesOf(b);
  return names.length === others.length && names.every((axis, i) => axis === others[i] && a[axis] === b[axis]);
};

/** Row-major strides, in elements. */
export const stridesOf = (shape: Shape): Readonly<Record<string, number>> => {
  const names = axesOf(shape), strides: Record<string, number> = {};
  for (let i = names.length - 1, stride = 1; i >= 0; stride *= shape[names[i--]]) strides[names[i]] = stride;
  return strides;
};
