/**
 * @file The parts of an interpreter: Pyodide's files, and the memory image of a prepared interpreter.
 *
 * The image is a WebAssembly module whose data segments are the prepared memory. A compiled module is immutable and
 * shared between workers without a copy, so laying it into a fresh memory is one memcpy that no sample can tamper with.
 */
import { dirname, join as joinPath } from "node:path";
import { fileURLToPath } from "node:url";
import manifest from "npm:pyodide@314.0.7/package.json" with { type: "json" };
import { userCache } from "../../../backend/cache.ts";
import { join, sha256, signed, unsigned } from "../bytes.ts";
import { preparePython, withheldModules } from "./harness.ts";
import { slim } from "./slim.ts";

/** Bytes that a child needs to make interpreters. */
export interface Parts {
  /** CPython as a WebAssembly module. */
  readonly wasm: Uint8Array<ArrayBuffer>;
  /** Python's library, a zip file. */
  readonly stdlib: Uint8Array<ArrayBuffer>;
  /** The JavaScript around the module. */
  readonly glue: Uint8Array<ArrayBuffer>;
}

/** A prepared interpreter's memory. */
export interface Image {
  /** A WebAssembly module that lays the image into an imported memory `xft.memory`. */
  readonly module: Uint8Array<ArrayBuffer>;
  /** How large the memory must be. */
  readonly memoryBytes: number;
  /** Addresses of functions in the table that goes with the memory, by name. */
  readonly addresses: Readonly<Record<string, number>>;
}

/** Version of Pyodide, whose first number says the Python version (314 is 3.14). */
export const pyodideVersion: string = manifest.version;

let parts: Parts | undefined;

/** Pyodide's files from the npm package, cut down to what an interpreter needs. Read once in a process. */
export function readParts(): Parts {
  return parts ??= cutParts();
}

function cutParts(): Parts {
  const file = (name: string): Uint8Array<ArrayBuffer> =>
    Deno.readFileSync(fileURLToPath(import.meta.resolve(`npm:pyodide@314.0.7/${name}`)));
  return { ...slim(file("pyodide.asm.wasm"), file("pyodide.asm.mjs")), stdlib: file("python_stdlib.zip") };
}

/** Packs a memory as a WebAssembly module of data segments; pages that are all zero are left out. */
export function packImage(memory: Uint8Array, addresses: Image["addresses"]): Image {
  const page = 4096;
  const words = new BigUint64Array(memory.buffer, memory.byteOffset, memory.length / 8);
  const isEmpty = (index: number): boolean => {
    for (let i = index * page / 8; i < (index + 1) * page / 8; i++) if (words[i] !== 0n) return false;
    return true;
  };
  const segments: [start: number, end: number][] = [];
  for (let index = 0; index < memory.length / page; index++) {
    if (isEmpty(index)) continue;
    const last = segments.at(-1);
    if (last && last[1] === index * page) last[1] += page;
    else segments.push([index * page, (index + 1) * page]);
  }
  const text = (value: string): number[] => [value.length, ...new TextEncoder().encode(value)];
  const imports = [1, ...text("xft"), ...text("memory"), 2, 0, 0];
  const chunks: Uint8Array[] = [
    new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 2, ...unsigned(imports.length), ...imports]),
  ];
  const data: Uint8Array[] = [new Uint8Array(unsigned(segments.length))];
  for (const [start, end] of segments) {
    data.push(new Uint8Array([0, 0x41, ...signed(start), 0x0b, ...unsigned(end - start)]), memory.subarray(start, end));
  }
  const dataBytes = data.reduce((sum, part) => sum + part.length, 0);
  chunks.push(new Uint8Array([11, ...unsigned(dataBytes)]), ...data);
  return { module: join(chunks), memoryBytes: memory.length, addresses };
}

/**
 * The image for these parts: from the user's cache where it is whole (its name and its last bytes are hashes), else made
 * by `make` (2–4 s) and kept there. Without permission to write it is made anew for each process.
 */
export async function cachedImage(parts: Parts, make: () => Promise<Image>): Promise<Image> {
  const key = await sha256(parts.wasm, parts.stdlib, parts.glue, preparePython, withheldModules.join());
  const path = cacheFile(`python-${key.slice(0, 32)}.image`);
  const kept = await readChecked(path);
  if (kept) {
    const length = new DataView(kept.buffer).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(kept.subarray(4, 4 + length)));
    return { ...head, module: kept.slice(4 + length) };
  }
  const { module, ...head } = await make();
  const text = new TextEncoder().encode(JSON.stringify(head));
  const size = new Uint8Array(4);
  new DataView(size.buffer).setUint32(0, text.length, true);
  await writeChecked(path, join([size, text, module]));
  return { module, ...head };
}

/** Path of a file in our part of the user's cache. */
export function cacheFile(name: string): string {
  return joinPath(userCache(), "evaluate", name);
}

/** Reads a file of the cache; undefined where it is missing, unreadable or damaged. */
export async function readChecked(path: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
  try {
    const bytes = await Deno.readFile(path);
    const body = bytes.slice(0, -32);
    return (await sha256(body)) === bytes.slice(-32).toHex() ? body : undefined;
  } catch {
    return undefined;
  }
}

/** Writes a file of the cache whole or not at all; a cache that cannot be written is no error. */
export async function writeChecked(path: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
  const temporary = `${path}.${crypto.randomUUID()}`;
  try {
    await Deno.mkdir(dirname(path), { recursive: true });
    await Deno.writeFile(temporary, join([body, Uint8Array.fromHex(await sha256(body))]));
    await Deno.rename(temporary, path);
  } catch {
    await Deno.remove(temporary).catch(() => {});
  }
}
