/** @file Hugging Face → GGUF: a dense model's folder as one file that llama.cpp loads. */
import { basename, resolve } from "node:path";
import type { Checkpoint } from "../../../backend/checkpoint.ts";
import { UserError } from "../../../dsl/errors.ts";
import type { LlamaConfig, ModelConfig } from "../config.ts";
import { type FolderOptions, writeFileInPieces } from "../files.ts";
import { openModel } from "../huggingface.ts";
import { elementsOf, type ExpectedTensor, expectedTensors, weightsIn } from "../names.ts";
import { halvesToPairs } from "../rope.ts";
import { type PlainTokenizer, readVocabulary } from "../tokenizers/read_vocabulary.ts";
import { tokenType } from "../tokenizers/tokenizer_json.ts";
import { ggufBytes, type GgufType, ggufTypes } from "./encode.ts";
import { type GgufEntry, ggufHeader, type MetadataOut, padding } from "./header.ts";
import { formatRopeScaling } from "./rope_scaling.ts";
import { architectureOf, ggufName, ropeFactors } from "./tensors.ts";

/** How a GGUF file is written. */
export interface GgufOptions extends FolderOptions {
  /** Storage of matrices (default F16). Vectors are F32, and F16 are those whose rows make no whole blocks. */
  readonly type?: GgufType;
  /** Called after each tensor. */
  readonly progress?: (done: number, total: number) => void;
}

/** A tensor to be written. */
interface Piece extends GgufEntry {
  readonly stored: GgufType;
  readonly read: () => Float32Array;
}

const u32 = (value: number) => ({ type: "u32", value } as const);
const f32 = (value: number) => ({ type: "f32", value } as const);
const text = (value: string) => ({ type: "text", value } as const);
const flag = (value: boolean) => ({ type: "bool", value } as const);
const token = (id?: number) => id === undefined ? undefined : u32(id);

/** Sizes and settings, keyed after the architecture's name. */
function sizes(config: LlamaConfig): MetadataOut {
  return {
    "block_count": u32(config.layers),
    "context_length": u32(config.maxPositions),
    "embedding_length": u32(config.hiddenSize),
    "feed_forward_length": u32(config.ffnSize),
    "attention.head_count": u32(config.heads),
    "attention.head_count_kv": u32(config.kvHeads),
    "attention.key_length": u32(config.headDim),
    "attention.value_length": u32(config.headDim),
    "attention.layer_norm_rms_epsilon": f32(config.normEps),
    "rope.dimension_count": u32(config.headDim),
    "rope.freq_base": f32(config.ropeTheta),
    "vocab_size": u32(config.vocabSize),
  };
}

/** The tokenizer. */
function vocabularyKeys(tokenizer: PlainTokenizer, { eos = [] }: LlamaConfig): MetadataOut {
  const { tokens, types, bos, eos: end, unknown, pad, addBos, addEos, chatTemplate } = tokenizer.vocabulary;
  const own: MetadataOut = tokenizer.kind === "byte-level"
    ? { model: text("gpt2"), pre: text(tokenizer.pre), merges: { type: "texts", value: tokenizer.merges } }
    : {
      model: text("llama"),
      pre: text("default"),
      scores: { type: "f32s", value: tokenizer.scores },
      add_space_prefix: flag(tokenizer.spacePrefix),
    };
  const keys: MetadataOut = {
    ...own,
    tokens: { type: "texts", value: tokens },
    token_type: { type: "i32s", value: types },
    bos_token_id: token(bos),
    eos_token_id: token(end),
    // A second end, of a turn.
    eot_token_id: token(eos.find((id) => id !== end)),
    unknown_token_id: token(unknown),
    padding_token_id: token(pad),
    add_bos_token: flag(addBos),
    add_eos_token: flag(addEos),
  };
  const named = Object.entries(keys).map(([key, value]) => [`tokenizer.ggml.${key}`, value]);
  const template = chatTemplate === undefined ? {} : { "tokenizer.chat_template": text(chatTemplate) };
  return { ...Object.fromEntries(named), ...template };
}

function pieceOf(
  { name, shape }: ExpectedTensor,
  config: LlamaConfig,
  checkpoint: Checkpoint,
  wanted: GgufType,
): Piece {
  const { name: inFile, pairs } = ggufName(name, architectureOf(config)), columns = shape[1] ?? 1;
  const stored = shape.length === 1 ? "F32" : columns % ggufTypes[wanted].block === 0 ? wanted : "F16";
  const read = (): Float32Array => {
    const values = checkpoint.read(name);
    return pairs ? halvesToPairs(values, config.headDim, columns) : values;
  };
  return { name: inFile, shape, stored, read, ...placeOf(shape, stored) };
}

/** A type's number, and the bytes of a tensor of it. */
function placeOf(shape: readonly number[], stored: GgufType): Pick<GgufEntry, "type" | "bytes"> {
  const { number, block, bytes } = ggufTypes[stored];
  return { type: number, bytes: elementsOf(shape) / block * bytes };
}

/**
 * Writes a dense model's folder as a GGUF file; it appears whole or not at all.
 *
 * @returns the model's settings, and how many weights were written
 * @throws {UserError} if the folder is none, the model or its tokenizer is none that llama.cpp knows, or something is in
 * the way at `out`
 * @example
 * ```ts ignore
 * import { toGguf } from "./write.ts";
 * await toGguf("models/merged", "merged.Q8_0.gguf", { type: "Q8_0" });
 * ```
 */
export async function toGguf(
  folder: string,
  out: string,
  options: GgufOptions = {},
): Promise<{ readonly config: ModelConfig; readonly parameters: number; readonly tokens: number }> {
  using model = openModel(folder);
  const { config, checkpoint } = model, wanted = options.type ?? "F16";
  if (config.kind === "moe") {
    throw new UserError(`${folder}: llama.cpp has no such mixture: \`merge\` it first, and convert what comes of it.`);
  }
  const tokenizer = readVocabulary(folder, config), architecture = architectureOf(config);
  const rope = formatRopeScaling(config, folder);
  const own = { ...sizes(config), ...rope.metadata };
  const metadata: MetadataOut = {
    "general.architecture": text(architecture),
    "general.name": text(basename(resolve(folder))),
    "general.file_type": u32(ggufTypes[wanted].file),
    "general.quantization_version": wanted === "Q8_0" ? u32(2) : undefined,
    ...Object.fromEntries(Object.entries(own).map(([key, value]) => [`${architecture}.${key}`, value])),
    ...vocabularyKeys(tokenizer, config),
  };
  const pieces = expectedTensors(config).map((tensor) => pieceOf(tensor, config, checkpoint, wanted));
  if (rope.divisors) {
    const { divisors } = rope, shape = [divisors.length];
    pieces.push({ name: ropeFactors, shape, stored: "F32", read: () => divisors, ...placeOf(shape, "F32") });
  }
  await writeFileInPieces(out, async (put, pause) => {
    put(ggufHeader(metadata, pieces));
    for (const [i, { read, stored, bytes }] of pieces.entries()) {
      put(ggufBytes(read(), stored));
      put(new Uint8Array(padding(bytes)));
      options.progress?.(i + 1, pieces.length);
      await pause();
    }
  }, options);
  const parameters = weightsIn(pieces);
  const used = tokenizer.vocabulary.types.findLastIndex((type) => type !== tokenType.unused) + 1;
  return { config, parameters, tokens: used };
}
