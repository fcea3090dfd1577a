/** @file SentencePiece's tokenizer.model (a protocol buffer) → tokenizer.json and the files beside it. */
import { UserError } from "../../../dsl/errors.ts";
import { sentencePieceFiles, type TokenizerFiles, tokenType, type Vocabulary } from "./tokenizer_json.ts";

/** A field of a protocol buffer's message. */
type Field =
  | { readonly number: number; readonly kind: "varint"; readonly value: number }
  | { readonly number: number; readonly kind: "float"; readonly value: number }
  | { readonly number: number; readonly kind: "bytes"; readonly value: Uint8Array };

/** The fields of a message, in the file's order. */
function* fieldsOf(bytes: Uint8Array, fail: (sentence: string) => never): Generator<Field> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const varint = (): number => {
    // Numbers beyond 2⁵³ do not occur; −1 is written as 2⁶⁴ − 1.
    let value = 0n;
    for (let shift = 0n;; shift += 7n) {
      if (at >= bytes.length || shift > 63n) return fail("it is cut short or damaged.");
      const byte = bytes[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return Number(BigInt.asIntN(64, value));
    }
  };
  const take = (length: number): number => {
    if (length < 0 || at + length > bytes.length) return fail("it is cut short or damaged.");
    at += length;
    return at - length;
  };
  while (at < bytes.length) {
    const tag = varint(), number = tag >> 3;
    switch (tag & 7) {
      case 0:
        yield { number, kind: "varint", value: varint() };
        break;
      case 1:
        take(8);
        break;
      case 2: {
        const length = varint(), start = take(length);
        yield { number, kind: "bytes", value: bytes.subarray(start, start + length) };
        break;
      }
      case 5:
        yield { number, kind: "float", value: view.getFloat32(take(4), true) };
        break;
      default:
        fail("it is no SentencePiece model.");
    }
  }
}

/** What a model says; field numbers are those of sentencepiece_model.proto. */
interface Model {
  readonly pieces: { readonly piece: string; readonly score: number; readonly type: number }[];
  readonly trainer: ReadonlyMap<number, number>;
  readonly normalizer: ReadonlyMap<number, number | Uint8Array>;
}

function parse(bytes: Uint8Array, fail: (sentence: string) => never): Model {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const pieces: { piece: string; score: number; type: number }[] = [];
  const trainer = new Map<number, number>(), normalizer = new Map<number, number | Uint8Array>();
  for (const { number, kind, value } of fieldsOf(bytes, fail)) {
    if (kind !== "bytes") continue;
    if (number === 1) {
      const piece = { piece: "", score: 0, type: tokenType.normal as number };
      for (const field of fieldsOf(value, fail)) {
        if (field.number === 1 && field.kind === "bytes") piece.piece = decoder.decode(field.value);
        if (field.number === 2 && field.kind === "float") piece.score = field.value;
        if (field.number === 3 && field.kind === "varint") piece.type = field.value;
      }
      pieces.push(piece);
    }
    if (number === 2) {
      for (const field of fieldsOf(value, fail)) if (field.kind === "varint") trainer.set(field.number, field.value);
    }
    if (number === 3) { for (const field of fieldsOf(value, fail)) normalizer.set(field.number, field.value); }
  }
  if (pieces.length === 0) fail("it is no SentencePiece model.");
  return { pieces, trainer, normalizer };
}

/** A token beside a model's pieces (or a piece that is found before any other). */
export interface AddedToken {
  readonly id: number;
  /** Its spelling in a text. */
  readonly content: string;
  /** Left out when decoding. */
  readonly special: boolean;
}

/** What other files say about a SentencePiece model. */
export type SentencePieceOptions = Pick<Vocabulary, "chatTemplate" | "maxPositions"> & {
  /** Whether encoding puts BOS before a text (default true, as Llama's does). */
  readonly addBos?: boolean;
  /** Whether encoding puts EOS after a text (default false). */
  readonly addEos?: boolean;
  /** Tokens that tokenizer_config.json adds (`added_tokens_decoder`); their ids go on after the pieces'. */
  readonly added?: readonly AddedToken[];
};

/**
 * Files of the tokenizer in a tokenizer.model. Added tokens are found in a text; a piece that is a control token is, too,
 * as transformers has it (SentencePiece itself takes its letters as any others).
 *
 * @param bytes the file's content
 * @param where its name, for messages
 * @throws {UserError} if it is damaged, or no BPE with byte fallback over texts as they are (as Llama's is)
 * @example
 * ```ts ignore
 * import { sentencePieceModelFiles } from "./sentencepiece.ts";
 * const files = sentencePieceModelFiles(Deno.readFileSync("tokenizer.model"), "tokenizer.model");
 * Deno.writeTextFileSync("tokenizer.json", files["tokenizer.json"]);
 * ```
 */
export function sentencePieceModelFiles(
  bytes: Uint8Array,
  where: string,
  { addBos = true, addEos = false, added = [], ...more }: SentencePieceOptions = {},
): TokenizerFiles {
  const fail = (sentence: string): never => {
    throw new UserError(`${where}: ${sentence}`);
  };
  const { pieces, trainer, normalizer } = parse(bytes, fail);
  // The defaults of sentencepiece_model.proto: a unigram model, −1 where there is no such token.
  const model = trainer.get(3) ?? 1, id = (field: number, fallback: number): number => trainer.get(field) ?? fallback;
  if (model !== 2) {
    fail(`it is a model of kind ${["", "unigram", "BPE", "word", "char"][model]}; only BPE is supported.`);
  }
  if (trainer.get(35) !== 1) fail("it has no byte fallback, which is not supported.");
  const map = normalizer.get(2);
  if (map instanceof Uint8Array && map.length > 0) fail("it normalises texts by a table, which is not supported.");
  if ((normalizer.get(4) ?? 1) !== 0) fail("it removes spaces that follow each other, which is not supported.");
  const named = (field: number, fallback: number): number | undefined => {
    const value = id(field, fallback);
    return value >= 0 && value < pieces.length ? value : undefined;
  };
  for (const { id, content, special } of added.toSorted((a, b) => a.id - b.id)) {
    const type = special ? tokenType.control : tokenType.userDefined;
    if (id === pieces.length) pieces.push({ piece: content, score: 0, type });
    else if (pieces[id]?.piece !== content) {
      fail(
        `tokenizer_config.json gives the id ${id} to ${JSON.stringify(content)}, which fits no place among its pieces.`,
      );
    }
  }
  const vocabulary: Vocabulary = {
    tokens: pieces.map(({ piece }) => piece),
    types: pieces.map(({ type }) => type),
    unknown: named(40, 0),
    bos: named(41, 1),
    eos: named(42, 2),
    pad: named(43, -1),
    addBos,
    addEos,
    ...more,
  };
  return sentencePieceFiles(vocabulary, pieces.map(({ score }) => score), (normalizer.get(3) ?? 1) === 1, where);
}
