/**
 * @file What a model's config.json says, as types: read with checks, written for Hugging Face.
 *
 * `parseConfig` turns the JSON into a `ModelConfig`, `formatConfig` turns it back; every recipe works on the types.
 */
import { UserError } from "../../dsl/errors.ts";

/** How rotary frequencies are stretched for contexts longer than the pretraining's. */
export type RopeScaling =
  | {
    /** Every position divided by the factor. */
    readonly type: "linear";
    readonly factor: number;
  }
  | {
    /** Llama 3.1: low frequencies divided by the factor, high ones kept, a ramp between. */
    readonly type: "llama3";
    readonly factor: number;
    readonly lowFrequencyFactor: number;
    readonly highFrequencyFactor: number;
    readonly originalMaxPositions: number;
  };

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

/** A parsed JSON object whose fields are not yet known. */
export type JsonObject = { readonly [key: string]: unknown };

/** Says whether a parsed JSON value is an object (not null, not a list). */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Reads typed fields of a JSON object; every mistake is one sentence naming the file and the field. */
class Fields {
  constructor(private readonly json: JsonObject, private readonly where: string) {}

  fail(sentence: string): never {
    throw new UserError(`${this.where}: ${sentence}`);
  }

  has(name: string): boolean {
    return this.json[name] !== undefined && this.json[name] !== null;
  }

  number(name: string, fallback?: number): number {
    const value = this.json[name];
    if (value === undefined || value === null) {
      return fallback ?? this.fail(`the field "${name}" is missing.`);
    }
    if (typeof value !== "number" || !Number.isFinite(value)) {
      this.fail(`"${name}" is ${JSON.stringify(value)}, a number was expected.`);
    }
    return value;
  }

  /** A number above zero. */
  positive(name: string, fallback?: number): number {
    const value = this.number(name, fallback);
    if (value <= 0) this.fail(`"${name}" is ${value}, it must be above 0.`);
    return value;
  }

  /** A whole number from 1 up. */
  size(name: string, fallback?: number): number {
    const value = this.number(name, fallback);
    if (!Number.isInteger(value) || value < 1 || value > 2 ** 31) {
      this.fail(`"${name}" is ${value}, a whole number from 1 up was expected.`);
    }
    return value;
  }

  boolean(name: string, fallback: boolean): boolean {
    const value = this.json[name];
    if (value === undefined || value === null) return fallback;
    if (typeof value !== "boolean") this.fail(`"${name}" is ${JSON.stringify(value)}, true or false was expected.`);
    return value;
  }

  /** Token ids: absent, one, or a list. */
  tokens(name: string): number[] | undefined {
    const value = this.json[name];
    if (value === undefined || value === null) return undefined;
    const list: unknown[] = Array.isArray(value) ? value : [value];
    return list.map((id) => {
      // −1 is how some exporters write "none".
      if (typeof id !== "number" || !Number.isInteger(id) || id < -1) {
        this.fail(`"${name}" holds ${JSON.stringify(id)}, a token id was expected.`);
      }
      return id;
    }).filter((id) => id >= 0);
  }

  object(name: string): Fields | undefined {
    const value = this.json[name];
    if (value === undefined || value === null) return undefined;
    if (!isJsonObject(value)) this.fail(`"${name}" is ${JSON.stringify(value)}, an object was expected.`);
    return new Fields(value, `${this.where}: ${name}`);
  }

  text(name: string): string | undefined {
    const value = this.json[name];
    if (value === undefined || value === null) return undefined;
    if (typeof value !== "string") this.fail(`"${name}" is ${JSON.stringify(value)}, a text was expected.`);
    return value;
  }
}

function parseRope(fields: Fields): Pick<LlamaConfig, "ropeTheta" | "ropeScaling"> {
  // transformers 5 writes `rope_parameters`, earlier versions `rope_theta` and `rope_scaling`.
  const scaling = fields.object("rope_parameters") ?? fields.object("rope_scaling");
  const ropeTheta = scaling?.has("rope_theta") ? scaling.positive("rope_theta") : fields.positive("rope_theta", 10000);
  const type = scaling?.text("rope_type") ?? scaling?.text("type") ?? "default";
  if (scaling === undefined || type === "default") return { ropeTheta, ropeScaling: null };
  if (type === "linear") return { ropeTheta, ropeScaling: { type, factor: scaling.positive("factor") } };
  if (type === "llama3") {
    return {
      ropeTheta,
      ropeScaling: {
        type,
        factor: scaling.positive("factor"),
        lowFrequencyFactor: scaling.positive("low_freq_factor"),
        highFrequencyFactor: scaling.positive("high_freq_factor"),
        originalMaxPositions: scaling.size("original_max_position_embeddings"),
      },
    };
  }
  return fields.fail(`RoPE scaling "${type}" is not supported (linear and llama3 are).`);
}

function parseLlama(fields: Fields): LlamaConfig {
  const activation = fields.text("hidden_act") ?? "silu";
  if (activation !== "silu") fields.fail(`the activation "${activation}" is not supported (silu is).`);
  for (const bias of ["attention_bias", "mlp_bias"]) {
    if (fields.boolean(bias, false)) fields.fail(`"${bias}" is true: models with biases are not supported.`);
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
    maxPositions: fields.size("max_position_embeddings", 2048),
    normEps: fields.positive("rms_norm_eps", 1e-6),
    ...parseRope(fields),
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
    ...parseLlama(fields),
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
  if (type === "llama") return { kind: "llama", ...parseLlama(fields) };
  if (type === "xft_moe") return { kind: "moe", ...parseMoe(fields) };
  if (type === "llama_moe_upscaling") {
    fields.fail("this is a checkpoint of the authors' code: turn it into a folder of ours with `convert` first.");
  }
  if (type === undefined) fields.fail('the field "model_type" is missing.');
  return fields.fail(`model_type "${type}" is not supported (llama and xft_moe are).`);
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
  const scaling = config.ropeScaling;
  const llama = {
    architectures: [config.kind === "llama" ? "LlamaForCausalLM" : "XftMoeForCausalLM"],
    model_type: config.kind === "llama" ? "llama" : "xft_moe",
    attention_bias: false,
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
    rope_theta: config.ropeTheta,
    rope_scaling: scaling === null ? null : scaling.type === "linear"
      // Two spellings of the type: transformers before 4.43 reads the first, later ones the second.
      ? { type: "linear", rope_type: "linear", factor: scaling.factor }
      : {
        rope_type: "llama3",
        factor: scaling.factor,
        low_freq_factor: scaling.lowFrequencyFactor,
        high_freq_factor: scaling.highFrequencyFactor,
        original_max_position_embeddings: scaling.originalMaxPositions,
      },
    tie_word_embeddings: config.tied,
    torch_dtype: dtype,
    use_cache: true,
    vocab_size: config.vocabSize,
  };
  if (config.kind === "llama") return llama;
  return {
    ...llama,
    num_experts: config.experts,
    num_selects: config.active,
    router: config.router,
    normalised_gates: config.normalised,
    router_noise: config.noise,
    router_noise_epsilon: config.noiseEpsilon,
    balance_loss_weight: config.balanceWeight,
  };
}
