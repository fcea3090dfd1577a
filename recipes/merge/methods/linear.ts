/** @file linear: Σ wᵢ·Wᵢ / Σ wᵢ, known as model soup (arXiv 2203.05482). */
import { type Method, total } from "./method.ts";

/** A weighted mean; without `normalize` a weighted sum. */
export const linear: Method = {
  kind: "sum",
  summary: "weighted mean",
  base: false,
  shares: ({ weights, normalize = true }) => {
    const divisor = normalize ? total(weights) : 1;
    return { models: weights.map((weight) => weight / divisor), base: 0 };
  },
};
