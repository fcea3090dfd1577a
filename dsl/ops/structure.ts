/** @file Structure: the same elements under other axes. */
import { expand as expandTo, fill, into, node } from "../build.ts";
import { mistake } from "../node.ts";
import { showShape } from "../shape.ts";
import { type In, type Kind, nodeOf, type Sizes, type Tensor, tensorOf } from "../tensor.ts";

/** Axes after a renaming. */
export type Renamed<A extends string, M> = Exclude<A, keyof M> | (M[keyof M] & string);

/** More axes, in front; the value repeats along them. @throws TypeError when an axis exists with another size */
export const expand = <A extends string, K extends Kind, const S extends Sizes>(
  x: Tensor<A, K>,
  sizes: S,
): Tensor<A | (keyof S & string), K> =>
  tensorOf(node("expand", [nodeOf(x)], { shape: { ...sizes, ...nodeOf(x).shape } }));

/** What a new name is that is taken already: no string is of this type, so the compiler says which axis it is. */
export interface ExistingAxis<N> {
  /** The axis that exists. */
  readonly "there is an axis of that name already": N;
}

/** New names that no other axis has. */
export type FreeNames<A extends string, M> = {
  readonly [N in keyof M]: M[N] extends Exclude<A, keyof M> ? ExistingAxis<M[N]> : M[N];
};

/**
 * Other names for axes. To use one axis twice (queries and keys of attention), rename one side.
 *
 * @param names the new name of each axis that gets one
 * @throws TypeError when x lacks one of the axes, or two axes would be alike
 * @example
 * ```ts
 * import { contract, rename, tensor } from "../mod.ts";
 * const x = tensor({ seq: 2, dim: 1 }, [[3], [4]]);
 * const scores = contract(x, rename(x, { seq: "key" }), "dim");
 * console.assert(Object.keys(scores.shape).join() === "seq,key");
 * ```
 */
export const rename = <A extends string, K extends Kind, const M extends { readonly [N in A]?: string }>(
  x: Tensor<A, K>,
  names: M & FreeNames<NoInfer<A>, M>,
): Tensor<Renamed<A, M>, K> => tensorOf(node("rename", [nodeOf(x)], { names: names as Record<string, string> }));

/** One axis as several, outermost first. @throws TypeError when the sizes do not multiply to the axis */
export const unflatten = <A extends string, K extends Kind, D extends A, const S extends Sizes>(
  x: Tensor<A, K>,
  axis: D,
  sizes: S,
): Tensor<Exclude<A, D> | (keyof S & string), K> => tensorOf(node("unflatten", [nodeOf(x)], { axis, sizes }));

/** Several axes as one, outermost first. */
export const flatten = <A extends string, K extends Kind, D extends A, N extends string>(
  x: Tensor<A, K>,
  name: N,
  ...axes: [D, ...D[]]
): Tensor<Exclude<A, D> | N, K> => tensorOf(node("flatten", [nodeOf(x)], { axes, axis: name }));

/** Elements start … stop − 1 of an axis. @throws TypeError when they are not all there */
export const slice = <A extends string, K extends Kind>(
  x: Tensor<A, K>,
  axis: NoInfer<A>,
  start: number,
  stop?: number,
): Tensor<A, K> => tensorOf(node("slice", [nodeOf(x)], { axis, start, stop: stop ?? nodeOf(x).shape[axis] }));

/** One element of an axis. @throws TypeError when it is not there */
export const at = <A extends string, K extends Kind, D extends A>(
  x: Tensor<A, K>,
  axis: D,
  index: number,
): Tensor<Exclude<A, D>, K> =>
  tensorOf(node("sum", [node("slice", [nodeOf(x)], { axis, start: index, stop: index + 1 })], { over: [axis] }));

/** One after the other along an axis. */
export const concat = <A extends string, K extends Kind>(xs: readonly Tensor<A, K>[], axis: NoInfer<A>): Tensor<A, K> =>
  tensorOf(xs.length === 1 ? nodeOf(xs[0]) : node("concat", xs.map(nodeOf), { axis }));

/** Zeros around an axis. */
export const pad = <A extends string, K extends Kind>(
  x: Tensor<A, K>,
  axis: NoInfer<A>,
  before: number,
  after: number,
): Tensor<A, K> => tensorOf(node("pad", [nodeOf(x)], { axis, before, after }));

/**
 * x with `value` written along `axis` from a run-time start on (KV caches). In place where x is donated.
 *
 * @throws TypeError when the other axes differ or the value is longer than the axis
 */
export const write = <A extends string, K extends Kind>(
  x: Tensor<A, K>,
  axis: NoInfer<A>,
  start: Tensor<never, "int">,
  value: Tensor<NoInfer<A>, NoInfer<K>>,
): Tensor<A, K> => tensorOf(node("write", [nodeOf(x), nodeOf(start), nodeOf(value)], { axis }));

/**
 * x up to a run-time length along an axis; from there on 0. The size stays: what is beyond the length is padding (a
 * cache that is not full yet).
 *
 * @param length how many elements count, one for all rows or one for each
 * @throws TypeError when x lacks the axis, or the length has one that x lacks
 * @example
 * ```ts
 * import { read, tensor, until } from "../mod.ts";
 * const x = tensor({ batch: 2, seq: 3 }, [[1, 2, 3], [4, 5, 6]]), length = tensor({ batch: 2 }, [1, 3], "i32");
 * console.assert(read(until(x, "seq", length)).join() === "1,0,0,4,5,6");
 * ```
 */
export function until<A extends string, K extends Kind, D extends A>(
  x: Tensor<A, K>,
  axis: D,
  length: In<Exclude<A, D>, "int">,
): Tensor<A, K> {
  const given = nodeOf(x);
  if (!(axis in given.shape)) mistake("until", `no axis "${axis}" in ${showShape(given.shape)}`);
  const place = expandTo(node("iota", [], { axis, size: given.shape[axis] }), given.shape);
  const end = into("until", place, typeof length === "number" ? length : nodeOf(length));
  return tensorOf(node("where", [node("less", [place, end], {}), given, fill(0, given)], {}));
}
