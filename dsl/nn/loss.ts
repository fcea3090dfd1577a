/** @file Losses over a vocabulary. A label of −1 is masked: no part of any mean. */
import { cast, complement, div, exp, less, maximum, mul, neg, sub, where } from "../ops/elementwise.ts";
import { take } from "../ops/indexing.ts";
import { logSoftmax, logSumExp, mean, sum } from "../ops/reduce.ts";
import type { Scalar, Tensor } from "../tensor.ts";

/** Σ over real labels of −log p(label), and how many there are. Nats; the sum is what several batches add up. */
export function crossEntropySum<A extends string>(
  logits: Tensor<A | "vocab">,
  labels: Tensor<A, "int">,
): { readonly total: Scalar; readonly count: Scalar } {
  const keep = complement(cast(less(labels, 0), "f32"));
  const normaliser = logSumExp(logits, "vocab") as unknown as Tensor<A>;
  const picked = take(logits, "vocab", labels) as unknown as Tensor<A>;
  const each = where(less(labels, 0), mul(normaliser, 0), sub(normaliser, picked));
  return { total: sum(each), count: sum(keep) };
}

/** Mean over real labels of −log p(label), in nats. */
export function crossEntropy<A extends string>(logits: Tensor<A | "vocab">, labels: Tensor<A, "int">): Scalar {
  const { total, count } = crossEntropySum(logits, labels);
  return div(total, maximum(count, 1));
}

/** Mean over positions, or over those that `keep` allows. */
function meanWhere<A extends string>(x: Tensor<A>, keep?: Tensor<A, "bool">): Scalar {
  if (!keep) return mean(x);
  return div(sum(where(keep, x, 0)), maximum(sum(cast(keep, "f32")), 1));
}

/** Mean over positions (those that `keep` allows) of KL(p ‖ q), both given as logits, in nats. */
export function kl<A extends string>(
  p: Tensor<A | "vocab">,
  q: Tensor<A | "vocab">,
  keep?: Tensor<A, "bool">,
): Scalar {
  const log = logSoftmax(p, "vocab");
  const each = sum(mul(exp(log), sub(log, logSoftmax(q, "vocab"))), "vocab") as unknown as Tensor<A>;
  return meanWhere(each, keep);
}

/** Mean over positions (those that `keep` allows) of the entropy of softmax(logits), in nats. */
export function entropy<A extends string>(logits: Tensor<A | "vocab">, keep?: Tensor<A, "bool">): Scalar {
  const log = logSoftmax(logits, "vocab");
  return meanWhere(neg(sum(mul(exp(log), log), "vocab") as unknown as Tensor<A>), keep);
}
