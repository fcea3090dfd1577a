/** @file What most objectives look at: the logits of the merged model. */
import type { MoeConfig } from "../convert/config.ts";
import { type Coefficients, merged } from "../merge/formula.ts";
import type { Batch } from "../model/batch.ts";
import { llama, type Model, type Output, swiglu } from "../model/llama.ts";
import type { Moe } from "../model/moe.ts";

/** Logits of the dense model that the coefficients give. */
export const dense = (
  coefficients: Coefficients,
  model: Model<Moe>,
  { tokens, packing }: Batch,
  config: MoeConfig,
): Output["logits"] => llama(config, merged(model, coefficients), tokens, swiglu, { packing }).logits;
