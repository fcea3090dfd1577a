/**
 * @file Finds the dynamic library, or builds it.
 *
 * In this order: `XFT_LIBRARY`; a build in the checkout that is as new as its sources; the user's cache, under a name
 * made of version, platform and the sha256 of the sources; a build with cargo, once, under a lock.
 */
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "../dsl/errors.ts";
import { userCache } from "./cache.ts";

const LIBRARY_NAMES: Partial<Record<typeof Deno.build.os, string>> = {
  darwin: "libxft_native.dylib",
  windows: "xft_native.dll",
};
const LIBRARY_NAME = LIBRARY_NAMES[Deno.build.os] ?? "libxft_native.so";

/** Libraries of other source versions that stay in the cache, newest first. */
const KEPT_IN_CACHE = 4;

const BOTH_WAYS = "Install Rust from https://rustup.rs and run the command again (it builds the library once), " +
  "or set XFT_LIBRARY to a built " + LIBRARY_NAME + ".";

/**
 * Path of the dynamic library; builds it with cargo when there is none (progress on stderr).
 *
 * @returns an absolute path, ready for `Deno.dlopen`
 * @throws {UserError} if `XFT_LIBRARY` names no file, or the library is neither there nor can be built
 *
 * @example
 * ```ts ignore
 * import { libraryPath } from "./library.ts";
 * console.error(`using ${libraryPath()}`);
 * ```
 */
export function libraryPath(): string {
  const given = Deno.env.get("XFT_LIBRARY");
  if (given) {
    if (!isFile(given)) throw new UserError(`XFT_LIBRARY=${given}: there is no such file. ${BOTH_WAYS}`);
    return Deno.realPathSync(given);
  }
  const here = new URL("./native/", import.meta.url);
  if (here.protocol !== "file:") {
    throw new UserError(
      "The native library cannot be built from a remote copy of this module: clone the repository, " +
        `or set XFT_LIBRARY to a built ${LIBRARY_NAME}.`,
    );
  }
  const crate = fileURLToPath(here);
  return fresh(crate) ?? build(crate);
}

/** A library that was built from exactly these sources, if there is one. */
function fresh(crate: string): string | undefined {
  const built = join(crate, "target", "release", LIBRARY_NAME);
  const sources = sourceFiles(crate);
  const age = modified(built);
  // By time first: that costs no reading. A build by hand counts too.
  if (age !== undefined && sources.every((path) => (modified(path) ?? 0) <= age)) return built;
  const digest = sha256(crate, sources);
  if (age !== undefined && readText(stampPath(built)) === digest) return built;
  const cached = cachedPath(crate, digest);
  return isFile(cached) ? cached : undefined;
}

/** Builds under a lock, so that a second process waits and then finds the result. */
function build(crate: string): string {
  const target = join(crate, "target");
  using lock = takeLock(target);
  const ready = lock && fresh(crate);
  if (ready) return ready;
  const digest = sha256(crate, sourceFiles(crate));
  const home = lock ? target : join(userCache(), "native", "target");
  console.error("Building the native library (once; this takes a few minutes) …");
  const started = performance.now();
  runCargo(["build", "--release", "--locked", "--manifest-path", join(crate, "Cargo.toml"), "--target-dir", home]);
  console.error(`Built the native library in ${((performance.now() - started) / 1000).toFixed(0)} s.`);
  const built = join(home, "release", LIBRARY_NAME);
  if (!isFile(built)) throw new Error(`cargo reported success, but there is no ${built}`);
  Deno.writeTextFileSync(stampPath(built), digest);
  return keep(built, cachedPath(crate, digest));
}

/** Copies a build to the cache, where a second checkout finds it; without a writable cache the build itself is used. */
function keep(built: string, cached: string): string {
  const part = `${cached}.${Deno.pid}.part`;
  try {
    Deno.mkdirSync(dirname(cached), { recursive: true });
    Deno.copyFileSync(built, part);
    Deno.renameSync(part, cached);
    prune(dirname(dirname(cached)));
  } catch (error) {
    if (!(error instanceof Deno.errors.PermissionDenied || isReadOnly(error))) throw error;
  }
  return built;
}

/** Removes the oldest libraries, so that a developer's cache does not grow with every edit. */
function prune(folder: string): void {
  const versions = [...Deno.readDirSync(folder)]
    .filter((entry) => entry.isDirectory && entry.name !== "target")
    .map((entry) => ({ path: join(folder, entry.name), age: modified(join(folder, entry.name, LIBRARY_NAME)) ?? 0 }))
    .sort((a, b) => b.age - a.age);
  for (const { path } of versions.slice(KEPT_IN_CACHE)) Deno.removeSync(path, { recursive: true });
}

/** Locks the target folder against other processes; undefined if the checkout cannot be written. */
function takeLock(target: string): (Disposable & { readonly file: Deno.FsFile }) | undefined {
  let file: Deno.FsFile;
  try {
    Deno.mkdirSync(target, { recursive: true });
    file = Deno.openSync(join(target, "xft.lock"), { create: true, write: true });
  } catch (error) {
    if (error instanceof Deno.errors.PermissionDenied || isReadOnly(error)) return undefined;
    throw error;
  }
  if (!file.tryLockSync(true)) {
    console.error("Waiting for another process that builds the native library …");
    file.lockSync(true);
  }
  return { file, [Symbol.dispose]: () => file.close() };
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
  throw new UserError(`The native library is not built, and cargo was not found. ${BOTH_WAYS}`);
}

/** Everything that a build depends on, in a fixed order. */
function sourceFiles(crate: string): string[] {
  const listed = ["Cargo.toml", "Cargo.lock", "build.rs"].map((name) => join(crate, name)).filter(isFile);
  const visit = (folder: string): string[] =>
    [...Deno.readDirSync(folder)].flatMap((entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory ? visit(path) : [path];
    });
  return [...listed, ...visit(join(crate, "src"))].sort();
}

function sha256(crate: string, sources: string[]): string {
  const hash = createHash("sha256");
  for (const path of sources) {
    const data = Deno.readFileSync(path);
    hash.update(`${path.slice(crate.length).replaceAll("\\", "/")}\0${data.length}\0`).update(data);
  }
  return hash.digest("hex");
}

function cachedPath(crate: string, digest: string): string {
  const version = /^version\s*=\s*"([^"]+)"/m.exec(Deno.readTextFileSync(join(crate, "Cargo.toml")))?.[1] ?? "0";
  return join(userCache(), "native", `${version}-${Deno.build.target}-${digest.slice(0, 24)}`, LIBRARY_NAME);
}

function stampPath(library: string): string {
  return `${library}.sources`;
}

function isFile(path: string): boolean {
  return modified(path) !== undefined;
}

/** When a file was last changed, in milliseconds; undefined if there is no such file. */
function modified(path: string): number | undefined {
  try {
    const info = Deno.statSync(path);
    return info.isFile ? info.mtime?.getTime() ?? 0 : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return undefined;
    throw error;
  }
}

function readText(path: string): string | undefined {
  return isFile(path) ? Deno.readTextFileSync(path) : undefined;
}

function isReadOnly(error: unknown): boolean {
  return error instanceof Error && (error as { code?: string }).code === "EROFS";
}
