/** @file The lines of a benchmark's file, packed with gzip or not, and the objects in them. */
import { UserError } from "../../../dsl/errors.ts";
import { isJsonObject, type JsonObject } from "../../convert/fields.ts";
import { sha256 } from "../bytes.ts";

/** A file's lines that are not blank, with their places for messages. */
export interface Lines {
  /** SHA-256 of the file as it is. */
  readonly sha256: string;
  /** Text and place (`path:number`). */
  readonly rows: readonly { readonly text: string; readonly where: string }[];
}

/** Reads JSON lines. @throws {UserError} if the file is missing, damaged or empty */
export async function readLines(path: string): Promise<Lines> {
  const bytes = await Deno.readFile(path).catch((cause) => {
    if (cause instanceof Deno.errors.NotFound) throw new UserError(`${path}: there is no such file.`, { cause });
    throw new UserError(`${path}: cannot be read (${cause.message}).`, { cause });
  });
  const rows = (await unpacked(path, bytes)).split("\n")
    .map((text, i) => ({ text, where: `${path}:${i + 1}` })).filter(({ text }) => text.trim() !== "");
  if (rows.length === 0) throw new UserError(`${path}: the file has no tasks.`);
  return { sha256: await sha256(bytes), rows };
}

/** A line as a JSON object. @throws {UserError} naming its place if it is none */
export function parseObject(text: string, where: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new UserError(`${where}: not a JSON object (${(cause as Error).message}).`, { cause });
  }
  if (!isJsonObject(value)) throw new UserError(`${where}: not a JSON object.`);
  return value;
}

async function unpacked(path: string, bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return new TextDecoder().decode(bytes);
  try {
    return await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  } catch (cause) {
    throw new UserError(`${path}: the gzip data is damaged or cut short.`, { cause });
  }
}
