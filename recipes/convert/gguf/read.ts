/**
 * @file GGUF → Hugging Face: a Llama's (or Qwen 2's) weights under their Hugging Face names, with query and key rows back from
 * interleaved pairs to halves, and its tokenizer. A vocabulary alone (no tensors) becomes a folder without weights.
 */
import type { Checkpoint, TensorOut } from "../../../backend/checkpoint.ts";
import type { LlamaConfig, ModelConfig } from "../config.ts";
import { expectedTensors } from "../names.ts";
import { pairsToHalves } from "../rope.ts";
import { Metadata } from "./metadata.ts";
import { readRopeScaling } from "./rope_scaling.ts";
import { ggufName, ropeFactors } from "./tensors.ts";
import {
  byteLevelFiles,
  sentencePieceFiles,
  type TokenizerFiles,
  type Vocabulary,
} from "../tokenizers/tokenizer_json.ts";

/** What a GGUF file becomes. */
export interface GgufModel {
  /** Sizes and settings. */
  readonly config: ModelConfig;
  /** Tensors under their Hugging Face names; none for a vocabulary alone. */
  readonly tensors: readonly TensorOut[];
  /** Contents of the tokenizer's files, by name. */
  readonly files: TokenizerFiles;
}

/** Tokens that end a text: the end of the text and, where it is another, of a turn. */
function endTokens(metadata: Metadata): number[] {
  const ids = ["eos", "eot"].map((name) => metadata.number(`tokenizer.ggml.${name}_token_id`));
  return [...new Set(ids.filter((id) => id !== undefined))];
}

function readLlama(checkpoint: Checkpoint, metadata: Metadata, tokens: number): LlamaConfig {
  const own = (name: string): string => metadata.own(name);
  const embedding = checkpoint.tensors.get("token_embd.weight");
  const heads = metadata.size(own("attention.head_count"));
  const hiddenSize = metadata.size(own("embedding_length"));
  const headDim = metadata.number(own("attention.key_length")) ?? hiddenSize / heads;
  const rotated = metadata.number(own("rope.dimension_count")) ?? headDim;
  if (rotated !== headDim) {
    metadata.fail(`only ${rotated} of a head's ${headDim} channels are rotated, which is not supported.`);
  }
  const kvHeads = metadata.has(own("attention.head_count_kv")) ? metadata.size(own("attention.head_count_kv")) : heads;
  if (!Number.isInteger(headDim) || headDim % 2 !== 0 || heads % kvHeads !== 0) {
    metadata.fail(`${heads} heads of ${headDim} channels with ${kvHeads} key heads make no Llama.`);
  }
  const bos = metadata.number("tokenizer.ggml.bos_token_id");
  const pad = metadata.number("tokenizer.ggml.padding_token_id");
  const eos = endTokens(metadata);
  const ropeTheta = metadata.number(own("rope.freq_base")) ?? 10000;
  const has = (name: string): boolean => checkpoint.tensors.has(`blk.0.${name}`);
  return {
    vocabSize: embedding?.shape[0] ?? metadata.number(own("vocab_size")) ?? tokens,
    hiddenSize,
    ffnSize: metadata.size(own("feed_forward_length")),
    layers: metadata.size(own("block_count")),
    heads,
    kvHeads,
    headDim,
    maxPositions: metadata.size(own("context_length")),
    normEps: metadata.number(own("attention.layer_norm_rms_epsilon")) ?? 1e-5,
    ropeTheta,
    ropeScaling: readRopeScaling(checkpoint, metadata, headDim, ropeTheta),
    ...(has("attn_q.bias") ? { attentionBias: has("attn_output.bias") ? "all" : "qkv" } : {}),
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
    maxPositions: metadata.number(metadata.own("context_length")),
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

/**
 * Reads a GGUF file of a Llama or Qwen 2 (or its vocabulary alone).
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
  if ((metadata.number(metadata.own("expert_count")) ?? 0) > 0) {
    metadata.fail("this is a mixture of experts; only dense models are read from GGUF.");
  }
  const { files, tokens } = readTokenizer(checkpoint, metadata);
  const config: ModelConfig = { kind: "llama", ...readLlama(checkpoint, metadata, tokens) };
  if (checkpoint.tensors.size === 0) return { config, tensors: [], files };
  if (tokens > config.vocabSize) {
    metadata.fail(`the vocabulary has ${tokens} tokens, the embedding has only ${config.vocabSize} rows.`);
  }
  const used = new Set<string>([ropeFactors]);
  const tensors = expectedTensors(config).map(({ name, shape }): TensorOut => {
    const source = ggufName(name, metadata.architecture);
    const found = checkpoint.tensors.get(source.name) ?? metadata.fail(`tensor "${source.name}" is missing.`);
    if (found.shape.join() !== shape.join()) {
      metadata.fail(`tensor "${source.name}" has shape [${found.shape.join(", ")}], not [${shape.join(", ")}].`);
    }
    used.add(source.name);
    const read = () => checkpoint.read(source.name);
    const data = source.pairs ? () => pairsToHalves(read(), config.headDim, shape[1] ?? 1) : read;
    return { name, shape, data };
  });
  const extra = [...checkpoint.tensors.keys()].find((name) => !used.has(name));
  if (extra !== undefined) metadata.fail(`tensor "${extra}" belongs to no Llama that we compute.`);
  return { config, tensors, files };
}
