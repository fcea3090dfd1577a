/** @file Folders as users have them, of models of a few thousand weights. */
import { join } from "node:path";
import { openInterpreter } from "../backend/interpreter.ts";
import { saveModel } from "../recipes/model/parameters.ts";
import { tinyDense, tinyMixture, tinyModel } from "./tiny.ts";

const BOS = 256;

/** The end token of the tokenizer of bytes. */
export const EOS = 257;

/** A tokenizer of bytes, as Hugging Face writes it. */
export function byteTokenizer(): string {
  // GPT-2's letters for bytes: printable ones stand for themselves, the others follow from 256 on.
  const isPlain = (byte: number): boolean => (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173);
  let next = 256;
  const letters = Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPlain(byte) ? byte : next++));
  const special = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const level = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  return JSON.stringify({
    version: "1.0",
    added_tokens: [{ id: BOS, content: "<bos>", ...special }, { id: EOS, content: "<eos>", ...special }],
    pre_tokenizer: level,
    decoder: level,
    model: { type: "BPE", vocab: Object.fromEntries(letters.map((letter, id) => [letter, id])), merges: [] },
  });
}

const fields = { vocab_size: 260, hidden_size: 16, max_position_embeddings: 512, bos_token_id: BOS, eos_token_id: EOS };

/** Writes a fresh model's folder, with a tokenizer of bytes. */
export async function writeTinyModel(
  folder: string,
  kind: "dense" | "mixture",
  more: Record<string, unknown> = {},
): Promise<void> {
  using device = openInterpreter();
  const all = { ...fields, ...more }, config = kind === "dense" ? tinyDense(all) : tinyMixture(all);
  await saveModel(folder, tinyModel(config, device, 1, 5), device);
  Deno.writeTextFileSync(join(folder, "tokenizer.json"), byteTokenizer());
}

/** Writes instruction data that such a model can be tuned on. */
export function writeTinyData(path: string): void {
  const words = ["cat", "dog", "bird", "fish", "frog", "hen", "cow", "pig", "owl", "bee"];
  const records = words.map((word) => JSON.stringify({ instruction: `Name: ${word}`, response: `${word} ${word}` }));
  Deno.writeTextFileSync(path, records.join("\n"));
}
