/**
 * @file GGUF → Hugging Face: a Llama's weights under their Hugging Face names, with query and key rows back from
 * interleaved pairs to halves, and its tokenizer. A vocabulary alone (no tensors) becomes a folder without weights.
 */
import { UserError } from "../../../dsl/errors.ts";
import type { Checkpoint, TensorOut } from "../../../backend/checkpoint.ts";
import type { LlamaConfig, ModelConfig, RopeScaling } from "../config.ts";
import { expectedTensors } from "../names.ts";
import { pairsToHalves } from "../rope.ts";
import {
  byteLevelFiles,
  sentencePieceFiles,
  type TokenizerFiles,
  type Vocabulary,
} from "../tokenizers/tokenizer_json.ts";

/** Metadata by key, with types; every mistake names the file and the key. */
class Metadata {
  constructor(private readonly checkpoint: Checkpoint) {}

  fail(sentence: string): never {
    throw new UserError(`${this.checkpoint.path}: ${sentence}`);
  }

  has(key: string): boolean {
    return this.checkpoint.metadata[key] !== undefined;
  }

  private typed<T>(key: string, is: (value: unknown) => value is T, what: string): T | undefined {
    const value = this.checkpoint.metadata[key];
    if (value === undefined) return undefined;
    if (!is(value)) this.fail(`"${key}" in the metadata is not ${what}.`);
    return value;
  }

  number(key: string): number | undefined {
    return this.typed(key, (value): value is number => typeof value === "number", "a number");
  }

  size(key: string): number {
    const value = this.number(key);
    if (value === undefined) return this.fail(`the metadata has no "${key}".`);
    if (!Number.isInteger(value) || value < 1) {
      this.fail(`"${key}" is ${value}, a whole number from 1 up was expected.`);
    }
    return value;
  }

  text(key: string): string | undefined {
    return this.typed(key, (value): value is string => typeof value === "string", "a text");
  }

  flag(key: string): boolean | undefined {
    return this.typed(key, (value): value is boolean => typeof value === "boolean", "true or false");
  }

  texts(key: string): readonly string[] | undefined {
    const all = (value: unknown): value is string[] =>
      Array.isArray(value) && value.every((entry) => typeof entry === "string");
    return this.typed(key, all, "a list of texts");
  }

  numbers(key: string): readonly number[] | undefined {
    const all = (value: unknown): value is number[] =>
      Array.isArray(value) && value.every((entry) => typeof entry === "number");
    return this.typed(key, all, "a list of numbers");
  }
}

/** What a GGUF file becomes. */
export interface GgufModel {
  /** Sizes and settings. */
  readonly config: ModelConfig;
  /** Tensors under their Hugging Face names; none for a vocabulary alone. */
  readonly tensors: readonly TensorOut[];
  /** Contents of the tokenizer's files, by name. */
  readonly files: TokenizerFiles;
}

function ropeScaling(metadata: Metadata): RopeScaling | null {
  const type = metadata.text("llama.rope.scaling.type");
  const factor = metadata.number("llama.rope.scaling.factor") ?? metadata.number("llama.rope.scale_linear");
  if (type === undefined && factor === undefined || type === "none") return null;
  if (type !== undefined && type !== "linear") metadata.fail(`RoPE scaling "${type}" is not supported (linear is).`);
  if (factor === undefined || factor <= 0) return metadata.fail(`the metadata has no factor for RoPE scaling.`);
  return { type: "linear", factor };
}

/** Tokens that end a text: the end of the text and, where it is another, of a turn. */
function endTokens(metadata: Metadata): number[] {
  const ids = ["eos", "eot"].map((name) => metadata.number(`tokenizer.ggml.${name}_token_id`));
  return [...new Set(ids.filter((id) => id !== undefined))];
}

function readLlama(checkpoint: Checkpoint, metadata: Metadata, tokens: number): LlamaConfig {
  const embedding = checkpoint.tensors.get("token_embd.weight");
  const heads = metadata.size("llama.attention.head_count");
  const hiddenSize = metadata.size("llama.embedding_length");
  const headDim = metadata.number("llama.attention.key_length") ?? hiddenSize / heads;
  const rotated = metadata.number("llama.rope.dimension_count") ?? headDim;
  if (rotated !== headDim) {
    metadata.fail(`only ${rotated} of a head's ${headDim} channels are rotated, which is not supported.`);
  }
  const kvHeads = metadata.has("llama.attention.head_count_kv")
    ? metadata.size("llama.attention.head_count_kv")
    : heads;
  if (!Number.isInteger(headDim) || headDim % 2 !== 0 || heads % kvHeads !== 0) {
    metadata.fail(`${heads} heads of ${headDim} channels with ${kvHeads} key heads make no Llama.`);
  }
  const bos = metadata.number("tokenizer.ggml.bos_token_id");
  const pad = metadata.number("tokenizer.ggml.padding_token_id");
  const eos = endTokens(metadata);
  return {
    vocabSize: embedding?.shape[0] ?? metadata.number("llama.vocab_size") ?? tokens,
    hiddenSize,
    ffnSize: metadata.size("llama.feed_forward_length"),
    layers: metadata.size("llama.block_count"),
    heads,
    kvHeads,
    headDim,
    maxPositions: metadata.size("llama.context_length"),
    normEps: metadata.number("llama.attention.layer_norm_rms_epsilon") ?? 1e-5,
    ropeTheta: metadata.number("llama.rope.freq_base") ?? 10000,
    ropeScaling: ropeScaling(metadata),
    // A vocabulary alone does not say; untied is what transformers assumes.
    tied: checkpoint.tensors.size > 0 && !checkpoint.tensors.has("output.weight"),
    ...(bos === undefined ? {} : { bos }),
    ...(eos.length === 0 ? {} : { eos }),
    ...(pad === undefined ? {} : { pad }),
  };
}

