/** @file Products: the operations that make new combinations of axes. */
import { contract as product, node } from "../build.ts";
import { nodeOf, type Tensor, tensorOf } from "../tensor.ts";

/**
 * Σ over axes of x · y; every other axis of either is kept. Which axis stands where in memory is no matter.
 *
 * A function of tensors carries whatever further axes its arguments have, so that nothing needs to be mapped over a
 * batch: what is written for one example works for many, and for many sets of weights.
 *
 * @param axes what is summed
 * @throws TypeError when an axis is missing in one operand or differs in size
 * @example A product of a row and a matrix
 * ```ts
 * import { contract, read, tensor } from "../mod.ts";
 * const x = tensor({ embed: 2 }, [1, 2]), w = tensor({ embed: 2, hidden: 2 }, [[3, 4], [5, 6]]);
 * console.assert(read(contract(x, w, "embed")).join() === "13,16");
 * ```
 * @example One function for an example, a batch, an ensemble of weights, and each example's own gradient
 * ```ts
 * import { contract, expand, grad, read, square, sum, tensor, type Tensor } from "../mod.ts";
 * const predict = <A extends string, B extends string>(x: Tensor<A | "embed">, w: Tensor<B | "embed">) =>
 *   contract<A | "embed", B | "embed", "embed">(x, w, "embed");
 *
 * const one = tensor({ embed: 2 }, [1, 2]), batch = tensor({ batch: 3, embed: 2 }, [[1, 2], [3, 4], [5, 6]]);
 * const weights = tensor({ embed: 2 }, [1, -1]), several = tensor({ member: 2, embed: 2 }, [[1, -1], [0, 1]]);
 * console.assert(read(predict(one, weights)).join() === "-1");
 * console.assert(read(predict(batch, weights)).join() === "-1,-1,-1");
 * console.assert(Object.keys(predict(batch, several).shape).join() === "batch,member");
 *
 * // Weights that have the axis "batch" have a gradient for each example.
 * const loss = (w: Tensor<"batch" | "embed">) => sum(square(contract(batch, w, "embed")));
 * const each = grad(loss)(expand(weights, { batch: 3 }));
 * console.assert(read(each, "batch", "embed").join() === "-2,-4,-6,-8,-10,-12");
 * ```
 */
export const contract = <A extends string, B extends string, D extends A & B>(
  x: Tensor<A>,
  y: Tensor<B>,
  ...axes: [D, ...D[]]
): Tensor<Exclude<A | B, D>> => tensorOf(product(nodeOf(x), nodeOf(y), axes));

/**
 * x · y for every combination of their axes; shared axes are aligned.
 *
 * @throws TypeError when a shared axis differs in size
 * @example
 * ```ts
 * import { outer, read, tensor } from "../mod.ts";
 * const x = tensor({ seq: 2 }, [1, 2]), y = tensor({ dim: 2 }, [3, 4]);
 * console.assert(read(outer(x, y), "seq", "dim").join() === "3,4,6,8");
 * ```
 */
export const outer = <A extends string, B extends string>(x: Tensor<A>, y: Tensor<B>): Tensor<A | B> =>
  tensorOf(product(nodeOf(x), nodeOf(y), []));

/**
 * `contract(x, take(w, axis, index), …axes)`, without the gathered weights ever existing: rows are grouped by index, each
 * group is one product. An index of −1 gives 0.
 *
 * @param at the axis of w that is chosen, and the index that chooses: `{ expert: index }`
 * @param axes what is summed; every other axis of x, w and index is kept
 * @throws TypeError when w lacks the chosen axis, or an axis that is summed is missing or differs in size
 * @example
 * ```ts
 * import { contractAt, read, tensor } from "../mod.ts";
 * const x = tensor({ token: 2, embed: 1 }, [[1], [2]]), experts = tensor({ expert: 3, embed: 1 }, [[10], [20], [30]]);
 * const expert = tensor({ token: 2 }, [2, 0], "i32");
 * console.assert(read(contractAt(x, experts, { expert }, "embed")).join() === "30,20");
 * ```
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
