/** @file Builds the dynamic library with cargo and keeps it in the user's cache. */
import { dirname, join } from "node:path";
import { UserError } from "../../dsl/errors.ts";

const LIBRARY_NAMES: Partial<Record<typeof Deno.build.os, string>> = {
  darwin: "libxft_native.dylib",
  windows: "xft_native.dll",
};

/** The library's file name on this platform. */
export const LIBRARY_NAME: string = LIBRARY_NAMES[Deno.build.os] ?? "libxft_native.so";

/** Libraries of other source versions that stay in the cache, newest first. */
const KEPT_IN_CACHE = 4;

/** The sources of a library. */
export interface Crate {
  /** Where they are. */
  readonly folder: string;
  /** Version of the crate. */
  readonly version: string;
  /** sha256 of all of them. */
  readonly digest: string;
}

/**
 * Builds a crate (progress on stderr).
 *
 * @param target cargo's folder, which the caller has locked
 * @param cached where the library is kept; without a writable cache only the build itself remains
 * @throws {UserError} if there is no cargo, or it fails
 */
export function buildLibrary(
  { folder, digest }: Crate,
  target: string,
  cached: string,
): { readonly built: string; readonly cached?: string } {
  console.error("Building the native library (once; this takes a few minutes) …");
  const started = performance.now();
  runCargo(["build", "--release", "--locked", "--manifest-path", join(folder, "Cargo.toml"), "--target-dir", target]);
  console.error(`Built the native library in ${((performance.now() - started) / 1000).toFixed(0)} s.`);
  const built = join(target, "release", LIBRARY_NAME);
  if (!isFile(built)) throw new Error(`cargo reported success, but there is no ${built}`);
  Deno.writeTextFileSync(stampPath(built), digest);
  return { built, ...(keep(built, cached) && { cached }) };
}

/** Copies a build to the cache, where others find it. */
function keep(built: string, cached: string): boolean {
  const part = `${cached}.${Deno.pid}.part`;
  try {
    Deno.mkdirSync(dirname(cached), { recursive: true });
    Deno.copyFileSync(built, part);
    Deno.renameSync(part, cached);
    prune(dirname(dirname(cached)));
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.PermissionDenied || isReadOnly(error)) return false;
    throw error;
  }
}

/** Removes the oldest libraries, so that a developer's cache does not grow with every edit. */
function prune(folder: string): void {
  const versions = [...Deno.readDirSync(folder)]
    .filter((entry) => entry.isDirectory && entry.name !== "target")
    .map((entry) => ({ path: join(folder, entry.name), age: modified(join(folder, entry.name, LIBRARY_NAME)) ?? 0 }))
    .sort((a, b) => b.age - a.age);
  for (const { path } of versions.slice(KEPT_IN_CACHE)) Deno.removeSync(path, { recursive: true });
}

/** Locks a folder against other processes, which it waits for; undefined if the folder cannot be written. */
export function takeLock(folder: string): Disposable | undefined {
  let file: Deno.FsFile;
  try {
    Deno.mkdirSync(folder, { recursive: true });
    file = Deno.openSync(join(folder, "xft.lock"), { create: true, write: true });
  } catch (error) {
    if (error instanceof Deno.errors.PermissionDenied || isReadOnly(error)) return undefined;
    throw error;
  }
  if (!file.tryLockSync(true)) {
    console.error("Waiting for another process that builds the native library …");
    file.lockSync(true);
  }
  return { [Symbol.dispose]: () => file.close() };
}

function runCargo(args: string[]): void {
  const home = Deno.env.get("CARGO_HOME") ?? join(Deno.env.get("HOME") ?? Deno.env.get("USERPROFILE") ?? "", ".cargo");
  // A fresh rustup is often not yet on the PATH of the shell that is open.
  for (const cargo of ["cargo", join(home, "bin", Deno.build.os === "windows" ? "cargo.exe" : "cargo")]) {
    try {
      const { code } = new Deno.Command(cargo, { args, stdin: "null", stdout: "null", stderr: "inherit" }).outputSync();
      if (code === 0) return;
      throw new UserError(
        `cargo ended with ${code}; its messages stand above. Needed: Rust 1.95 or newer, a C linker ` +
          "and, the first time, the network.",
      );
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  throw new UserError(
    "The native library is not built, and cargo was not found. Install Rust from https://rustup.rs and run the " +
      `command again (it builds the library once), or set XFT_LIBRARY to a built ${LIBRARY_NAME}.`,
  );
}

/** Where it is noted what a build was made of. */
export function stampPath(library: string): string {
  return `${library}.sources`;
}

/** Is there a file of that name? */
export function isFile(path: string): boolean {
  return modified(path) !== undefined;
}

/** When a file was last changed, in milliseconds; undefined if there is no such file. */
export function modified(path: string): number | undefined {
  try {
    const info = Deno.statSync(path);
    return info.isFile ? info.mtime?.getTime() ?? 0 : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return undefined;
    throw error;
  }
}

/** A file's text, or undefined if there is no such file. */
export function readText(path: string): string | undefined {
  return isFile(path) ? Deno.readTextFileSync(path) : undefined;
}

function isReadOnly(error: unknown): boolean {
  return error instanceof Error && (error as { code?: string }).code === "EROFS";
}