function readTokenizer(checkpoint: Checkpoint, metadata: Metadata): { files: TokenizerFiles; tokens: number } {
  const key = (name: string): string => `tokenizer.ggml.${name}`;
  const tokens = metadata.texts(key("tokens")) ?? metadata.fail("there is no vocabulary in the metadata.");
  const kind = metadata.text(key("model"));
  const pre = metadata.text(key("pre")) ?? "default";
  const vocabulary: Vocabulary = {
    tokens,
    types: metadata.numbers(key("token_type")) ?? tokens.map(() => 1),
    bos: metadata.number(key("bos_token_id")),
    eos: metadata.number(key("eos_token_id")),
    pad: metadata.number(key("padding_token_id")),
    unknown: metadata.number(key("unknown_token_id")),
    // Where the file is silent, llama.cpp adds BOS for SentencePiece and for Llama 3.
    addBos: metadata.flag(key("add_bos_token")) ?? (kind === "llama" || pre === "llama-bpe"),
    addEos: metadata.flag(key("add_eos_token")) ?? false,
    chatTemplate: metadata.text("tokenizer.chat_template"),
    maxPositions: metadata.number("llama.context_length"),
  };
  const where = checkpoint.path;
  if (kind === "gpt2") {
    const merges = metadata.texts(key("merges")) ?? metadata.fail("the vocabulary has no merges.");
    return { files: byteLevelFiles(vocabulary, merges, pre, where), tokens: tokens.length };
  }
  if (kind === "llama") {
    const scores = metadata.numbers(key("scores")) ?? metadata.fail("the vocabulary has no scores.");
    const spacePrefix = metadata.flag(key("add_space_prefix")) ?? true;
    return { files: sentencePieceFiles(vocabulary, scores, spacePrefix, where), tokens: tokens.length };
  }
  return metadata.fail(`the tokenizer "${kind}" is not supported (gpt2 and llama are).`);
}

/** A tensor's name in GGUF, and whether its rows are interleaved pairs. */
function ggufName(name: string): { readonly name: string; readonly pairs: boolean } {
  const whole: Readonly<Record<string, string>> = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
  };
  const parts: Readonly<Record<string, string>> = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
  };
  if (whole[name] !== undefined) return { name: whole[name], pairs: false };
  const [, layer, part] = /^model\.layers\.(\d+)\.(.+)\.weight$/.exec(name) ?? [];
  return { name: `blk.${layer}.${parts[part]}.weight`, pairs: /\.[qk]_proj\./.test(name) };
}

/**
 * Reads a GGUF file of a Llama (or its vocabulary alone).
 *
 * @param checkpoint an opened GGUF file; the tensors read from it when their data is asked for
 * @throws {UserError} if it is of another architecture, incomplete, or uses what we do not compute
 * @example
 * ```ts ignore
 * import { openCheckpoint } from "../../../backend/checkpoint.ts";
 * import { fromGguf } from "./read.ts";
 * using checkpoint = openCheckpoint("SmolLM2-135M-Instruct.Q4_1.gguf");
 * console.log(fromGguf(checkpoint).config.layers);
 * ```
 */
export function fromGguf(checkpoint: Checkpoint): GgufModel {
  const metadata = new Metadata(checkpoint);
  const architecture = metadata.text("general.architecture");
  if (architecture !== "llama") metadata.fail(`architecture "${architecture}" is not supported (llama is).`);
  if ((metadata.number("llama.expert_count") ?? 0) > 0) {
    metadata.fail("this is a mixture of experts; only dense Llamas are read from GGUF.");
  }
  const { files, tokens } = readTokenizer(checkpoint, metadata);
  const config: ModelConfig = { kind: "llama", ...readLlama(checkpoint, metadata, tokens) };
  if (checkpoint.tensors.size === 0) return { config, tensors: [], files };
  if (tokens > config.vocabSize) {
    metadata.fail(`the vocabulary has ${tokens} tokens, the embedding has only ${config.vocabSize} rows.`);
  }
  const used = new Set<string>();
  const tensors = expectedTensors(config).map(({ name, shape }): TensorOut => {
    const source = ggufName(name);
    const found = checkpoint.tensors.get(source.name) ?? metadata.fail(`tensor "${source.name}" is missing.`);
    if (found.shape.join() !== shape.join()) {
      metadata.fail(`tensor "${source.name}" has shape [${found.shape.join(", ")}], not [${shape.join(", ")}].`);
    }
    used.add(source.name);
    const read = () => checkpoint.read(source.name);
    const data = source.pairs ? () => pairsToHalves(read(), config.headDim, config.hiddenSize) : read;
    return { name, shape, data };
  });
  const extra = [...checkpoint.tensors.keys()].find((name) => !used.has(name));
  if (extra !== undefined) metadata.fail(`tensor "${extra}" belongs to no Llama that we compute.`);
  return { config, tensors, files };
}
