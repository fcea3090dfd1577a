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
  kind: "between",
  summary: "spherical interpolation between the base and one model",
  base: true,
  models: 1,
  shares: (cosine, { t }) => {
    const angle = Math.acos(cosine), sine = Math.sin(angle);
    return Math.abs(cosine) > parallel
      ? { base: 1 - t, model: t }
      : { base: Math.sin((1 - t) * angle) / sine, model: Math.sin(t * angle) / sine };
  },
};
