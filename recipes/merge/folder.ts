/** @file Mixture's folder → dense model's folder, from file to file: no device, sums in f64. */
import { UserError } from "../../dsl/errors.ts";
import type { Checkpoint, Combination, TensorOut } from "../../backend/checkpoint.ts";
import type { ModelConfig, MoeConfig } from "../convert/config.ts";
import { type ModelOutOptions, openModel, writeModelFolder } from "../convert/huggingface.ts";
import { expectedTensors } from "../convert/names.ts";
import type { MergeWeights } from "./weights.ts";

/** A dense model's settings: the mixture's without what only mixtures have. */
export function denseConfig(config: MoeConfig): ModelConfig & { readonly kind: "llama" } {
  const {
    experts: _1,
    active: _2,
    router: _3,
    normalised: _4,
    noise: _5,
    noiseEpsilon: _6,
    balanceWeight: _7,
    ...rest
  } = config;
  return { ...rest, kind: "llama" };
}

/** A tensor that is a weighted sum of others. */
export type Combined = TensorOut & { readonly data: Combination };

/** λ·shared + (1 − λ)·Σ weightᵢ·expertᵢ of each matrix. Experts that weigh nothing are not read. */
export function* denseTensors(
  config: MoeConfig,
  checkpoint: Checkpoint,
  { weights, lambda }: MergeWeights,
): Generator<Combined> {
  for (const { name, shape } of expectedTensors(denseConfig(config))) {
    const found = /^model\.layers\.(\d+)\.mlp\.(\w+_proj\.weight)$/.exec(name);
    if (!found) {
      yield { name, shape, data: { terms: [{ checkpoint, name, weight: 1 }] } };
      continue;
    }
    const layer = Number(found[1]), prefix = `model.layers.${layer}.mlp`;
    const terms = [
      { checkpoint, name: `${prefix}.shared.${found[2]}`, weight: lambda[layer] },
      ...weights[layer].map((weight, expert) => ({
        checkpoint,
        name: `${prefix}.experts.${expert}.${found[2]}`,
        weight: (1 - lambda[layer]) * weight,
      })),
    ];
    yield { name, shape, data: { terms: terms.filter(({ weight }) => weight !== 0) } };
  }
}

/** How a merged model is written. */
export interface MergeOptions extends ModelOutOptions {
  /** What each expert weighs; it may depend on the mixture's settings. */
  readonly weights: (config: MoeConfig) => MergeWeights;
  /** README.md, the model's card. */
  readonly readme?: string;
  /** What the weights came from, in a word; beside the weights in the folder's {@link mergeRecord}. */
  readonly method?: string;
}

/** The file of a merged folder that says exactly what each expert weighed, so that the merge can be repeated. */
export const mergeRecord = "xft_merge.json";

/**
 * Merges a mixture into a dense Hugging Face folder (with the mixture's tokenizer): W = λ·W_shared + (1 − λ)·Σ wᵢ·Wᵢ.
 *
 * @returns the dense model's settings
 * @throws {UserError} if the folder holds no mixture, the weights do not fit it, or something is in the way of `out`
 */
export async function mergeFolder(mixture: string, out: string, options: MergeOptions): Promise<ModelConfig> {
  using opened = openModel(mixture);
  const { config, checkpoint } = opened;
  if (config.kind !== "moe") throw new UserError(`${mixture}: this model is dense already, there is nothing to merge.`);
  const weights = options.weights(config), dense = denseConfig(config);
  const record = { method: options.method ?? null, dtype: options.dtype ?? null, ...weights };
  const files = { [mergeRecord]: `${JSON.stringify(record)}\n` };
  const tensors = denseTensors(config, checkpoint, weights);
  await writeModelFolder(
    out,
    { config: dense, tensors, tokenizerFrom: mixture, readme: options.readme, files },
    options,
  );
  return dense;
}
