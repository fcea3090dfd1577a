/** @file Models small enough for the interpreter, and data for them. */
import type { Device } from "../backend/runtime.ts";
import { type ModelConfig, parseConfig } from "../recipes/convert/config.ts";
import type { Sample } from "../recipes/model/batch.ts";
import { seeded } from "../recipes/random.ts";
import { type Dense, initModel, type Mixture } from "../recipes/model/parameters.ts";

const sizes = {
  vocab_size: 11,
  hidden_size: 8,
  intermediate_size: 6,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 4,
  max_position_embeddings: 64,
  eos_token_id: 1,
};

/** A dense configuration; fields as config.json has them. */
export const tinyDense = (fields: Record<string, unknown> = {}): ModelConfig & { kind: "llama" } =>
  parseConfig({ ...sizes, model_type: "llama", ...fields }, "tiny") as ModelConfig & { kind: "llama" };

/** A mixture's: 4 experts, 3 active. */
export const tinyMixture = (fields: Record<string, unknown> = {}): ModelConfig & { kind: "moe" } =>
  parseConfig({ ...sizes, model_type: "xft_moe", num_experts: 4, num_selects: 3, ...fields }, "tiny") as
    & ModelConfig
    & { kind: "moe" };

/** Fresh weights; `gain` times larger than usual, so that what is computed depends on them. */
export function tinyModel<C extends ModelConfig>(
  config: C,
  device: Device,
  seed = 1,
  gain = 20,
): C extends { kind: "moe" } ? Mixture : Dense {
  return initModel(config, seed, device, gain) as C extends { kind: "moe" } ? Mixture : Dense;
}

/** Samples that can be learned: each token follows from the one before it. */
export function tinySamples(count: number, seed = 1, length = 7): Sample[] {
  const random = seeded(seed).unit;
  return Array.from({ length: count }, () => {
    const ids = [2 + Math.floor(random() * 9)], tokens = 3 + Math.floor(random() * (length - 2));
    while (ids.length < tokens) ids.push(2 + (ids[ids.length - 1] * 3 + 1) % 9);
    return { ids: [...ids, 1], scoredFrom: 1 };
  });
}
