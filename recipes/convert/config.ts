/**
 * @file What a model's config.json says, as types: read with checks, written for Hugging Face.
 *
 * `parseConfig` turns the JSON into a `ModelConfig`, `formatConfig` turns it back; every recipe works on the types.
 */
import { UserError } from "../../dsl/errors.ts";
import type { RopeScaling } from "../../dsl/nn/rope.ts";
import { Fields, isJsonObject, type JsonObject } from "./fields.ts";
import { formatRope, parseRope } from "./rope_config.ts";

export type { RopeScaling };

/** Sizes and settings of a Llama: RMSNorm, rotary attention with grouped keys, SwiGLU. */
export interface LlamaConfig {
  /** Rows of the embedding; may exceed the tokenizer's tokens (spare rows). */
  readonly vocabSize: number;
  /** Width of the residual stream (axis "embed"). */
  readonly hiddenSize: number;
  /** Width of the feed-forward network (axis "hidden"). */
  readonly ffnSize: number;
  /** Transformer layers. */
  readonly layers: number;
  /** Query heads. */
  readonly heads: number;
  /** Key and value heads; divides `heads`. */
  readonly kvHeads: number;
  /** Width of one head (even). */
  readonly headDim: number;
  /** Longest sequence the model was made for. */
  readonly maxPositions: number;
  /** Epsilon of every RMSNorm. */
  readonly normEps: number;
  /** Base of the rotary frequencies. */
  readonly ropeTheta: number;
  /** Stretching of the rotary frequencies, where there is one. */
  readonly ropeScaling: RopeScaling | null;
  /** Which of the attention's projections have biases (default: none): queries, keys and values, or the output's too. */
  readonly attentionBias?: "qkv" | "all";
  /** The output projection is the embedding itself (`lm_head.weight` is absent). */
  readonly tied: boolean;
  /** Token that begins a text. */
  readonly bos?: number;
  /** Tokens that end a generation. */
  readonly eos?: readonly number[];
  /** Token that fills a batch's shorter rows. */
  readonly pad?: number;
}

/** A Llama whose feed-forward networks are mixtures: one shared expert and `experts − 1` routed ones. */
export interface MoeConfig extends LlamaConfig {
  /** All experts of a layer, the shared one included. */
  readonly experts: number;
  /** Experts that a token uses, the shared one included. */
  readonly active: number;
  /** `linear`: one matrix; `mlp`: Linear → tanh → Linear, no biases. */
  readonly router: "linear" | "mlp";
  /** Routed gates are s·softmax(p_T), so that all gates sum to 1 (false: the paper's ablation). */
  readonly normalised: boolean;
  /** The checkpoint has `mlp.router.noise.weight`, the router's noise in training. */
  readonly noise: boolean;
  /** Floor of the noise's standard deviation. */
  readonly noiseEpsilon: number;
  /** Weight of the balance loss. */
  readonly balanceWeight: number;
}

/** Any model that we train, merge or run. */
export type ModelConfig = ({ readonly kind: "llama" } & LlamaConfig) | ({ readonly kind: "moe" } & MoeConfig);

/** Which projections have biases: Qwen 2 always has those of queries, keys and values. */
function parseBias(fields: Fields, type: string): Pick<LlamaConfig, "attentionBias"> {
  if (fields.boolean("attention_bias", false)) return { attentionBias: "all" };
  return fields.boolean("qkv_bias", type === "qwen2") ? { attentionBias: "qkv" } : {};
}

function parseLlama(fields: Fields, type: string): LlamaConfig {
  const activation = fields.text("hidden_act") ?? "silu";
  if (activation !== "silu") fields.fail(`the activation "${activation}" is not supported (silu is).`);
  if (fields.boolean("mlp_bias", false)) {
    fields.fail('"mlp_bias" is true: feed-forward networks with biases are not supported.');
  }
  if (fields.boolean("use_sliding_window", type !== "qwen2") && fields.has("sliding_window")) {
    fields.fail('"sliding_window" is set: attention to the last tokens alone is not supported.');
  }
  const hiddenSize = fields.size("hidden_size");
  const heads = fields.size("num_attention_heads");
  const kvHeads = fields.size("num_key_value_heads", heads);
  if (heads % kvHeads !== 0) {
    fields.fail(`${heads} attention heads cannot share ${kvHeads} key heads: the second must divide the first.`);
  }
  if (!fields.has("head_dim") && hiddenSize % heads !== 0) {
    fields.fail(`hidden_size ${hiddenSize} is no multiple of num_attention_heads ${heads}, and "head_dim" is missing.`);
  }
  const headDim = fields.size("head_dim", hiddenSize / heads);
  if (headDim % 2 !== 0) fields.fail(`"head_dim" is ${headDim}: rotary embeddings need an even width.`);
  const maxPositions = fields.size("max_position_embeddings", 2048);
  const eos = fields.tokens("eos_token_id");
  const bos = fields.tokens("bos_token_id")?.[0];
  const pad = fields.tokens("pad_token_id")?.[0];
  return {
    vocabSize: fields.size("vocab_size"),
    hiddenSize,
    ffnSize: fields.size("intermediate_size"),
    layers: fields.size("num_hidden_layers"),
    heads,
    kvHeads,
    headDim,
    maxPositions,
    normEps: fields.positive("rms_norm_eps", 1e-6),
    ...parseRope(fields, maxPositions),
    ...parseBias(fields, type),
    tied: fields.boolean("tie_word_embeddings", false),
    ...(bos === undefined ? {} : { bos }),
    ...(eos === undefined || eos.length === 0 ? {} : { eos }),
    ...(pad === undefined ? {} : { pad }),
  };
}

