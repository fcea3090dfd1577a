/** @file A file's bytes in pieces, gzip and zstd unpacked on the way: no file is ever in memory as a whole. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { UserError } from "../../../dsl/errors.ts";
import { type Frame, zstdFrames } from "./zstd.ts";

/** How a file is packed, by its first bytes (names can be wrong: browsers unpack files and keep their `.gz`). */
export type Packed = "gzip" | "zstd" | "parquet" | "no";

const PIECE = 1 << 18;

/** Looks at a file's beginning. @throws {UserError} if there is no such file */
export function packedHow(path: string): Packed {
  using file = openFile(path);
  const start = new Uint8Array(4);
  const count = file.readSync(start) ?? 0;
  const magic = [...start.subarray(0, count)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  if (magic.startsWith("1f8b")) return "gzip";
  // zstd's own frames, or one to skip, which may come first.
  if (magic === "28b52ffd" || /^5.2a4d18$/.test(magic)) return "zstd";
  return magic === "50415231" ? "parquet" : "no";
}

/**
 * A file's bytes in order, unpacked. Each piece is valid until the next one is asked for.
 *
 * @throws {UserError} if there is no such file, or it is damaged
 */
export async function* bytesOf(path: string): AsyncGenerator<Uint8Array> {
  const how = packedHow(path);
  if (how === "gzip" || how === "zstd") yield* unpacked(path, how);
  else yield* plain(path);
}

/** sha256 over the contents of files, as they are on disk. @throws {UserError} if one is missing */
export function sha256Of(paths: readonly string[]): string {
  const hash = createHash("sha256");
  for (const path of paths) for (const piece of plain(path)) hash.update(piece);
  return hash.digest("hex");
}

function* plain(path: string): Generator<Uint8Array> {
  using file = openFile(path);
  const buffer = new Uint8Array(PIECE);
  for (let count; (count = file.readSync(buffer));) yield buffer.subarray(0, count);
}

async function* unpacked(path: string, how: "gzip" | "zstd"): AsyncGenerator<Uint8Array> {
  const damaged = (why: string): UserError =>
    new UserError(`${path}: damaged ${how} data (${why}). Download it again.`);
  const parts = how === "zstd" ? framesOf(path) : [undefined];
  if (!parts) throw damaged("it is cut short");
  for (const part of parts) {
    const range = part && { start: part[0], end: part[1] - 1 };
    const source = createReadStream(path, { highWaterMark: PIECE, ...range });
    const target = how === "gzip" ? createGunzip() : createZstdDecompress();
    source.on("error", (error) => target.destroy(error));
    try {
      for await (const piece of source.pipe(target)) yield piece;
    } catch (error) {
      throw damaged((error as Error).message);
    } finally {
      source.destroy();
      target.destroy();
    }
  }
}

function framesOf(path: string): Frame[] | undefined {
  using file = openFile(path);
  return zstdFrames(file);
}

/** Opens a file for reading. @throws {UserError} if there is none */
export function openFile(path: string): Deno.FsFile {
  try {
    const file = Deno.openSync(path);
    if (!file.statSync().isDirectory) return file;
    file.close();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new UserError(`${path}: there is no such file.`);
    if (!(error instanceof Deno.errors.IsADirectory)) throw error;
  }
  throw new UserError(`${path}: this is a folder, expected a file.`);
}
