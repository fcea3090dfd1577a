/** @file Tokenizers: the model's own tokenizer.json, through Hugging Face's `tokenizers` in the native library. */
import { basename, dirname, join } from "node:path";
import { UserError } from "../dsl/errors.ts";
import { check, type Functions, openLibrary, readBytes } from "./library/ffi.ts";

/** Functions of tokenizers. */
const tokenizerSymbols = {
  xft_tokenizer_open: { parameters: ["buffer", "usize", "buffer"], result: "i32" },
  xft_tokenizer_close: { parameters: ["u64"], result: "i32" },
  xft_tokenizer_size: { parameters: ["u64"], result: "i64" },
  xft_tokenizer_encode: {
    parameters: ["u64", "buffer", "usize", "buffer", "buffer", "usize", "u8", "buffer", "usize"],
    result: "i64",
  },
  xft_tokenizer_decode: { parameters: ["u64", "buffer", "usize", "u8", "buffer", "usize"], result: "i64" },
  xft_tokenizer_token_to_id: { parameters: ["u64", "buffer", "usize", "buffer"], result: "i32" },
  xft_tokenizer_id_to_token: { parameters: ["u64", "u32", "buffer", "usize"], result: "i64" },
} as const;

let functions: Functions<typeof tokenizerSymbols> | undefined;

/** Opened at the first use, so that importing this module needs no permission. */
function library(): Functions<typeof tokenizerSymbols> {
  return functions ??= openLibrary(tokenizerSymbols);
}

const encoder = new TextEncoder();
// A byte-order mark is a character like any other.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** What the library gives for a token that does not exist. */
const NONE = 0xffffffff;

/** Text to ids and back, as the model's makers do it. */
export interface Tokenizer extends Disposable {
  /** 1 + the highest id, added tokens included. The model's embedding may have more rows. */
  readonly vocabSize: number;
  /** The token that begins a text, where the model's folder names one. */
  readonly bos?: number;
  /** The token that ends a text, where the model's folder names one. */
  readonly eos?: number;
  /** The token that fills a batch, where the model's folder names one. */
  readonly pad?: number;
  /** The chat template (Jinja), where the model's folder has one. */
  readonly chatTemplate?: string;
  /**
   * Ids of a text. Special tokens written out in the text are recognised in any case.
   *
   * @param options `special` (default true) adds what belongs around every text (BOS, EOS)
   */
  encode(text: string, options?: { readonly special?: boolean }): number[];
  /** Ids of many texts, with all threads. */
  encodeBatch(texts: readonly string[], options?: { readonly special?: boolean }): number[][];
  /**
   * The text of ids.
   *
   * @param options `skipSpecial` (default true) leaves special tokens out
   */
  decode(ids: Iterable<number>, options?: { readonly skipSpecial?: boolean }): string;
  /** The id of a token, spelled as in the vocabulary. */
  tokenToId(token: string): number | undefined;
  /** A token as the vocabulary spells it. */
  idToToken(id: number): string | undefined;
}

/** What a model's folder says about its tokenizer, beside tokenizer.json. */
interface Surroundings {
  readonly bos?: string | number;
  readonly eos?: string | number;
  readonly pad?: string | number;
  readonly chatTemplate?: string;
  /** Whether BOS and EOS are added, where tokenizer_config.json decides it and not tokenizer.json. */
  readonly adds?: { readonly bos: boolean; readonly eos: boolean };
}

class LibraryTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly bos?: number;
  readonly eos?: number;
  readonly pad?: number;
  readonly chatTemplate?: string;
  readonly #adds: Surroundings["adds"];
  #handle: bigint;

  constructor(json: Uint8Array<ArrayBuffer>, where: string, surroundings: Surroundings) {
    const result = new BigUint64Array(1);
    check(
      library().xft_tokenizer_open(json, BigInt(json.length), result),
      (message) => new UserError(`${where}: ${message}`),
    );
    this.#handle = result[0];
    this.vocabSize = Number(library().xft_tokenizer_size(this.#handle));
    const id = (token?: string | number): number | undefined =>
      typeof token === "string" ? this.tokenToId(token) : token;
    this.bos = id(surroundings.bos);
    this.eos = id(surroundings.eos);
    this.pad = id(surroundings.pad);
    this.chatTemplate = surroundings.chatTemplate;
    this.#adds = surroundings.adds;
  }

  encode(text: string, options: { readonly special?: boolean } = {}): number[] {
    return this.encodeBatch([text], options)[0];
  }

  encodeBatch(texts: readonly string[], { special = true }: { readonly special?: boolean } = {}): number[][] {
    if (texts.length === 0) return [];
    const pieces = texts.map((text) => encoder.encode(text));
    const lengths = Uint32Array.from(pieces, (piece) => piece.length);
    const data = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
    let at = 0;
    for (const piece of pieces) {
      data.set(piece, at);
      at += piece.length;
    }
    const counts = new Uint32Array(texts.length);
    const around = special && this.#adds ? this.#adds : undefined;
    const bySelf = special && !this.#adds ? 1 : 0;
    // A token is seldom less than a byte; where it is, the second round has the room.
    let ids = new Uint32Array(data.length + 8 * texts.length);
    for (;;) {
      const length = Number(
        library().xft_tokenizer_encode(
          this.#handle,
          data,
          BigInt(data.length),
          lengths,
          counts,
          BigInt(texts.length),
          bySelf,
          ids,
          BigInt(ids.length),
        ),
      );
      if (length < 0) check(-length);
      if (length <= ids.length) break;
      ids = new Uint32Array(length);
    }
    const before = around?.bos && this.bos !== undefined ? [this.bos] : [];
    const after = around?.eos && this.eos !== undefined ? [this.eos] : [];
    let start = 0;
    return Array.from(counts, (count) => [...before, ...ids.subarray(start, start += count), ...after]);
  }

  decode(ids: Iterable<number>, { skipSpecial = true }: { readonly skipSpecial?: boolean } = {}): string {
    const numbers = Uint32Array.from(ids);
    const count = BigInt(numbers.length);
    const skip = skipSpecial ? 1 : 0;
    return decoder.decode(
      readBytes((out, capacity) => library().xft_tokenizer_decode(this.#handle, numbers, count, skip, out, capacity)),
    );
  }

  tokenToId(token: string): number | undefined {
    const bytes = encoder.encode(token);
    const out = new Uint32Array(1);
    check(library().xft_tokenizer_token_to_id(this.#handle, bytes, BigInt(bytes.length), out));
    return out[0] === NONE ? undefined : out[0];
  }

  idToToken(id: number): string | undefined {
    if (!Number.isInteger(id) || id < 0 || id >= NONE) return undefined;
    const bytes = readBytes((out, capacity) => library().xft_tokenizer_id_to_token(this.#handle, id, out, capacity));
    return bytes.length === 0 ? undefined : decoder.decode(bytes);
  }

  [Symbol.dispose](): void {
    if (this.#handle === 0n) return;
    const handle = this.#handle;
    this.#handle = 0n;
    check(library().xft_tokenizer_close(handle));
  }
}

/**
 * Opens the tokenizer of a model's folder, or a tokenizer.json.
 *
 * @param path a folder with tokenizer.json (and, where they are, tokenizer_config.json, special_tokens_map.json,
 * generation_config.json, config.json, chat_template.jinja), or a file like tokenizer.json
 * @throws {UserError} if there is none, or it is not valid
 * @example
 * ```ts ignore
 * import { loadTokenizer } from "./tokenizer.ts";
 * using tokenizer = loadTokenizer("models/smollm2");
 * console.log(tokenizer.encode("Hello world"));
 * ```
 */
export function loadTokenizer(path: string): Tokenizer {
  const file = isFolder(path) ? join(path, "tokenizer.json") : path;
  const json = readBinary(file);
  if (!json) {
    if (file === path) throw new UserError(`${path}: there is no such folder of a model, nor a tokenizer.json.`);
    const way = readBinary(join(dirname(file), "tokenizer.model"))
      ? " (`convert` makes one of its tokenizer.model)"
      : "";
    throw new UserError(`${file}: there is no such file; a model's folder needs its tokenizer.json${way}.`);
  }
  const surroundings = basename(file) === "tokenizer.json" ? readSurroundings(dirname(file)) : {};
  return new LibraryTokenizer(json, file, surroundings);
}

/**
 * Opens a tokenizer from the text of a tokenizer.json; nothing is known of what would lie beside it.
 *
 * @param json the file's content
 * @param where the file's name, for messages
 * @throws {UserError} if it is not valid
 */
export function parseTokenizer(json: string, where = "tokenizer.json"): Tokenizer {
  return new LibraryTokenizer(encoder.encode(json), where, {});
}

/** Classes that put BOS and EOS around a text by tokenizer_config.json, whatever tokenizer.json says. */
const LLAMA_CLASSES = /^(Code)?(Llama|Gemma)Tokenizer(Fast)?$/;

function readSurroundings(folder: string): Surroundings {
  const config = readJson(join(folder, "tokenizer_config.json"));
  const map = readJson(join(folder, "special_tokens_map.json"));
  const generation = readJson(join(folder, "generation_config.json"));
  const model = readJson(join(folder, "config.json"));
  const token = (name: "bos" | "eos" | "pad"): string | number | undefined =>
    spelling(config[`${name}_token`]) ?? spelling(map[`${name}_token`]) ??
      number(generation[`${name}_token_id`]) ?? number(model[`${name}_token_id`]);
  const byConfig = typeof config.tokenizer_class === "string" && LLAMA_CLASSES.test(config.tokenizer_class);
  return {
    bos: token("bos"),
    eos: token("eos"),
    pad: token("pad"),
    chatTemplate: template(config.chat_template) ?? readText(join(folder, "chat_template.jinja")),
    adds: byConfig ? { bos: config.add_bos_token !== false, eos: config.add_eos_token === true } : undefined,
  };
}

/** A token is written as its text, or as an object with its content. */
function spelling(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  if (typeof token === "object" && token !== null && "content" in token && typeof token.content === "string") {
    return token.content;
  }
  return undefined;
}

/** A token id, the first where there are several. */
function number(value: unknown): number | undefined {
  const first: unknown = Array.isArray(value) ? value[0] : value;
  return typeof first === "number" && Number.isInteger(first) && first >= 0 ? first : undefined;
}

/** A chat template is one text, or a list of named ones. */
function template(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  const named = value.find((entry) => entry?.name === "default") ?? value[0];
  return typeof named?.template === "string" ? named.template : undefined;
}

function readJson(path: string): Readonly<Record<string, unknown>> {
  const text = readText(path);
  if (text === undefined) return {};
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value as Readonly<Record<string, unknown>>;
  } catch (cause) {
    throw new UserError(`${path}: this is not valid JSON (${cause instanceof Error ? cause.message : cause}).`);
  }
  throw new UserError(`${path}: a JSON object was expected.`);
}

function readText(path: string): string | undefined {
  const bytes = readBinary(path);
  return bytes && decoder.decode(bytes);
}

function readBinary(path: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Deno.readFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return undefined;
    throw error;
  }
}

function isFolder(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return false;
    throw error;
  }
}
