/** @file Indexing: look-ups, one-hot vectors and the largest few. */
import { cast as castTo, expand, fill, node, sum, where } from "../build.ts";
import { axesOf } from "../shape.ts";
import { type Kind, nodeOf, type Tensor, tensorOf } from "../tensor.ts";

/**
 * x[axis = index]. Axes shared with `index` are aligned, the others are kept: embedding look-up and label pick are
 * one function. The index may have the axis too (then it says, for each place, what stands there). An index of −1 gives
 * 0.
 *
 * @param index where to look, i32, from −1 to the axis' size − 1
 * @throws TypeError when x lacks the axis
 * @example
 * ```ts
 * import { read, take, tensor } from "../mod.ts";
 * const embedding = tensor({ vocab: 3, embed: 2 }, [[1, 2], [3, 4], [5, 6]]);
 * console.assert(read(take(embedding, "vocab", tensor({ seq: 2 }, [2, 0], "i32"))).join() === "5,6,1,2");
 * // The axis "seq" is shared: one element for each place.
 * const logits = tensor({ seq: 2, vocab: 2 }, [[1, 2], [3, 4]]);
 * console.assert(read(take(logits, "vocab", tensor({ seq: 2 }, [1, 0], "i32"))).join() === "2,3");
 * ```
 */
export function take<A extends string, K extends Kind, D extends A, B extends string>(
  x: Tensor<A, K>,
  axis: D,
  index: Tensor<B, "int">,
): Tensor<Exclude<A, D> | B, K> {
  const at = nodeOf(index), from = axis in at.shape ? `${axis}′` : axis;
  const source = from === axis ? nodeOf(x) : node("rename", [nodeOf(x)], { names: { [axis]: from } });
  if (!axesOf(at.shape).some((name) => name in source.shape)) {
    return tensorOf(node("take", [source, at], { axis: from }));
  }
  // The index shares axes with x: Σ over the axis of where(iota = index, x, 0), which fuses with what made x.
  const space = { ...at.shape, ...source.shape };
  const hit = node(
    "equal",
    [expand(at, space), expand(node("iota", [], { axis: from, size: source.shape[from] }), space)],
    {},
  );
  const wide = expand(source, space);
  return tensorOf(sum(where(hit, wide, fill(0, wide)), [from]));
}

/**
 * 1 where the new axis equals the index, else 0 (everywhere, for an index of −1).
 *
 * @param axis the new axis and its size
 * @throws TypeError when the index has the axis already with another size
 * @example
 * ```ts
 * import { oneHot, read, tensor } from "../mod.ts";
 * const chosen = tensor({ seq: 2 }, [2, 0], "i32");
 * console.assert(read(oneHot(chosen, { expert: 3 }), "seq", "expert").join() === "0,0,1,1,0,0");
 * ```
 */
export function oneHot<A extends string, const S extends { readonly [N in string]: number }>(
  index: Tensor<A, "int">,
  axis: S,
): Tensor<A | (keyof S & string)> {
  const [[name, size]] = Object.entries(axis), at = nodeOf(index), space = { ...at.shape, [name]: size };
  const hit = node("equal", [expand(at, space), expand(node("iota", [], { axis: name, size }), space)], {});
  return tensorOf(castTo(hit, "f32"));
}

/**
 * Indices of the largest few along an axis, largest first; ties: lowest index; NaN last. No gradient flows through them;
 * `take` gets the values.
 *
 * @param slots the axis that the result has instead, and how many
 * @throws TypeError when x lacks the axis, or it has fewer elements
 * @example
 * ```ts
 * import { read, take, tensor, topk } from "../mod.ts";
 * const x = tensor({ expert: 4 }, [3, 9, 3, 1]), best = topk(x, "expert", { slot: 3 });
 * console.assert(read(best).join() === "1,0,2" && read(take(x, "expert", best)).join() === "9,3,3");
 * ```
 */
export function topk<A extends string, D extends A, const S extends { readonly [N in string]: number }>(
  x: Tensor<A>,
  axis: D,
  slots: S,
): Tensor<Exclude<A, D> | (keyof S & string), "int"> {
  const [[slot, count]] = Object.entries(slots);
  return tensorOf(node("topk", [nodeOf(x)], { axis, slot, count }));
}

/**
 * Index of the largest element along an axis; ties: the lowest; NaN last.
 *
 * @throws TypeError when x lacks the axis, or it is empty
 * @example
 * ```ts
 * import { argmax, item, tensor } from "../mod.ts";
 * console.assert(item(argmax(tensor({ vocab: 3 }, [1, 7, 7]), "vocab")) === 1);
 * ```
 */
export function argmax<A extends string, D extends A>(x: Tensor<A>, axis: D): Tensor<Exclude<A, D>, "int"> {
  const first = node("topk", [nodeOf(x)], { axis, slot: `${axis}'`, count: 1 });
  return tensorOf(sum(first, [`${axis}'`]));
}
