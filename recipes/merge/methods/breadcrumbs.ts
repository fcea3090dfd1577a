/**
 * @file breadcrumbs, breadcrumbs_ties: changes neither among the largest nor among the smallest (arXiv 2312.06795).
 *
 * W = W₀ + λ · Σ wᵢ · mᵢ · (Wᵢ − W₀), where mᵢ drops the share γ of the largest magnitudes, then of the smallest as many
 * as leave the share `density`.
 */
import type { Keep } from "../../../backend/checkpoint.ts";
import type { MergeSettings, Method, TensorOfModels } from "./method.ts";

/** Without outliers and without what is small; everything at density 1, whatever γ is. At least one change is kept. */
function middle({ elements }: TensorOfModels, index: number, { densities, gammas }: MergeSettings): Keep {
  const density = densities[index], count = Math.max(1, Math.floor(density * elements));
  if (density >= 1) return { kind: "all" };
  return { kind: "largest", count, without: Math.min(Math.floor(gammas[index] * elements), elements - count) };
}

/** What is left, added up. */
export const breadcrumbs: Method = {
  kind: "changes",
  summary: "changes without the largest and the smallest, added up",
  base: true,
  elect: false,
  normalize: false,
  keep: middle,
};

/** What is left, where most agree on the sign. */
export const breadcrumbsTies: Method = {
  kind: "changes",
  summary: "changes without the largest and the smallest, where most agree on the sign",
  base: true,
  elect: true,
  normalize: false,
  keep: middle,
};
