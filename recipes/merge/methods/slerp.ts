/**
 * @file slerp: on the great circle between two models.
 *
 * W = (sin((1 − t)·θ)·W₀ + sin(t·θ)·W₁) / sin θ, where θ is the angle between them; (1 − t)·W₀ + t·W₁ where they are
 * nearly parallel.
 */
import type { Method } from "./method.ts";

/** |cos θ| from which on sin θ is too small to divide by. */
const parallel = 0.9995;

/** Spherical interpolation, each tensor as one vector. */
export const slerp: Method = {
  kind: "tensor",
  summary: "spherical interpolation between the base and one model",
  base: true,
  models: 1,
  merge: ({ models: [model], base }, { t }) => {
    let product = 0, left = 0, right = 0;
    for (let i = 0; i < base.length; i++) {
      product += base[i] * model[i];
      left += base[i] * base[i];
      right += model[i] * model[i];
    }
    const cosine = left > 0 && right > 0 ? product / Math.sqrt(left * right) : 0;
    const angle = Math.acos(Math.max(-1, Math.min(1, cosine))), sine = Math.sin(angle);
    const [a, b] = Math.abs(cosine) > parallel
      ? [1 - t, t]
      : [Math.sin((1 - t) * angle) / sine, Math.sin(t * angle) / sine];
    const out = new Float32Array(base.length);
    for (let i = 0; i < out.length; i++) out[i] = a * base[i] + b * model[i];
    return out;
  },
};
