/** @file AdaMerging: certain predictions, no labels needed (arXiv 2310.02575). */
import { entropy, less, not } from "../../dsl/mod.ts";
import { dense } from "./dense.ts";
import type { Objective } from "./objective.ts";

/** Entropy of the merged model's predictions, mean over tokens. */
export const adaMerging: Objective = {
  kind: "loss",
  about: "entropy of the merged model's predictions (AdaMerging)",
  loss: (coefficients, model, batch, config) =>
    entropy(dense(coefficients, model, batch, config), not(less(batch.tokens, 0))),
};
