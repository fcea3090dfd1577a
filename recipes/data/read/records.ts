/**
 * @file A file's records, one at a time: JSON lines, a JSON array, or Parquet, whatever it is packed with. Memory holds
 * one record and one piece of the file (of Parquet: one group of rows).
 */
import { UserError } from "../../../dsl/errors.ts";
import { bytesOf, packedHow } from "./bytes.ts";
import { parquetRows } from "./parquet.ts";

/** One record, not looked at yet, so that a malformed one can be left out. */
export interface DataRecord {
  /** File and line (of Parquet: row), for messages. */
  readonly where: string;
  /** What the record is. @throws {UserError} naming its place if it is malformed */
  read(): unknown;
}

const NEWLINE = 10, QUOTE = 34, COMMA = 44, BACKSLASH = 92, OPEN = 91, CLOSE = 93;
const isSpace = (byte: number): boolean => byte === 32 || (byte >= 9 && byte <= 13);

/**
 * The records of a file: an array if its first character is `[`, else one a line.
 *
 * @throws {UserError} if the file is missing or damaged
 * @example
 * ```ts ignore
 * import { recordsOf } from "./records.ts";
 * for await (const { where, read } of recordsOf("code.jsonl.zst")) console.log(where, read());
 * ```
 */
export async function* recordsOf(path: string): AsyncGenerator<DataRecord> {
  if (packedHow(path) === "parquet") return yield* parquetRows(path);
  let split: Splitter | undefined;
  for await (const piece of bytesOf(path)) {
    split ??= beginsArray(piece) ? new ArraySplitter(path) : new LineSplitter(path);
    yield* split.take(piece);
  }
  if (split) yield* split.end();
}

/** Cuts a file's bytes into records. */
interface Splitter {
  take(piece: Uint8Array): Generator<DataRecord>;
  end(): Generator<DataRecord>;
}

function beginsArray(piece: Uint8Array): boolean {
  const mark = piece[0] === 0xef && piece[1] === 0xbb && piece[2] === 0xbf ? 3 : 0;
  return piece.subarray(mark).find((byte) => !isSpace(byte)) === OPEN;
}

class LineSplitter implements Splitter {
  readonly #pieces = new Pieces();
  #line = 1;

  constructor(private readonly path: string) {}

  *take(piece: Uint8Array): Generator<DataRecord> {
    let from = 0;
    for (let to; (to = piece.indexOf(NEWLINE, from)) >= 0; from = to + 1) yield* this.#record(piece.subarray(from, to));
    this.#pieces.add(piece.subarray(from));
  }

  *end(): Generator<DataRecord> {
    yield* this.#record(new Uint8Array());
  }

  *#record(rest: Uint8Array): Generator<DataRecord> {
    const bytes = this.#pieces.join(rest), where = `${this.path}:${this.#line++}`;
    if (!bytes.every(isSpace)) yield jsonRecord(where, bytes);
  }
}

class ArraySplitter implements Splitter {
  readonly #pieces = new Pieces();
  #line = 1;
  /** Line on which the record began, 0 before its first character. */
  #began = 0;
  #count = 0;
  /** 0 before and behind the array, 1 between records, more inside of one. */
  #depth = 0;
  #state: "start" | "inside" | "over" = "start";
  #quoted = false;
  #escaped = false;

  constructor(private readonly path: string) {}

  *take(piece: Uint8Array): Generator<DataRecord> {
    let from = 0;
    for (let at = 0; at < piece.length; at++) {
      const byte = piece[at];
      if (byte === NEWLINE) this.#line++;
      if (this.#state === "start") {
        if (byte !== OPEN) continue;
        [this.#state, this.#depth, from] = ["inside", 1, at + 1];
        continue;
      }
      if (!isSpace(byte) && !this.#endsRecord(byte)) this.#began ||= this.#line;
      if (this.#quoted) {
        if (this.#escaped) this.#escaped = false;
        else if (byte === BACKSLASH) this.#escaped = true;
        else if (byte === QUOTE) this.#quoted = false;
      } else if (byte === QUOTE) this.#quoted = true;
      else if (this.#endsRecord(byte)) {
        yield* this.#record(piece.subarray(from, at), byte === CLOSE);
        from = at + 1;
        if (byte === CLOSE) this.#state = "over";
      } else if (byte === OPEN || byte === 123) this.#depth++;
      else if ((byte === CLOSE || byte === 125) && this.#depth > 1) this.#depth--;
    }
    if (this.#state !== "start") this.#pieces.add(piece.subarray(from));
  }

  *end(): Generator<DataRecord> {
    const rest = this.#pieces.join(new Uint8Array());
    const complaint = this.#state === "over" ? "something follows the end of the list" : "the list does not end";
    if (this.#state !== "over" || !rest.every(isSpace)) yield faulty(`${this.path}:${this.#line}`, `${complaint}.`);
  }

  #endsRecord(byte: number): boolean {
    return this.#state === "inside" && this.#depth === 1 && !this.#quoted && (byte === COMMA || byte === CLOSE);
  }

  *#record(rest: Uint8Array, last: boolean): Generator<DataRecord> {
    const bytes = this.#pieces.join(rest), where = `${this.path}:${this.#began || this.#line}, record ${++this.#count}`;
    this.#began = 0;
    if (last && this.#count === 1 && bytes.every(isSpace)) return;
    yield jsonRecord(where, bytes);
  }
}

/** Bytes that come in pieces. They are copied: a file's next piece lies where this one did. */
class Pieces {
  #kept: Uint8Array[] = [];

  add(piece: Uint8Array): void {
    if (piece.length > 0) this.#kept.push(piece.slice());
  }

  /** All bytes, with those at the end, and starts anew. */
  join(rest: Uint8Array): Uint8Array {
    if (this.#kept.length === 0) return rest;
    const all = new Uint8Array(this.#kept.reduce((sum, { length }) => sum + length, rest.length));
    let at = 0;
    for (const piece of [...this.#kept, rest]) {
      all.set(piece, at);
      at += piece.length;
    }
    this.#kept = [];
    return all;
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true });

/** The text is decoded at once, for the bytes will be overwritten; it is parsed when it is asked for. */
function jsonRecord(where: string, bytes: Uint8Array): DataRecord {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    return faulty(where, "this is no UTF-8 text.");
  }
  return {
    where,
    read() {
      try {
        return JSON.parse(text);
      } catch (error) {
        throw new UserError(`${where}: this is not JSON (${(error as Error).message.replaceAll(/\s+/g, " ")}).`);
      }
    },
  };
}

function faulty(where: string, complaint: string): DataRecord {
  return {
    where,
    read() {
      throw new UserError(`${where}: ${complaint}`);
    },
  };
}
