/**
 * @file slerp: on the great circle between two models.
 *
 * W = (sin((1 − t)·θ)·W₀ + sin(t·θ)·W₁) / sin θ, where θ is the angle between them; (1 − t)·W₀ + t·W₁ where they are
 * nearly parallel.
 */
import { cosineOf, type Method } from "./method.ts";

/** |cos θ| from which on sin θ is too small to divide by. */
const parallel = 0.9995;

/** Spherical interpolation, each tensor as one vector. */
export const slerp: Method = {
  kind: "directed",
  summary: "spherical interpolation between the base and one model",
  base: true,
  models: { least: 1, most: 1 },
  shares: (products, { t }) => {
    const cosine = cosineOf(products, 0, 1), angle = Math.acos(cosine), sine = Math.sin(angle);
    return Math.abs(cosine) > parallel ? [1 - t, t] : [Math.sin((1 - t) * angle) / sine, Math.sin(t * angle) / sine];
  },
};
