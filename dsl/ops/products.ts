/** @file Products: the operations that make new combinations of axes. */
import { contract as product, node } from "../build.ts";
import { nodeOf, type Tensor, tensorOf } from "../tensor.ts";

/**
 * Σ over axes of x · y; every other axis of either is kept.
 *
 * @throws TypeError when an axis is missing in one operand or differs in size
 * @example
 * ```ts
 * import { contract, item, sum, tensor } from "../mod.ts";
 * const x = tensor({ embed: 2 }, [1, 2]), w = tensor({ embed: 2, hidden: 1 }, [[3], [4]]);
 * console.assert(item(sum(contract(x, w, "embed"))) === 11);
 * ```
 */
export const contract = <A extends string, B extends string, D extends A & B>(
  x: Tensor<A>,
  y: Tensor<B>,
  ...axes: [D, ...D[]]
): Tensor<Exclude<A | B, D>> => tensorOf(product(nodeOf(x), nodeOf(y), axes));

/** x · y for every combination of their axes; shared axes are aligned. */
export const outer = <A extends string, B extends string>(x: Tensor<A>, y: Tensor<B>): Tensor<A | B> =>
  tensorOf(product(nodeOf(x), nodeOf(y), []));

/**
 * `contract(x, take(w, axis, index), …axes)`, without the gathered weights ever existing: rows are grouped by index.
 * An index of −1 gives 0.
 *
 * @param at the axis of w that is chosen, and the index that chooses: `{ expert: index }`
 */
export function contractAt<A extends string, W extends string, E extends W, I extends string, D extends A & W>(
  x: Tensor<A>,
  w: Tensor<W>,
  at: { readonly [N in E]: Tensor<I, "int"> },
  ...axes: [D, ...D[]]
): Tensor<Exclude<A | Exclude<W, E> | I, D>> {
  const [[axis, index]] = Object.entries<Tensor<I, "int">>(at);
  return tensorOf(node("contractAt", [nodeOf(x), nodeOf(w), nodeOf(index)], { axis, over: axes }));
}
