/**
 * @file What the native library is made of: `native_sources.json` beside `mod.ts` lists every file with its sha256, so
 * that a module imported by URL can fetch and check them. `deno task manifest` writes it anew.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The library's sources. */
export interface Manifest {
  /** Version of the crate. */
  readonly version: string;
  /** One number for all that a build depends on; libraries are kept under it. */
  readonly digest: string;
  /** sha256 of every file, by its path in the crate. */
  readonly files: Readonly<Record<string, string>>;
}

/** Everything that a build depends on, in a fixed order. */
export function crateFiles(folder: string): string[] {
  return [
    ...["Cargo.toml", "Cargo.lock", "build.rs"].map((name) => join(folder, name)).filter(isFile),
    ...filesIn(join(folder, "src")),
  ].sort();
}

/** sha256 of files and of their places in the crate. */
export function digestOf(folder: string, files: readonly string[]): string {
  const hash = createHash("sha256");
  for (const path of files) {
    const data = Deno.readFileSync(path);
    hash.update(`${inside(folder, path)}\0${data.length}\0`).update(data);
  }
  return hash.digest("hex");
}

/** The crate's version. */
export function versionOf(folder: string): string {
  return /^version\s*=\s*"([^"]+)"/m.exec(Deno.readTextFileSync(join(folder, "Cargo.toml")))?.[1] ?? "0";
}

/** sha256 of bytes, in hexadecimal digits. */
export const sha256 = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");

/** The manifest of a crate's folder. Cargo also asks for the benchmarks that Cargo.toml names. */
export function manifestOf(folder: string): Manifest {
  const built = crateFiles(folder), files = [...built, ...filesIn(join(folder, "benches"))].sort();
  return {
    version: versionOf(folder),
    digest: digestOf(folder, built),
    files: Object.fromEntries(files.map((path) => [inside(folder, path), sha256(Deno.readFileSync(path))])),
  };
}

const inside = (folder: string, path: string): string =>
  path.slice(folder.length).replaceAll("\\", "/").replace(/^\//, "");

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function filesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory ? filesIn(path) : [path];
  });
}

if (import.meta.main) {
  const place = fileURLToPath(new URL("../../native_sources.json", import.meta.url));
  const text = JSON.stringify(manifestOf(fileURLToPath(new URL("../native/", import.meta.url))), null, 2);
  Deno.writeTextFileSync(place, `${text}\n`);
}
