/** @file No training: experts weigh what the router gave them, λ is what it gave to the shared one. */
import { cast, contract, div, less, mul, not, oneHot, type Scalar, sum, type Tensor } from "../../dsl/mod.ts";
import { llama } from "../model/llama.ts";
import { moe, routed } from "../model/moe.ts";
import type { Objective } from "./objective.ts";

/** αᵢ ∝ E[gateᵢ], λ = E[1 − s]: means over the tokens of the data. */
export const routerFrequency: Objective = {
  kind: "measure",
  about: "mean gates of the router, no training",
  measure: (model, { tokens, packing }, config) => {
    const real = cast(not(less(tokens, 0)), "f32");
    const { seen } = llama(config, model, tokens, moe(config), { packing });
    const routings = model.layers.map(({ ffn }, layer) => routed(seen[layer], ffn, config));
    const mean = (x: Tensor<"batch" | "seq">): Scalar => div(contract(x, real, "batch", "seq"), sum(real));
    const weights = routings.map(({ expert, gates, p }) => {
      const chosen = oneHot(expert, { expert: p.shape.expert });
      const mass = contract(chosen, mul(gates, real), "batch", "seq", "slot");
      return div(mass, sum(mass));
    });
    return { weights, lambda: routings.map(({ rest }) => mean(rest)) };
  },
};
