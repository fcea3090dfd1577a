/** @file Instruction data from files: JSON arrays and JSON lines, plain or gzip, with the usual names of fields. */
import { createHash } from "node:crypto";
import { gunzipSync } from "node:zlib";
import { UserError } from "../../dsl/errors.ts";

/** One example to learn from. */
export interface Instruction {
  /** What is asked for. */
  readonly instruction: string;
  /** The answer to learn. */
  readonly response: string;
  /** The text before the answer stands as it is in `instruction` (prompt/completion data): no template around it. */
  readonly raw: boolean;
}

/** What was read. */
export interface InstructionData {
  /** In the order of the files. */
  readonly examples: readonly Instruction[];
  /** Malformed records left out (only where that was allowed). */
  readonly skipped: number;
  /** sha256 over the files' contents: goes beside every result made from them. */
  readonly sha256: string;
}

/** How files are read. */
export interface ReadOptions {
  /** Leave out malformed records and count them, instead of stopping at the first. */
  readonly skipMalformed?: boolean;
}

const EXPECTED = "expected instruction and response, instruction, input and output, prompt and completion, or messages";

/**
 * Reads instruction data. Fields are found by name: `instruction`/`response`, `instruction`/`input`/`output` (a non-empty
 * input follows the instruction after a blank line), `prompt`/`completion` (used as they are), or `messages` (the last
 * one is the assistant's; the texts before it are joined by blank lines).
 *
 * @throws {UserError} naming file and line (or record) where something is missing or malformed
 */
export function readInstructions(paths: readonly string[], options: ReadOptions = {}): InstructionData {
  const hash = createHash("sha256");
  const examples: Instruction[] = [];
  let skipped = 0;
  for (const path of paths) {
    const data = readFile(path);
    hash.update(data);
    for (const read of records(path, textOf(path, data))) {
      try {
        examples.push(read());
      } catch (error) {
        if (!(error instanceof UserError && options.skipMalformed)) throw error;
        skipped++;
      }
    }
  }
  if (examples.length === 0) throw new UserError(`${paths.join(", ")}: no instruction in the data.`);
  return { examples, skipped, sha256: hash.digest("hex") };
}

/**
 * One record's instruction, whatever its fields are called.
 *
 * @param where file and line, for errors
 * @throws {UserError} if it has none of the known sets of fields, or a field is no text
 */
export function toInstruction(record: unknown, where: string): Instruction {
  if (typeof record !== "object" || record === null || Array.isArray(record)) {
    throw new UserError(`${where}: an object was expected, not ${describe(record)}.`);
  }
  const fields = record as Record<string, unknown>;
  const text = (name: string): string => {
    const value = fields[name];
    if (typeof value === "string") return value;
    throw new UserError(`${where}: field "${name}" is ${describe(value)}, expected a text.`);
  };
  if ("messages" in fields) return fromMessages(fields.messages, where);
  if ("instruction" in fields && "response" in fields) {
    return { instruction: text("instruction"), response: text("response"), raw: false };
  }
  if ("instruction" in fields && "output" in fields) {
    const input = fields.input === undefined || fields.input === null ? "" : text("input");
    const instruction = input === "" ? text("instruction") : `${text("instruction")}\n\n${input}`;
    return { instruction, response: text("output"), raw: false };
  }
  if ("prompt" in fields && "completion" in fields) {
    return { instruction: text("prompt"), response: text("completion"), raw: true };
  }
  const names = Object.keys(fields);
  throw new UserError(`${where}: ${names.length ? `it has ${names.join(", ")}` : "it has no fields"}; ${EXPECTED}.`);
}

function fromMessages(messages: unknown, where: string): Instruction {
  if (!Array.isArray(messages)) throw new UserError(`${where}: messages is ${describe(messages)}, expected a list.`);
  const turns = messages.map((message: unknown, index) => {
    const { role, content } = (message ?? {}) as Record<string, unknown>;
    if (typeof role === "string" && typeof content === "string") return { role, content };
    throw new UserError(`${where}: message ${index + 1} needs a role and a content, both texts.`);
  });
  const last = turns.at(-1);
  if (turns.length < 2 || last?.role !== "assistant") {
    throw new UserError(`${where}: messages must end with the assistant's, after at least one other.`);
  }
  const before = turns.slice(0, -1).map(({ content }) => content);
  return { instruction: before.join("\n\n"), response: last.content, raw: false };
}

/** A file's records, each read when called, so that one malformed record can be left out. */
function* records(path: string, text: string): Generator<() => Instruction> {
  if (text.trimStart().startsWith("[")) {
    const list = parseJson(text, () => `${path}:${faultyLine(text)}`) as unknown[];
    for (const [index, record] of list.entries()) {
      yield () => toInstruction(record, `${path}, record ${index + 1}`);
    }
    return;
  }
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const where = `${path}:${index + 1}`;
    yield () => toInstruction(parseJson(line, () => where), where);
  }
}

function parseJson(text: string, where: () => string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserError(`${where()}: this is not JSON (${(error as Error).message.replaceAll(/\s+/g, " ")}).`);
  }
}

/** The line (from 1) of a JSON text's first fault: V8 names a position only sometimes, so it is searched by halves. */
function faultyLine(text: string): number {
  const lines = text.split("\n");
  let [good, bad] = [0, lines.length];
  while (good + 1 < bad) {
    const middle = (good + bad) >> 1;
    if (breaksOff(lines.slice(0, middle).join("\n"))) good = middle;
    else bad = middle;
  }
  return bad;
}

/** Whether the beginning of a JSON text is right as far as it goes. */
function breaksOff(start: string): boolean {
  try {
    JSON.parse(start);
    return true;
  } catch (error) {
    const { message } = error as Error;
    const position = /at position (\d+)/.exec(message)?.[1];
    return /Unexpected end|Unterminated/.test(message) || Number(position) >= start.length;
  }
}

function readFile(path: string): Uint8Array {
  try {
    return Deno.readFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new UserError(`${path}: there is no such file.`);
    if (error instanceof Deno.errors.IsADirectory) throw new UserError(`${path}: this is a folder, expected a file.`);
    throw error;
  }
}

function textOf(path: string, data: Uint8Array): string {
  let plain = data;
  if (data[0] === 0x1f && data[1] === 0x8b) {
    try {
      plain = gunzipSync(data);
    } catch (error) {
      throw new UserError(`${path}: damaged gzip data (${(error as Error).message}). Download it again.`);
    }
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(plain);
  } catch {
    throw new UserError(`${path}: this is no UTF-8 text.`);
  }
}

function describe(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "null";
  return Array.isArray(value) ? "a list" : `a ${typeof value}`;
}
