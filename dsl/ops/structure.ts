/** @file Structure: the same elements under other axes. */
import { cast, expand as expandTo, fill, into, node } from "../build.ts";
import { mistake } from "../node.ts";
import { showShape } from "../shape.ts";
import { type In, type Kind, nodeOf, type Operand, type Sizes, type Tensor, tensorOf } from "../tensor.ts";

/** Axes after a renaming. */
export type Renamed<A extends string, M> = Exclude<A, keyof M> | (M[keyof M] & string);

/**
 * More axes, in front; the value repeats along them.
 *
 * @param sizes the new axes
 * @throws TypeError when an axis exists with another size
 * @example
 * ```ts
 * import { expand, read, tensor } from "../mod.ts";
 * console.assert(read(expand(tensor({ seq: 2 }, [1, 2]), { batch: 2 })).join() === "1,2,1,2");
 * ```
 */
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

/**
 * One axis as several, outermost first: the inverse of `flatten`. The elements stay where they are.
 *
 * @param sizes the new axes; their product is the size of the old one
 * @throws TypeError when x lacks the axis, a new one exists already, or their sizes do not multiply to it
 * @example
 * ```ts
 * import { at, read, tensor, unflatten } from "../mod.ts";
 * const x = unflatten(tensor({ embed: 6 }, [0, 1, 2, 3, 4, 5]), "embed", { head: 2, dim: 3 });
 * console.assert(read(at(x, "head", 1)).join() === "3,4,5");
 * ```
 */
export const unflatten = <A extends string, K extends Kind, D extends A, const S extends Sizes>(
  x: Tensor<A, K>,
  axis: D,
  sizes: S,
): Tensor<Exclude<A, D> | (keyof S & string), K> => tensorOf(node("unflatten", [nodeOf(x)], { axis, sizes }));

/**
 * Several axes as one, outermost first.
 *
 * @param name the new axis
 * @throws TypeError when x lacks one of the axes, or has the new one already
 * @example
 * ```ts
 * import { flatten, read, tensor } from "../mod.ts";
 * const x = tensor({ batch: 2, seq: 2 }, [[1, 2], [3, 4]]);
 * console.assert(read(flatten(x, "token", "batch", "seq")).join() === "1,2,3,4");
 * console.assert(read(flatten(x, "token", "seq", "batch")).join() === "1,3,2,4");
 * ```
 */
export const flatten = <A extends string, K extends Kind, D extends A, N extends string>(
  x: Tensor<A, K>,
  name: N,
  ...axes: [D, ...D[]]
): Tensor<Exclude<A, D> | N, K> => tensorOf(node("flatten", [nodeOf(x)], { axes, axis: name }));

/**
 * Elements start … stop − 1 of an axis.
 *
 * @param stop the first element that is left out (default: none)
 * @throws TypeError when they are not all there
 * @example
 * ```ts
 * import { read, slice, tensor } from "../mod.ts";
 * console.assert(read(slice(tensor({ seq: 4 }, [1, 2, 3, 4]), "seq", 1, 3)).join() === "2,3");
 * ```
 */
export const slice = <A extends string, K extends Kind>(
  x: Tensor<A, K>,
  axis: NoInfer<A>,
  start: number,
  stop?: number,
): Tensor<A, K> => tensorOf(node("slice", [nodeOf(x)], { axis, start, stop: stop ?? nodeOf(x).shape[axis] }));

/**
 * One element of an axis, which the result lacks.
 *
 * @throws TypeError when it is not there
 * @example
 * ```ts
 * import { at, read, tensor } from "../mod.ts";
 * console.assert(read(at(tensor({ layer: 2, embed: 2 }, [[1, 2], [3, 4]]), "layer", 1)).join() === "3,4");
 * ```
 */
export function at<A extends string, K extends Kind, D extends A>(
  x: Tensor<A, K>,
  axis: D,
  index: number,
): Tensor<Exclude<A, D>, K> {
  const one = node("slice", [nodeOf(x)], { axis, start: index, stop: index + 1 });
  // Bools have no sum, numbers do: of one element.
  const total = node("sum", [cast(one, one.dtype === "bool" ? "i32" : one.dtype)], { over: [axis] });
  return tensorOf(cast(total, one.dtype));
}

/**
 * One after the other along an axis.
 *
 * @throws TypeError when the other axes differ, or there is nothing to join
 * @example
 * ```ts
 * import { concat, read, tensor } from "../mod.ts";
 * const x = tensor({ seq: 2 }, [1, 2]), y = tensor({ seq: 1 }, [3]);
 * console.assert(read(concat([x, y], "seq")).join() === "1,2,3");
 * ```
 */
export function concat<A extends string, K extends Kind>(
  xs: readonly Tensor<A, K>[],
  axis: NoInfer<A>,
): Tensor<A, K> {
  if (xs.length === 0) mistake("concat", `there is nothing to join along "${axis}"`);
  return tensorOf(xs.length === 1 ? nodeOf(xs[0]) : node("concat", xs.map(nodeOf), { axis }));
}

/**
 * Zeros around an axis.
 *
 * @param before how many come first
 * @param after how many follow
 * @throws TypeError when x lacks the axis
 * @example
 * ```ts
 * import { pad, read, tensor } from "../mod.ts";
 * console.assert(read(pad(tensor({ seq: 2 }, [1, 2]), "seq", 1, 2)).join() === "0,1,2,0,0");
 * ```
 */
export const pad = <A extends string, K extends Kind>(
  x: Tensor<A, K>,
  axis: NoInfer<A>,
  before: number,
  after: number,
): Tensor<A, K> => tensorOf(node("pad", [nodeOf(x)], { axis, before, after }));

/**
 * x with `value` written along `axis` from a run-time start on (KV caches). In place where x is donated.
 *
 * @param start where the value begins, i32; all of it must fit behind that. With axes: one for each of their indices
 * @throws TypeError when the other axes differ or the value is longer than the axis
 * @example
 * ```ts
 * import { read, tensor, write } from "../mod.ts";
 * const cache = tensor({ key: 4 }, [0, 0, 0, 0]), start = tensor({}, [1], "i32");
 * console.assert(read(write(cache, "key", start, tensor({ key: 2 }, [7, 8]))).join() === "0,7,8,0");
 * ```
 */
export const write = <A extends string, K extends Kind>(
  x: Tensor<A, K>,
  axis: NoInfer<A>,
  start: Operand<NoInfer<A>, "int">,
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
