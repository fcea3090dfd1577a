/**
 * @file llama2.c → Hugging Face: weights of a version 0 file, query and key rows from interleaved pairs to halves, and
 * its tokenizer.bin.
 */
import { UserError } from "../../../dsl/errors.ts";
import type { Checkpoint, TensorOut } from "../../../backend/checkpoint.ts";
import type { ModelConfig } from "../config.ts";
import { expectedTensors } from "../names.ts";
import { pairsToHalves } from "../rope.ts";
import { sentencePieceFiles, type TokenizerFiles, tokenType } from "../tokenizers/tokenizer_json.ts";
import { bos, eos, firstByte, llama2cName, unknown } from "./format.ts";

/** What a llama2.c file becomes. */
export interface Llama2cModel {
  /** Sizes and settings. */
  readonly config: ModelConfig;
  /** Tensors under their Hugging Face names. */
  readonly tensors: readonly TensorOut[];
  /** Contents of the tokenizer's files, by name. */
  readonly files: TokenizerFiles;
}

/**
 * Reads a llama2.c tokenizer.bin: the longest piece's length, then score, length and bytes of each piece.
 *
 * @param bytes the file's content
 * @param count tokens of the model
 * @param where the file's name, for messages
 * @throws {UserError} if it does not hold exactly `count` pieces
 */
export function parseTokenizerBin(
  bytes: Uint8Array,
  count: number,
  where: string,
): { readonly pieces: readonly string[]; readonly scores: readonly number[] } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const pieces: string[] = [];
  const scores: number[] = [];
  let at = 4;
  while (at < bytes.length) {
    const length = at + 8 <= bytes.length ? view.getInt32(at + 4, true) : -1;
    if (length < 0 || at + 8 + length > bytes.length) {
      throw new UserError(
        `${where}: piece ${pieces.length} goes beyond the file's ${bytes.length} bytes: it is cut short.`,
      );
    }
    scores.push(view.getFloat32(at, true));
    try {
      pieces.push(decoder.decode(bytes.subarray(at + 8, at + 8 + length)));
    } catch {
      throw new UserError(`${where}: piece ${pieces.length} is not UTF-8: this is no tokenizer of llama2.c.`);
    }
    at += 8 + length;
  }
  if (pieces.length !== count) {
    throw new UserError(
      `${where}: it has ${pieces.length} pieces, the model has ${count} tokens: they do not belong together.`,
    );
  }
  return { pieces, scores };
}

function tokenizerFiles(bytes: Uint8Array, count: number, maxPositions: number, where: string): TokenizerFiles {
  const { pieces, scores } = parseTokenizerBin(bytes, count, where);
  const named: Readonly<Record<number, string>> = { [unknown]: "<unk>", [bos]: "<s>", [eos]: "</s>" };
  const isByte = (piece: string): boolean => /^<0x[0-9A-F]{2}>$/.test(piece);
  // llama2.c's exporter wrote spaces for SentencePiece's "▁" and wrapped BOS and EOS in line feeds.
  const tokens = pieces.map((piece, id) => named[id] ?? piece.replaceAll(" ", "▁"));
  const types = pieces.map((piece, id) => {
    if (id === unknown) return tokenType.unknown;
    if (id < firstByte) return tokenType.control;
    return isByte(piece) ? tokenType.byte : tokenType.normal;
  });
  const vocabulary = { tokens, types, bos, eos, unknown, addBos: true, addEos: false, maxPositions };
  return sentencePieceFiles(vocabulary, scores, true, where);
}

/**
 * Reads a llama2.c model.
 *
 * @param checkpoint an opened llama2.c file; the tensors read from it when their data is asked for
 * @param tokenizer content of its tokenizer.bin
 * @param tokenizerPath that file's name, for messages
 * @throws {UserError} if the tokenizer is damaged or not this model's
 */
export function fromLlama2c(checkpoint: Checkpoint, tokenizer: Uint8Array, tokenizerPath: string): Llama2cModel {
  const header = (name: string): number => Number(checkpoint.metadata[name]);
  const [hiddenSize, heads, vocabSize, maxPositions] = ["dim", "n_heads", "vocab_size", "seq_len"].map(header);
  const config: ModelConfig = {
    kind: "llama",
    vocabSize,
    hiddenSize,
    ffnSize: header("hidden_dim"),
    layers: header("n_layers"),
    heads,
    kvHeads: header("n_kv_heads"),
    headDim: hiddenSize / heads,
    maxPositions,
    normEps: 1e-5,
    ropeTheta: 10000,
    ropeScaling: null,
    tied: checkpoint.metadata.shared_classifier === true,
    bos,
    // Stories were trained one after another, each begun with BOS, so that BOS ends one too (as in llama2.c's run.c).
    eos: [eos, bos],
  };
  const files = tokenizerFiles(tokenizer, vocabSize, maxPositions, tokenizerPath);
  const tensors = expectedTensors(config).map(({ name, shape }): TensorOut => {
    const read = () => checkpoint.read(llama2cName(name));
    const pairs = /\.[qk]_proj\./.test(name);
    return { name, shape, data: pairs ? () => pairsToHalves(read(), config.headDim, hiddenSize) : read };
  });
  return { config, tensors, files };
}
