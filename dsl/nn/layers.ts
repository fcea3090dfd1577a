/** @file Layers shared by the recipes: generic in whatever axes the caller carries along. */
import { node } from "../build.ts";
import { add, exp, less, mul, neg, rsqrt, square, where } from "../ops/elementwise.ts";
import { iota } from "../ops/making.ts";
import { mean } from "../ops/reduce.ts";
import { expand } from "../ops/structure.ts";
import { nodeOf, type Operand, type Tensor, tensorOf } from "../tensor.ts";

/**
 * x / √(mean(x²) + ε) · weight along an axis: root mean square normalisation (arXiv 1910.07467).
 *
 * @param weight one factor for each element of the axis
 * @param epsilon ε, added to the mean square: keeps a row of zeros finite
 * @throws TypeError when x lacks the axis or the weight differs in size
 * @example
 * ```ts
 * import { read, rmsNorm, tensor } from "../mod.ts";
 * const x = tensor({ seq: 1, embed: 2 }, [3, 4]), weight = tensor({ embed: 2 }, [1, 2]);
 * const scale = Math.sqrt((9 + 16) / 2);
 * const [first, second] = read(rmsNorm(x, weight, "embed", 0));
 * console.assert(Math.abs(first - 3 / scale) < 1e-12 && Math.abs(second - 8 / scale) < 1e-12);
 * ```
 */
export const rmsNorm = <A extends string, D extends A>(
  x: Tensor<A>,
  weight: Tensor<D>,
  axis: D,
  epsilon: number,
): Tensor<A> => mul(x, rsqrt(add(mean(square(x), axis), epsilon)) as never, weight as never);

/**
 * May a query look at a key: does `key` stand no later than `seq`? The last query stands at the last key.
 *
 * @param length number of queries
 * @param keys number of keys (default: as many)
 * @example
 * ```ts
 * import { causal, read } from "../mod.ts";
 * console.assert(read(causal(2), "seq", "key").join() === "1,0,1,1");
 * console.assert(read(causal(1, 3), "seq", "key").join() === "1,1,1");
 * ```
 */
export const causal = (length: number, keys: number = length): Tensor<"seq" | "key", "bool"> =>
  less(expand(iota("key", keys), { seq: length }), add(iota("seq", length), keys - length + 1));

/**
 * softmax(x) along an axis over the elements that `keep` allows: the others are exactly 0; where it allows none,
 * all are 0, with zero gradient.
 *
 * @param keep which elements count
 * @throws TypeError when x lacks the axis, or the mask has one that x lacks
 * @example
 * ```ts
 * import { maskedSoftmax, read, tensor } from "../mod.ts";
 * const x = tensor({ seq: 2, key: 2 }, [[5, 5], [5, 5]]), keep = tensor({ seq: 2, key: 2 }, [[1, 0], [0, 0]], "bool");
 * console.assert(read(maskedSoftmax(x, "key", keep)).join() === "1,0,0,0");
 * ```
 */
export function maskedSoftmax<A extends string>(
  x: Tensor<A>,
  axis: NoInfer<A>,
  keep: Operand<NoInfer<A>, "bool">,
): Tensor<A> {
  // Large finite numbers: −∞ would make NaN of an all-masked row on devices without IEEE rules. Such a row's
  // normaliser is the floor, far above its elements, so that all of them (and their gradients) are exp(−9e29) = 0.
  const masked = where(keep, x, -1e30);
  const normaliser = node("logSumExp", [nodeOf(masked)], { over: [axis], floor: -1e29 });
  return exp(add(masked, neg(tensorOf<never, "real">(normaliser)) as never));
}
