/**
 * @file Finds the dynamic library, or builds it.
 *
 * In this order: `XFT_LIBRARY`; a build in the checkout that is as new as its sources; the user's cache, under a name
 * made of version, platform and the sha256 of the sources; in a checkout a build with cargo, once, under a lock. Where
 * this module was imported by URL, `install.ts` fetches the sources and builds them, when it is asked to.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "../../dsl/errors.ts";
import { buildLibrary, type Crate, isFile, LIBRARY_NAME, modified, readText, stampPath, takeLock } from "./build.ts";
import { userCache } from "../cache.ts";
import { crateFiles, digestOf, type Manifest, versionOf } from "./manifest.ts";
import sources from "../../native_sources.json" with { type: "json" };

/** The library's sources, as they belong to this module. */
export const manifest: Manifest = sources;

const GIVEN = `set XFT_LIBRARY to a built ${LIBRARY_NAME}.`;
const BOTH_WAYS =
  `Install Rust from https://rustup.rs and run the command again (it builds the library once), or ${GIVEN}`;

/**
 * Path of the dynamic library; in a checkout it is built with cargo when there is none (progress on stderr).
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
  const here = new URL("../native/", import.meta.url);
  if (here.protocol === "file:") return ofCheckout(fileURLToPath(here));
  const cached = cachedPath(manifest);
  if (isFile(cached)) return cached;
  throw new UserError(
    `The native library is not built yet: \`${installCommand()}\` fetches its sources and builds them, once ` +
      `(it needs Rust, https://rustup.rs); or ${GIVEN}`,
  );
}

/** The command that fetches and builds the library of a module imported by URL, with its permissions. */
export function installCommand(): string {
  const { href, host } = new URL("../install.ts", import.meta.url);
  return `deno run --allow-import=${host} --allow-net=${host} --allow-env --allow-read --allow-write --allow-run ${href}`;
}

/** Where the cache keeps the library of these sources. */
export function cachedPath({ version, digest }: Pick<Manifest, "version" | "digest">): string {
  return join(userCache(), "native", `${version}-${Deno.build.target}-${digest.slice(0, 24)}`, LIBRARY_NAME);
}

/** A library that was built from exactly these sources; it is built where there is none. */
function ofCheckout(folder: string): string {
  const ready = fresh(folder);
  if (ready) return ready;
  const target = join(folder, "target");
  using lock = takeLock(target);
  // Another process may have built it meanwhile.
  const meanwhile = lock && fresh(folder);
  if (meanwhile) return meanwhile;
  const crate: Crate = { folder, digest: digestOf(folder, crateFiles(folder)), version: versionOf(folder) };
  return buildLibrary(crate, lock ? target : join(userCache(), "native", "target"), cachedPath(crate)).built;
}

function fresh(folder: string): string | undefined {
  const built = join(folder, "target", "release", LIBRARY_NAME);
  const files = crateFiles(folder);
  const age = modified(built);
  // By time first: that costs no reading. A build by hand counts too.
  if (age !== undefined && files.every((path) => (modified(path) ?? 0) <= age)) return built;
  const digest = digestOf(folder, files);
  if (age !== undefined && readText(stampPath(built)) === digest) return built;
  const cached = cachedPath({ version: versionOf(folder), digest });
  return isFile(cached) ? cached : undefined;
}
