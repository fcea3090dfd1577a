/** @file What an objective is: how to judge (or count out) the coefficients of a merge. */
import type { Scalar, Tensor } from "../../dsl/mod.ts";
import type { MoeConfig } from "../convert/config.ts";
import type { Coefficients } from "../merge/formula.ts";
import type { Batch } from "../model/batch.ts";
import type { Model } from "../model/llama.ts";
import type { Moe } from "../model/moe.ts";

/**
 * A loss of coefficients: lower is better. A user's own file exports one by default.
 *
 * @example
 * ```ts
 * import { crossEntropy } from "../../dsl/mod.ts";
 * import { merged } from "../merge/formula.ts";
 * import { llama, swiglu } from "../model/llama.ts";
 * import type { Loss } from "./objective.ts";
 * const mine: Loss = (coefficients, model, { tokens, labels }, config) =>
 *   crossEntropy(llama(config, merged(model, coefficients), tokens, swiglu).logits, labels);
 * ```
 */
export type Loss = (coefficients: Coefficients, model: Model<Moe>, batch: Batch, config: MoeConfig) => Scalar;

/** For each layer the weights of its experts (they sum to 1), and λ. */
export type Measured = { readonly weights: readonly Tensor<"expert">[]; readonly lambda: readonly Scalar[] };

/** How coefficients are found. */
export type Objective =
  /** By descent; λ too, where `learnsLambda` says for how many: one for each layer, or one for all. */
  | { readonly kind: "loss"; readonly about: string; readonly loss: Loss; readonly learnsLambda?: "each" | "all" }
  /** By counting: averages over batches of what the mixture does. */
  | {
    readonly kind: "measure";
    readonly about: string;
    readonly measure: (model: Model<Moe>, batch: Batch, config: MoeConfig) => Measured;
  }
  /** Known beforehand. */
  | { readonly kind: "constant"; readonly about: string };
