/** @file Losses over a vocabulary. A label of −1 is masked: no part of any mean. */
import { cast, complement, div, exp, less, maximum, mul, neg, sub, where } from "../ops/elementwise.ts";
import { take } from "../ops/indexing.ts";
import { logSoftmax, logSumExp, mean, sum } from "../ops/reduce.ts";
import type { Scalar, Tensor } from "../tensor.ts";

/**
 * Σ over real labels of −log p(label) in nats, and how many there are: what several batches add up to a mean.
 *
 * @param logits unnormalised log-probabilities, along "vocab"
 * @param labels ids below the vocabulary's size; −1 is no label
 * @throws TypeError when the labels have an axis that the logits lack
 * @example
 * ```ts
 * import { crossEntropySum, item, tensor } from "../mod.ts";
 * const logits = tensor({ seq: 2, vocab: 2 }, [[0, 0], [9, 9]]), labels = tensor({ seq: 2 }, [1, -1], "i32");
 * const { total, count } = crossEntropySum(logits, labels);
 * console.assert(Math.abs(item(total) - Math.LN2) < 1e-12 && item(count) === 1);
 * ```
 */
export function crossEntropySum<A extends string>(
  logits: Tensor<A | "vocab">,
  labels: Tensor<A, "int">,
): { readonly total: Scalar; readonly count: Scalar } {
  const keep = complement(cast(less(labels, 0), "f32"));
  return { total: sum(negativeLogLikelihood(logits, labels)), count: sum(keep) };
}

/**
 * −log p(label) at each position, in nats; 0 where the label is −1, which is none.
 *
 * @param logits unnormalised log-probabilities, along "vocab"
 * @param labels ids below the vocabulary's size
 * @throws TypeError when the labels have an axis that the logits lack
 * @example
 * ```ts
 * import { item, negativeLogLikelihood, sum, tensor } from "../mod.ts";
 * const logits = tensor({ seq: 2, vocab: 2 }, [[0, 0], [9, 9]]), labels = tensor({ seq: 2 }, [1, -1], "i32");
 * console.assert(Math.abs(item(sum(negativeLogLikelihood(logits, labels))) - Math.LN2) < 1e-12);
 * ```
 */
export function negativeLogLikelihood<A extends string>(
  logits: Tensor<A | "vocab">,
  labels: Tensor<A, "int">,
): Tensor<A> {
  const normaliser = logSumExp(logits, "vocab") as unknown as Tensor<A>;
  const picked = take(logits, "vocab", labels) as unknown as Tensor<A>;
  return where(less(labels, 0), mul(normaliser, 0), sub(normaliser, picked));
}

/**
 * Mean over real labels of −log p(label), in nats; 0 where there is none. A label of −1 is masked.
 *
 * @param logits unnormalised log-probabilities, along "vocab"
 * @param labels ids below the vocabulary's size
 * @throws TypeError when the labels have an axis that the logits lack
 * @example
 * ```ts
 * import { crossEntropy, item, tensor } from "../mod.ts";
 * const logits = tensor({ seq: 2, vocab: 2 }, [[0, 0], [9, 9]]), labels = tensor({ seq: 2 }, [1, -1], "i32");
 * console.assert(Math.abs(item(crossEntropy(logits, labels)) - Math.LN2) < 1e-12);
 * ```
 */
export function crossEntropy<A extends string>(logits: Tensor<A | "vocab">, labels: Tensor<A, "int">): Scalar {
  const { total, count } = crossEntropySum(logits, labels);
  return div(total, maximum(count, 1));
}

/** Mean over positions, or over those that `keep` allows. */
function meanWhere<A extends string>(x: Tensor<A>, keep?: Tensor<A, "bool">): Scalar {
  if (!keep) return mean(x);
  return div(sum(where(keep, x, 0)), maximum(sum(cast(keep, "f32")), 1));
}

/**
 * Mean over positions (those that `keep` allows) of KL(p ‖ q) = Σ p · log(p/q), both given as logits, in nats. It is 0
 * where they agree and never negative.
 *
 * @throws TypeError when p, q and `keep` differ in axes or sizes
 * @example
 * ```ts
 * import { item, kl, tensor } from "../mod.ts";
 * const p = tensor({ seq: 1, vocab: 2 }, [0, 0]), q = tensor({ seq: 1, vocab: 2 }, [Math.log(3), 0]);
 * const wanted = 0.5 * Math.log(0.5 / 0.75) + 0.5 * Math.log(0.5 / 0.25);
 * console.assert(Math.abs(item(kl(p, q)) - wanted) < 1e-12);
 * ```
 */
export function kl<A extends string>(
  p: Tensor<A | "vocab">,
  q: Tensor<A | "vocab">,
  keep?: Tensor<A, "bool">,
): Scalar {
  const log = logSoftmax(p, "vocab");
  const each = sum(mul(exp(log), sub(log, logSoftmax(q, "vocab"))), "vocab") as unknown as Tensor<A>;
  return meanWhere(each, keep);
}

/**
 * Mean over positions (those that `keep` allows) of the entropy of softmax(logits), −Σ p · log p, in nats: 0 (certain) …
 * log of the vocabulary's size (undecided).
 *
 * @throws TypeError when `keep` has other axes than the positions
 * @example
 * ```ts
 * import { entropy, item, tensor } from "../mod.ts";
 * const undecided = tensor({ seq: 1, vocab: 4 }, [2, 2, 2, 2]);
 * console.assert(Math.abs(item(entropy(undecided)) - Math.log(4)) < 1e-12);
 * ```
 */
export function entropy<A extends string>(logits: Tensor<A | "vocab">, keep?: Tensor<A, "bool">): Scalar {
  const log = logSoftmax(logits, "vocab");
  return meanWhere(neg(sum(mul(exp(log), log), "vocab") as unknown as Tensor<A>), keep);
}
