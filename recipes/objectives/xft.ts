/** @file XFT's objective: cross-entropy of the merged model on instruction data (arXiv 2404.15247). */
import { crossEntropy } from "../../dsl/mod.ts";
import { dense } from "./dense.ts";
import type { Objective } from "./objective.ts";

/** −mean log p(label) of the dense model with W = λ·W_shared + (1 − λ)·Σᵢ softmax(α)ᵢ·Wᵢ. */
export const xft: Objective = {
  kind: "loss",
  about: "cross-entropy of the merged model (XFT)",
  loss: (coefficients, model, batch, config) => crossEntropy(dense(coefficients, model, batch, config), batch.labels),
};
