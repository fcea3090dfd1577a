/** @file The loss that keeps every expert in use: 0.01·(cv²(importance) + cv²(load)) of one layer. */
import {
  add,
  at,
  div,
  erf,
  less,
  mean,
  mul,
  neg,
  oneHot,
  type Scalar,
  square,
  sub,
  sum,
  take,
  type Tensor,
  topk,
  where,
} from "../../dsl/mod.ts";
import type { MoeConfig } from "../convert/config.ts";
import type { PerExpert } from "./router.ts";
import type { Routed } from "./moe.ts";

/** Unbiased variance / mean²: 0 when all are alike. */
function cv2(x: Tensor<"expert">): Scalar {
  const average = mean(x), n = x.shape.expert;
  return n === 1 ? mul(average, 0) : div(mul(sum(square(sub(x, average))), 1 / (n - 1)), add(square(average), 1e-10));
}

/** P(a standard normal number < x). */
const normalCdf = (x: PerExpert): PerExpert => mul(add(erf(mul(x, Math.SQRT1_2)), 1), 0.5);

/** 1 where a token chose an expert. */
export const chosen = ({ expert, p }: Routed): PerExpert => sum(oneHot(expert, { expert: p.shape.expert }), "slot");

/**
 * P(an expert stays among the `k` likeliest under fresh noise): it must beat the best of the others, which is the
 * (k+1)-th logit for one that is in and the k-th for one that is out (arXiv 1701.06538). Without noise: was it chosen?
 */
function stays(routing: Routed, k: number, authorsQuirks: boolean): PerExpert {
  const { clean, noisy, deviation, p } = routing;
  if (!deviation || k >= p.shape.expert) return chosen(routing);
  const largest = take(noisy, "expert", topk(noisy, "expert", { slot: k + 1 }));
  const ifIn = at(largest, "slot", k), ifOut = at(largest, "slot", k - 1);
  const isIn = less(neg(authorsQuirks ? sub(noisy, clean) : noisy), neg(ifIn));
  return normalCdf(div(where(isIn, sub(clean, ifIn), sub(clean, ifOut)), deviation));
}

/**
 * 0.01·(cv²(importance) + cv²(load)) of one layer. Importance is Σ p over the tokens that chose the expert.
 *
 * @param real which tokens are no padding
 * @param authorsQuirks as the authors' code computes it: noise alone is compared, and padding counts
 */
export function balance(
  routing: Routed,
  config: MoeConfig,
  real: Tensor<"batch" | "seq", "bool">,
  authorsQuirks = false,
): Scalar {
  const counts = authorsQuirks ? (x: PerExpert) => x : (x: PerExpert) => where(real, x, 0);
  const importance = sum(counts(mul(routing.p, chosen(routing))), "batch", "seq");
  const load = sum(counts(stays(routing, config.active - 1, authorsQuirks)), "batch", "seq");
  return mul(add(cv2(importance), cv2(load)), config.balanceWeight);
}
