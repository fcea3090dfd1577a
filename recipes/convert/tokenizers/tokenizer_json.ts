/**
 * @file Builds a tokenizer.json (and the files beside it) from a vocabulary: byte-level BPE with its merges, or
 * SentencePiece's BPE with its scores.
 */
import { UserError } from "../../../dsl/errors.ts";
import type { JsonObject } from "../fields.ts";
import { patternsOf } from "./pre_tokenizers.ts";

/** What a token is, numbered as in GGUF (`tokenizer.ggml.token_type`) and SentencePiece. */
export const tokenType = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** A vocabulary with what surrounds it. */
export interface Vocabulary {
  /** Spelling of every token, by id. */
  readonly tokens: readonly string[];
  /** `tokenType` of every token, by id. */
  readonly types: readonly number[];
  /** Token that begins a text. */
  readonly bos?: number;
  /** Token that ends a text. */
  readonly eos?: number;
  /** Token for what cannot be spelled. */
  readonly unknown?: number;
  /** Token that fills a batch. */
  readonly pad?: number;
  /** Whether encoding puts BOS before a text. */
  readonly addBos: boolean;
  /** Whether encoding puts EOS after a text. */
  readonly addEos: boolean;
  /** Jinja template of a conversation. */
  readonly chatTemplate?: string;
  /** Longest sequence of the model. */
  readonly maxPositions?: number;
}

/** Contents of a tokenizer's files, by name. */
export type TokenizerFiles = Readonly<Record<string, string>>;

/** A row that no token uses: llama.cpp fills the vocabulary to the embedding's rows with such names. */
export const spareRow = (id: number): string => `[PAD${id}]`;

function isSpareRow(token: string, id: number): boolean {
  return token === spareRow(id);
}

/** Tokens that are found in a text before anything else: control tokens and those their makers added. */
function addedTokens({ tokens, types }: Vocabulary): JsonObject[] {
  return tokens.flatMap((content, id) => {
    const special = types[id] === tokenType.control || types[id] === tokenType.unknown;
    if (isSpareRow(content, id) || !(special || types[id] === tokenType.userDefined)) return [];
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }];
  });
}

/** BOS and EOS around a text; pairs are laid out as transformers does for Llama. */
function postProcessor(vocabulary: Vocabulary): JsonObject | null {
  const { tokens, bos, eos, addBos, addEos } = vocabulary;
  const before = addBos && bos !== undefined ? [bos] : [];
  const after = addEos && eos !== undefined ? [eos] : [];
  if (before.length + after.length === 0) return null;
  const special = (ids: number[], type: number) =>
    ids.map((id) => ({ SpecialToken: { id: tokens[id], type_id: type } }));
  const text = (id: "A" | "B", type: number) => [
    ...special(before, type),
    { Sequence: { id, type_id: type } },
    ...special(after, type),
  ];
  return {
    type: "TemplateProcessing",
    single: text("A", 0),
    pair: [...text("A", 0), ...text("B", 1)],
    special_tokens: Object.fromEntries(
      [...before, ...after].map((id) => [tokens[id], { id: tokens[id], ids: [id], tokens: [tokens[id]] }]),
    ),
  };
}

/** Spelling → id, without spare rows. */
function vocabularyTable({ tokens }: Vocabulary, where: string): Record<string, number> {
  const table = new Map<string, number>();
  tokens.forEach((token, id) => {
    if (isSpareRow(token, id)) return;
    if (table.has(token)) {
      throw new UserError(`${where}: the token ${JSON.stringify(token)} has two ids, ${table.get(token)} and ${id}.`);
    }
    table.set(token, id);
  });
  return Object.fromEntries(table);
}

/** The files that stand around a tokenizer. */
function files(vocabulary: Vocabulary, tokenizer: JsonObject): TokenizerFiles {
  const { tokens, bos, eos, pad, unknown } = vocabulary;
  const named = { bos_token: bos, eos_token: eos, unk_token: unknown, pad_token: pad };
  const special = Object.fromEntries(
    Object.entries(named).flatMap(([name, id]) => id === undefined ? [] : [[name, tokens[id]]]),
  );
  const config = {
    // The class that takes everything from tokenizer.json.
    tokenizer_class: "PreTrainedTokenizerFast",
    ...special,
    add_bos_token: vocabulary.addBos,
    add_eos_token: vocabulary.addEos,
    clean_up_tokenization_spaces: false,
    ...(vocabulary.maxPositions === undefined ? {} : { model_max_length: vocabulary.maxPositions }),
    ...(vocabulary.chatTemplate === undefined ? {} : { chat_template: vocabulary.chatTemplate }),
  };
  const print = (value: JsonObject): string => `${JSON.stringify(value, null, 2)}\n`;
  return {
    "tokenizer.json": print(tokenizer),
    "tokenizer_config.json": print(config),
    "special_tokens_map.json": print(special),
  };
}

