/**
 * @file ties: each model's largest changes, without those whose sign is outvoted (arXiv 2306.01708).
 *
 * δᵢ = wᵢ · trim(Wᵢ − W₀);   s = +1 where Σ δᵢ ≥ 0, else −1;   W = W₀ + λ · Σ_{sign δᵢ = s} δᵢ / Σ_{sign δᵢ = s} wᵢ
 */
import { magnitudeAt } from "./magnitude.ts";
import type { MergeSettings, Method, TensorOfModels } from "./method.ts";

/** Trim, elect signs, mean of those that agree. */
export const ties: Method = {
  kind: "tensor",
  summary: "largest changes, where most agree on the sign",
  base: true,
  merge: (tensor, settings) => {
    tensor.models.forEach((model, i) => trim(model, tensor.base, settings.densities[i]));
    return agreeing(tensor, settings, settings.normalize ?? true);
  },
};

/**
 * Turns a model into its change to the base; of that only the share `density` with the largest magnitudes is kept, at
 * least one element. All that are as large as the smallest one kept are kept, too.
 */
export function trim(model: Float32Array, base: Float32Array, density: number): void {
  for (let i = 0; i < model.length; i++) model[i] -= base[i];
  if (density >= 1 || model.length === 0) return;
  const smallest = magnitudeAt(model, Math.max(1, Math.floor(density * model.length)));
  for (let i = 0; i < model.length; i++) if (Math.abs(model[i]) < smallest) model[i] = 0;
}

/** The base and the weighted sum (or mean) of the changes whose sign is that of their sum. */
export function agreeing(
  { models, base }: TensorOfModels,
  { weights, lambda }: MergeSettings,
  normalize: boolean,
): Float32Array<ArrayBuffer> {
  const out = new Float32Array(base.length), count = models.length;
  for (let i = 0; i < out.length; i++) {
    let sum = 0;
    for (let k = 0; k < count; k++) sum += weights[k] * models[k][i];
    const positive = sum >= 0;
    let change = 0, divisor = 0;
    for (let k = 0; k < count; k++) {
      const weighted = weights[k] * models[k][i];
      if (positive ? weighted > 0 : weighted < 0) {
        change += weighted;
        divisor += weights[k];
      }
    }
    if (normalize && Math.abs(divisor) >= 1e-8) change /= divisor;
    out[i] = base[i] + lambda * change;
  }
  return out;
}
