/** @file A folder's tokenizer.json as the plain vocabulary that GGUF and llama2.c hold. */
import { join } from "node:path";
import { loadTokenizer } from "../../../backend/tokenizer.ts";
import { UserError } from "../../../dsl/errors.ts";
import { isJsonObject, type JsonObject } from "../fields.ts";
import type { LlamaConfig } from "../config.ts";
import { kindOf } from "../files.ts";
import { readJson } from "../huggingface.ts";
import { nameOfCut } from "./pre_tokenizers.ts";
import { spareRow, tokenType, type Vocabulary } from "./tokenizer_json.ts";

/** A vocabulary, and how pieces are joined: by listed pairs of bytes, or by the scores of what they make. */
export type PlainTokenizer =
  | {
    readonly kind: "byte-level";
    readonly vocabulary: Vocabulary;
    /** Pairs in the order of their ranks, each "left right". */
    readonly merges: readonly string[];
    /** llama.cpp's name of the cut before merging. */
    readonly pre: string;
  }
  | {
    readonly kind: "sentencepiece";
    readonly vocabulary: Vocabulary;
    /** Higher is merged earlier, by id. */
    readonly scores: readonly number[];
    /** Whether a space is put before every text. */
    readonly spacePrefix: boolean;
  };

/** Pairs as "left right"; later versions of the file have them as lists. */
function mergesOf(merges: readonly unknown[]): string[] {
  return merges.map((merge) => Array.isArray(merge) ? merge.join(" ") : String(merge));
}

/** Does the file put a space before every text? */
function putsSpace({ normalizer, pre_tokenizer: pre }: JsonObject): boolean {
  const steps = isJsonObject(normalizer) && Array.isArray(normalizer.normalizers)
    ? normalizer.normalizers
    : [normalizer];
  if (steps.some((step) => isJsonObject(step) && step.type === "Prepend")) return true;
  return isJsonObject(pre) && pre.type === "Metaspace" && (pre.prepend_scheme ?? "always") !== "never" &&
    pre.add_prefix_space !== false;
}

/** The merges' ranks as scores of the tokens that they make. */
function scoresOf(tokens: readonly string[], merges: readonly string[]): number[] {
  const ranks = new Map<string, number>();
  merges.forEach((merge, rank) => {
    const made = merge.replace(" ", "");
    if (!ranks.has(made)) ranks.set(made, rank);
  });
  // A token that nothing makes comes after all that something does.
  return tokens.map((token) => -(ranks.get(token) ?? merges.length));
}

/**
 * Reads a folder's tokenizer.
 *
 * @param config of the model: rows that no token uses get llama.cpp's names for them
 * @throws {UserError} if there is none, or it is no BPE that llama.cpp and llama2.c know
 */
export function readVocabulary(folder: string, config: LlamaConfig): PlainTokenizer {
  const where = join(folder, "tokenizer.json"), json = readJson(where);
  const fail = (sentence: string): never => {
    throw new UserError(`${where}: ${sentence}`);
  };
  if (!isJsonObject(json) || !isJsonObject(json.model)) return fail("this is no tokenizer.");
  const { model } = json, { vocab, merges: listed } = model;
  if (model.type !== "BPE" || !isJsonObject(vocab) || !Array.isArray(listed)) {
    return fail(`its model is ${JSON.stringify(model.type)}; only BPE can be written there.`);
  }
  const sentencePiece = model.byte_fallback === true;
  const tokens = Array.from({ length: config.vocabSize }, (_, id) => spareRow(id));
  const types = tokens.map((): number => tokenType.unused);
  const put = (token: string, id: unknown, type: number): void => {
    if (typeof id !== "number" || !(id in tokens)) return fail(`the token ${JSON.stringify(token)} has no row.`);
    tokens[id] = token;
    types[id] = type;
  };
  for (const [token, id] of Object.entries(vocab)) {
    put(token, id, sentencePiece && /^<0x[0-9A-F]{2}>$/.test(token) ? tokenType.byte : tokenType.normal);
  }
  for (const added of Array.isArray(json.added_tokens) ? json.added_tokens : []) {
    const { content, id, special } = added, unknown = content === model.unk_token;
    put(content, id, unknown ? tokenType.unknown : special ? tokenType.control : tokenType.userDefined);
  }
  using tokenizer = loadTokenizer(folder);
  const [whole, bare] = [true, false].map((special) => tokenizer.encode("x", { special }));
  const beside = join(folder, "tokenizer_config.json"), more = kindOf(beside) === "file" ? readJson(beside) : {};
  const named = model.unk_token ?? (isJsonObject(more) ? more.unk_token : undefined);
  const unknown = typeof named === "string" ? tokens.indexOf(named) : -1;
  const vocabulary: Vocabulary = {
    tokens,
    types,
    bos: tokenizer.bos ?? config.bos,
    eos: tokenizer.eos ?? config.eos?.[0],
    pad: tokenizer.pad ?? config.pad,
    ...(unknown >= 0 && { unknown }),
    addBos: whole[0] === (tokenizer.bos ?? -1) && bare[0] !== whole[0],
    addEos: whole.at(-1) === (tokenizer.eos ?? -1) && bare.at(-1) !== whole.at(-1),
    chatTemplate: tokenizer.chatTemplate,
    maxPositions: config.maxPositions,
  };
  const merges = mergesOf(listed);
  if (sentencePiece) {
    return { kind: "sentencepiece", vocabulary, scores: scoresOf(tokens, merges), spacePrefix: putsSpace(json) };
  }
  // Where nothing is merged, any cut gives the same tokens.
  const pre = nameOfCut(json.pre_tokenizer) ?? (merges.length === 0 ? "gpt-2" : undefined) ??
    fail("llama.cpp has no name for the way in which it cuts a text.");
  return { kind: "byte-level", vocabulary, merges, pre };
}