function parseMoe(fields: Fields): MoeConfig {
  const experts = fields.size("num_experts");
  const active = fields.size("num_selects");
  if (experts < 2) fields.fail(`num_experts is ${experts}: a mixture has the shared expert and at least one more.`);
  if (active < 2 || active > experts) {
    fields.fail(`num_selects is ${active}: between 2 (shared and one more) and num_experts ${experts} was expected.`);
  }
  const router = fields.text("router") ?? "linear";
  if (router !== "linear" && router !== "mlp") fields.fail(`router "${router}" is not known (linear and mlp are).`);
  return {
    ...parseLlama(fields, "xft_moe"),
    experts,
    active,
    router,
    normalised: fields.boolean("normalised_gates", true),
    noise: fields.boolean("router_noise", false),
    noiseEpsilon: fields.number("router_noise_epsilon", 0.01),
    balanceWeight: fields.number("balance_loss_weight", 0.01),
  };
}

/**
 * Reads a config.json's content.
 *
 * @param json the parsed file
 * @param where the file's name, for messages
 * @throws {UserError} when a field is missing, has a wrong value, or asks for something we do not compute
 * @example
 * ```ts
 * import { parseConfig } from "./config.ts";
 * const config = parseConfig({
 *   model_type: "llama", vocab_size: 64, hidden_size: 32, intermediate_size: 48,
 *   num_hidden_layers: 2, num_attention_heads: 4,
 * }, "config.json");
 * console.assert(config.kind === "llama" && config.headDim === 8);
 * ```
 */
export function parseConfig(json: unknown, where: string): ModelConfig {
  if (!isJsonObject(json)) throw new UserError(`${where}: a JSON object was expected.`);
  const fields = new Fields(json, where);
  const type = fields.text("model_type");
  // Mistral's models without a window are Llamas.
  if (type === "llama" || type === "mistral" || type === "qwen2") return { kind: "llama", ...parseLlama(fields, type) };
  if (type === "xft_moe") return { kind: "moe", ...parseMoe(fields) };
  if (type === "llama_moe_upscaling") {
    fields.fail("this is a checkpoint of the authors' code: turn it into a folder of ours with `convert` first.");
  }
  if (type === "mixtral" || type === "qwen2_moe") {
    fields.fail("this is a mixture of another kind: `merge` makes a dense model of it.");
  }
  if (type === undefined) fields.fail('the field "model_type" is missing.');
  return fields.fail(`model_type "${type}" is not supported (llama, mistral, qwen2 and xft_moe are).`);
}

/**
 * Writes a config.json's content for Hugging Face (`dtype` names how the weights are stored).
 *
 * @param config the model
 * @param dtype storage of the weights, as torch names it
 * @returns an object to be printed as JSON; `parseConfig` reads it back to the same config
 */
export function formatConfig(config: ModelConfig, dtype: "float32" | "bfloat16" | "float16" = "float32"): JsonObject {
  const eos = config.eos === undefined ? null : config.eos.length === 1 ? config.eos[0] : [...config.eos];
  const qwen = config.kind === "llama" && config.attentionBias === "qkv";
  const dense = qwen
    ? { architectures: ["Qwen2ForCausalLM"], model_type: "qwen2", use_sliding_window: false }
    : { architectures: ["LlamaForCausalLM"], model_type: "llama" };
  const llama = {
    ...dense,
    attention_bias: config.attentionBias === "all",
    attention_dropout: 0,
    mlp_bias: false,
    bos_token_id: config.bos ?? null,
    eos_token_id: eos,
    pad_token_id: config.pad ?? null,
    head_dim: config.headDim,
    hidden_act: "silu",
    hidden_size: config.hiddenSize,
    initializer_range: 0.02,
    intermediate_size: config.ffnSize,
    max_position_embeddings: config.maxPositions,
    num_attention_heads: config.heads,
    num_hidden_layers: config.layers,
    num_key_value_heads: config.kvHeads,
    rms_norm_eps: config.normEps,
    ...formatRope(config),
    tie_word_embeddings: config.tied,
    torch_dtype: dtype,
    use_cache: true,
    vocab_size: config.vocabSize,
  };
  if (config.kind === "llama") return llama;
  return {
    ...llama,
    architectures: ["XftMoeForCausalLM"],
    model_type: "xft_moe",
    auto_map: {
      AutoConfig: "configuration_xft_moe.XftMoeConfig",
      AutoModelForCausalLM: "modeling_xft_moe.XftMoeForCausalLM",
    },
    qkv_bias: config.attentionBias === "qkv",
    num_experts: config.experts,
    num_selects: config.active,
    router: config.router,
    normalised_gates: config.normalised,
    router_noise: config.noise,
    router_noise_epsilon: config.noiseEpsilon,
    balance_loss_weight: config.balanceWeight,
  };
}
