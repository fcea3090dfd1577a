/** @file Hugging Face → llama2.c: a folder with model.bin (version 0) and tokenizer.bin, as its run.c reads them. */
import { join } from "node:path";
import { UserError } from "../../../dsl/errors.ts";
import type { LlamaConfig, ModelConfig } from "../config.ts";
import { type FolderOptions, writeFileInPieces, writeFolder } from "../files.ts";
import { openModel } from "../huggingface.ts";
import { expectedTensors, weightsIn } from "../names.ts";
import { halvesToPairs } from "../rope.ts";
import { type PlainTokenizer, readVocabulary } from "../tokenizers/read_vocabulary.ts";
import { tokenType } from "../tokenizers/tokenizer_json.ts";
import { bos, eos, firstByte } from "./format.ts";

/** The order of the file: each part for all layers before the next. */
const order = [
  "model.embed_tokens",
  "input_layernorm",
  "self_attn.q_proj",
  "self_attn.k_proj",
  "self_attn.v_proj",
  "self_attn.o_proj",
  "post_attention_layernorm",
  "mlp.gate_proj",
  "mlp.down_proj",
  "mlp.up_proj",
  "model.norm",
] as const;

/** Says no to what run.c does not compute. */
function check(folder: string, config: LlamaConfig): void {
  const wrong = ([
    [config.headDim * config.heads !== config.hiddenSize, `heads of ${config.headDim} channels`],
    [config.attentionBias !== undefined, "biases"],
    [config.ropeTheta !== 10000, `rope_theta ${config.ropeTheta} (10000 is what it computes with)`],
    [config.ropeScaling !== null, `RoPE scaling "${config.ropeScaling?.type}"`],
    [config.normEps !== 1e-5, `rms_norm_eps ${config.normEps} (1e-5 is what it computes with)`],
  ] as const).find(([isWrong]) => isWrong);
  if (wrong) throw new UserError(`${folder}: llama2.c knows no ${wrong[1]}.`);
}

/**
 * The content of a tokenizer.bin.
 *
 * @param where the model's name, for messages
 * @throws {UserError} if the tokenizer has other ids than those that run.c hard-wires
 */
function formatTokenizerBin(tokenizer: PlainTokenizer, where: string): Uint8Array<ArrayBuffer> {
  const { tokens, types, bos: begin, eos: end } = tokenizer.vocabulary;
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  const usual = tokenizer.kind === "sentencepiece" && begin === bos && end === eos &&
    bytes.every((name, byte) => tokens[firstByte + byte] === name);
  if (!usual || tokenizer.kind !== "sentencepiece") {
    throw new UserError(
      `${where}: llama2.c knows only SentencePiece's tokenizers with BOS 1, EOS 2 and the bytes from 3 on.`,
    );
  }
  const encoder = new TextEncoder();
  const pieces = tokens.map((token, id) => {
    // What llama2.c's own exporter writes.
    const named = id === bos || id === eos ? `\n${token}\n` : token;
    return encoder.encode(types[id] === tokenType.normal ? named.replaceAll("▁", " ") : named);
  });
  const out = new Uint8Array(4 + pieces.reduce((sum, { length }) => sum + 8 + length, 0));
  const view = new DataView(out.buffer);
  view.setUint32(0, pieces.reduce((most, { length }) => Math.max(most, length), 0), true);
  let at = 4;
  for (const [id, piece] of pieces.entries()) {
    view.setFloat32(at, tokenizer.scores[id], true);
    view.setInt32(at + 4, piece.length, true);
    out.set(piece, at + 8);
    at += 8 + piece.length;
  }
  return out;
}

/** Tables of the rotary embedding, which old versions of run.c read over and later ones compute. */
function ropeTables({ maxPositions, headDim, ropeTheta }: LlamaConfig): Float32Array<ArrayBuffer>[] {
  const pairs = headDim / 2;
  const angle = (at: number): number => Math.floor(at / pairs) * ropeTheta ** (-2 * (at % pairs) / headDim);
  return [Math.cos, Math.sin].map((f) => Float32Array.from({ length: maxPositions * pairs }, (_, at) => f(angle(at))));
}

/**
 * Writes a dense model's folder for llama2.c; `out` appears whole or not at all.
 *
 * @returns the model's settings, and how many weights were written
 * @throws {UserError} if run.c cannot compute the model, or something is in the way at `out`
 * @example
 * ```ts ignore
 * import { toLlama2c } from "./write.ts";
 * await toLlama2c("models/stories", "stories.llama2c"); // run stories.llama2c/model.bin -z stories.llama2c/tokenizer.bin
 * ```
 */
export async function toLlama2c(
  folder: string,
  out: string,
  options: FolderOptions = {},
): Promise<{ readonly config: ModelConfig; readonly parameters: number; readonly tokens: number }> {
  using model = openModel(folder);
  const { config, checkpoint } = model;
  if (config.kind === "moe") {
    throw new UserError(`${folder}: llama2.c has no mixtures: \`merge\` it first, and convert what comes of it.`);
  }
  check(folder, config);
  const { hiddenSize, ffnSize, layers, heads, kvHeads, vocabSize, maxPositions, headDim, tied } = config;
  const tokenizer = formatTokenizerBin(readVocabulary(folder, config), folder);
  const place = (name: string): number => order.findIndex((part) => name.endsWith(`${part}.weight`));
  const tensors = expectedTensors(config).filter(({ name }) => place(name) >= 0);
  // Stable: layers stay in their order.
  tensors.sort((a, b) => place(a.name) - place(b.name));
  await writeFolder(out, async (temporary, pause) => {
    Deno.writeFileSync(join(temporary, "tokenizer.bin"), tokenizer);
    await writeFileInPieces(join(temporary, "model.bin"), async (put) => {
      const write = (values: ArrayBufferView): void =>
        put(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      // A negative size says that the classifier is a matrix of its own.
      write(Int32Array.of(hiddenSize, ffnSize, layers, heads, kvHeads, tied ? vocabSize : -vocabSize, maxPositions));
      for (const { name, shape } of tensors) {
        const values = checkpoint.read(name), pairs = /\.[qk]_proj\./.test(name);
        write(pairs ? halvesToPairs(values, headDim, shape[1]) : values);
        await pause();
      }
      ropeTables(config).forEach(write);
      if (!tied) write(checkpoint.read("lm_head.weight"));
    });
  }, { ...options, marks: ["model.bin"] });
  return { config, parameters: weightsIn(expectedTensors(config)), tokens: vocabSize };
}
