/** @file Mixture's folder → dense model's folder, one matrix at a time on the host: no device, exact in f64. */
import { UserError } from "../../dsl/errors.ts";
import type { Checkpoint, TensorOut } from "../../backend/checkpoint.ts";
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

/** λ·shared + (1 − λ)·Σ weightᵢ·expertᵢ of one matrix, rounded to f32 once. Experts that weigh nothing are not read. */
export function mergeMatrix(
  read: (which: "shared" | number) => Float32Array,
  weights: readonly number[],
  lambda: number,
): Float32Array {
  const parts: ["shared" | number, number][] = [
    ["shared", lambda],
    ...weights.map((w, i): [number, number] => [i, (1 - lambda) * w]),
  ];
  let sum: Float64Array | undefined;
  for (const [which, share] of parts) {
    if (share === 0) continue;
    const matrix = read(which);
    sum ??= new Float64Array(matrix.length);
    for (let i = 0; i < matrix.length; i++) sum[i] += share * matrix[i];
  }
  return Float32Array.from(sum!);
}

/** The dense model's tensors, each computed when its turn comes. */
function* denseTensors(
  config: MoeConfig,
  checkpoint: Checkpoint,
  { weights, lambda }: MergeWeights,
): Generator<TensorOut> {
  for (const { name, shape } of expectedTensors(denseConfig(config))) {
    const found = /^model\.layers\.(\d+)\.mlp\.(\w+_proj\.weight)$/.exec(name);
    if (!found) {
      yield { name, shape, data: () => checkpoint.read(name) };
      continue;
    }
    const layer = Number(found[1]), prefix = `model.layers.${layer}.mlp`;
    const read = (which: "shared" | number) =>
      checkpoint.read(`${prefix}.${which === "shared" ? "shared" : `experts.${which}`}.${found[2]}`);
    yield { name, shape, data: () => mergeMatrix(read, weights[layer], lambda[layer]) };
  }
}

/** How a merged model is written. */
export interface MergeOptions extends ModelOutOptions {
  /** What each expert weighs; it may depend on the mixture's settings. */
  readonly weights: (config: MoeConfig) => MergeWeights;
  /** README.md, the model's card. */
  readonly readme?: string;
}

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
  const tensors = denseTensors(config, checkpoint, options.weights(config)), dense = denseConfig(config);
  await writeModelFolder(out, { config: dense, tensors, tokenizerFrom: mixture, readme: options.readme }, options);
  return dense;
}
