/**
 * @file dare_linear, dare_ties: changes dropped at random, the others scaled up by as much (arXiv 2311.03099).
 *
 * δᵢ = wᵢ · mᵢ · (Wᵢ − W₀) / density, where each mᵢ is 1 with probability `density`, else 0.
 */
import { seeded } from "../../random.ts";
import { type MergeSettings, type Method, type TensorOfModels, total } from "./method.ts";
import { agreeing } from "./ties.ts";

/** Turns the models into what is left of their changes; the same for the same seed, model and tensor. */
function drop({ name, models, base }: TensorOfModels, { densities, seed }: MergeSettings): void {
  models.forEach((model, k) => {
    const density = densities[k], { unit } = seeded(`${seed}/${k}/${name}`);
    for (let i = 0; i < model.length; i++) {
      model[i] = density >= 1 || unit() < density ? (model[i] - base[i]) / density : 0;
    }
  });
}

/** What is left, added up. */
export const dareLinear: Method = {
  kind: "tensor",
  summary: "changes dropped at random, added up",
  base: true,
  merge: (tensor, settings) => {
    const { models, base } = tensor, { weights, lambda, normalize = false } = settings;
    drop(tensor, settings);
    const scale = lambda / (normalize ? total(weights) : 1);
    return Float32Array.from(base, (start, i) => {
      let change = 0;
      for (let k = 0; k < models.length; k++) change += weights[k] * models[k][i];
      return start + scale * change;
    });
  },
};

/** What is left, where most agree on the sign. */
export const dareTies: Method = {
  kind: "tensor",
  summary: "changes dropped at random, where most agree on the sign",
  base: true,
  merge: (tensor, settings) => {
    drop(tensor, settings);
    return agreeing(tensor, settings, settings.normalize ?? false);
  },
};
