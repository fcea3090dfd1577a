/** @file Distillation: the merged model shall say what the mixture says (after arXiv 2509.25712). */
import { kl, less, not, stopGradient } from "../../dsl/mod.ts";
import { llama } from "../model/llama.ts";
import { moe } from "../model/moe.ts";
import { dense } from "./dense.ts";
import type { Objective } from "./objective.ts";

/** KL(p_mixture ‖ p_merged), mean over scored positions. */
export const distill: Objective = {
  kind: "loss",
  about: "KL divergence of the merged model from the mixture",
  loss: (coefficients, model, batch, config) =>
    kl(
      stopGradient(llama(config, model, batch.tokens, moe(config), { packing: batch.packing }).logits),
      dense(coefficients, model, batch, config),
      not(less(batch.labels, 0)),
    ),
};
