/**
 * @file ties: each model's largest changes, without those whose sign is outvoted (arXiv 2306.01708).
 *
 * δᵢ = wᵢ · trim(Wᵢ − W₀);   s = +1 where Σ δᵢ ≥ 0, else −1;   W = W₀ + λ · Σ_{sign δᵢ = s} δᵢ / Σ_{sign δᵢ = s} wᵢ
 */
import type { Method } from "./method.ts";

/** Trim, elect signs, mean of those that agree. At least one change of each model is kept. */
export const ties: Method = {
  kind: "changes",
  summary: "largest changes, where most agree on the sign",
  base: true,
  elect: true,
  normalize: true,
  keep: ({ elements }, index, { densities }) =>
    densities[index] >= 1
      ? { kind: "all" }
      : { kind: "largest", count: Math.max(1, Math.floor(densities[index] * elements)), without: 0 },
};