/** Checks that ids point into the vocabulary and every token has a type. */
function checkVocabulary(vocabulary: Vocabulary, where: string): void {
  const { tokens, types, bos, eos, pad, unknown } = vocabulary;
  if (types.length !== tokens.length) {
    throw new UserError(`${where}: ${tokens.length} tokens have ${types.length} types.`);
  }
  for (const [name, id] of Object.entries({ bos, eos, pad, unknown })) {
    if (id !== undefined && !(id in tokens)) {
      throw new UserError(`${where}: the ${name} token's id is ${id}, the vocabulary has ${tokens.length} tokens.`);
    }
  }
}

/**
 * Files of a byte-level BPE tokenizer.
 *
 * @param vocabulary tokens in GPT-2's spelling of bytes
 * @param merges pairs in the order of their ranks, each "left right"
 * @param pre llama.cpp's name of the cut before merging (`tokenizer.ggml.pre`)
 * @param where the source's name, for messages
 * @throws {UserError} if the cut is unknown or the vocabulary contradicts itself
 */
export function byteLevelFiles(
  vocabulary: Vocabulary,
  merges: readonly string[],
  pre: string,
  where: string,
): TokenizerFiles {
  checkVocabulary(vocabulary, where);
  const { name, patterns } = patternsOf(pre, where);
  const vocab = vocabularyTable(vocabulary, where);
  const pairs = merges.map((merge) => {
    // Byte-level pieces hold no space, so that the first one divides.
    const [left, right, ...rest] = merge.split(" ");
    if (right === undefined || rest.length > 0 || !(left in vocab && right in vocab && left + right in vocab)) {
      throw new UserError(`${where}: the merge ${JSON.stringify(merge)} does not join two tokens to a third.`);
    }
    return [left, right];
  });
  return files(vocabulary, {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(vocabulary),
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        ...patterns.map((pattern) => ({
          type: "Split",
          pattern: { Regex: pattern },
          behavior: "Isolated",
          invert: false,
        })),
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: postProcessor(vocabulary),
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      // Llama 3 takes a piece that is a token as it is.
      ignore_merges: name === "llama-bpe",
      vocab,
      merges: pairs,
    },
  });
}

/** Two tokens that join to a third, with its score. */
interface Merge {
  readonly left: string;
  readonly right: string;
  readonly score: number;
}

/**
 * Merges of a SentencePiece vocabulary: each way to join two tokens to a third, the best score first.
 *
 * @param tokens pieces with "▁" for the space, by id
 * @param scores higher is merged earlier, by id
 * @param types `tokenType` by id; only normal tokens are made by merging
 */
export function mergesFromScores(
  tokens: readonly string[],
  scores: readonly number[],
  types: readonly number[],
): [string, string][] {
  const ids = new Map<string, number>();
  tokens.forEach((token, id) => {
    if (types[id] === tokenType.normal) ids.set(token, id);
  });
  const merges: Merge[] = [];
  for (const [token, id] of ids) {
    const characters = [...token];
    const ways: Merge[] = [];
    for (let cut = 1; cut < characters.length; cut++) {
      const [left, right] = [characters.slice(0, cut).join(""), characters.slice(cut).join("")];
      if (ids.has(left) && ids.has(right)) ways.push({ left, right, score: scores[id] });
    }
    // SentencePiece takes the leftmost of equal scores; ranks cannot, and this order is transformers'.
    ways.sort((a, b) => ids.get(a.left)! - ids.get(b.left)!);
    merges.push(...ways);
  }
  // Stable: equal scores keep the order of ids.
  merges.sort((a, b) => b.score - a.score);
  return merges.map(({ left, right }) => [left, right]);
}

/**
 * Files of a SentencePiece BPE tokenizer with byte fallback.
 *
 * @param vocabulary pieces with "▁" for the space; bytes are spelled <0x0A>
 * @param scores higher is merged earlier, by id
 * @param spacePrefix whether a space is put before every text (and taken away when decoding)
 * @param where the source's name, for messages
 * @throws {UserError} if the vocabulary contradicts itself
 */
export function sentencePieceFiles(
  vocabulary: Vocabulary,
  scores: readonly number[],
  spacePrefix: boolean,
  where: string,
): TokenizerFiles {
  checkVocabulary(vocabulary, where);
  const { tokens, types, unknown } = vocabulary;
  if (scores.length !== tokens.length) {
    throw new UserError(`${where}: ${tokens.length} tokens have ${scores.length} scores.`);
  }
  const replace = (from: string, to: string): JsonObject => ({
    type: "Replace",
    pattern: { String: from },
    content: to,
  });
  const prefix = spacePrefix ? [{ type: "Prepend", prepend: "▁" }] : [];
  const strip = spacePrefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : [];
  return files(vocabulary, {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(vocabulary),
    normalizer: { type: "Sequence", normalizers: [...prefix, replace(" ", "▁")] },
    pre_tokenizer: null,
    post_processor: postProcessor(vocabulary),
    decoder: {
      type: "Sequence",
      decoders: [replace("▁", " "), { type: "ByteFallback" }, { type: "Fuse" }, ...strip],
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: unknown === undefined ? null : tokens[unknown],
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: vocabularyTable(vocabulary, where),
      merges: mergesFromScores(tokens, scores, types),
    },
  });
}
