/**
 * @file dare_linear, dare_ties: changes dropped at random, the others scaled up by as much (arXiv 2311.03099).
 *
 * δᵢ = wᵢ · mᵢ · (Wᵢ − W₀) / density, where each mᵢ is 1 with probability `density`, else 0.
 */
import type { Keep } from "../../../backend/checkpoint.ts";
import { hashText } from "../../random.ts";
import type { MergeSettings, Method, TensorOfModels } from "./method.ts";

/** Drops the same changes for the same seed, model and tensor. */
function drop({ name }: TensorOfModels, index: number, { densities, seed }: MergeSettings): Keep {
  const density = densities[index], stream = `${seed}/${index}/${name}`;
  return density >= 1 ? { kind: "all" } : { kind: "random", density, key: [hashText(stream), hashText(`${stream}/b`)] };
}

/** What is left, added up. */
export const dareLinear: Method = {
  kind: "changes",
  summary: "changes dropped at random, added up",
  base: true,
  elect: false,
  normalize: false,
  keep: drop,
};

/** What is left, where most agree on the sign. */
export const dareTies: Method = {
  kind: "changes",
  summary: "changes dropped at random, where most agree on the sign",
  base: true,
  elect: true,
  normalize: false,
  keep: drop,
};
