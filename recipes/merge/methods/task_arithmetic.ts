/** @file task_arithmetic: W₀ + λ·Σ wᵢ·(Wᵢ − W₀) (arXiv 2212.04089). */
import { type Method, total } from "./method.ts";

/** The models' changes to the base, added up. */
export const taskArithmetic: Method = {
  kind: "sum",
  summary: "changes to the base, added up",
  base: true,
  shares: ({ weights, normalize = false, lambda }) => {
    const scale = lambda / (normalize ? total(weights) : 1), models = weights.map((weight) => weight * scale);
    return { models, base: 1 - total(models) };
  },
};
