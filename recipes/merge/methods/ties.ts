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
  const out = base.slice(),
    sums = new Float64Array(block),
    divisors = new Float64Array(block),
    elected = new Int8Array(block);
  for (let start = 0; start < out.length; start += block) {
    const length = Math.min(block, out.length - start);
    sums.fill(0);
    models.forEach((model, k) => addTo(sums, model, start, length, weights[k]));
    for (let i = 0; i < length; i++) elected[i] = sums[i] >= 0 ? 1 : -1;
    sums.fill(0);
    divisors.fill(0);
    models.forEach((model, k) => addAgreeing(sums, divisors, elected, model, start, length, weights[k]));
    for (let i = 0; i < length; i++) {
      const divisor = normalize && Math.abs(divisors[i]) >= 1e-8 ? divisors[i] : 1;
      out[start + i] += lambda * sums[i] / divisor;
    }
  }
  return out;
}

/** Elements at a time: what is added up stays in a near cache. */
const block = 4096;

function addTo(sums: Float64Array, model: Float32Array, start: number, length: number, weight: number): void {
  for (let i = 0; i < length; i++) sums[i] += weight * model[start + i];
}

function addAgreeing(
  sums: Float64Array,
  divisors: Float64Array,
  elected: Int8Array,
  model: Float32Array,
  start: number,
  length: number,
  weight: number,
): void {
  for (let i = 0; i < length; i++) {
    const change = weight * model[start + i];
    if (change * elected[i] > 0) {
      sums[i] += change;
      divisors[i] += weight;
    }
  }
}
