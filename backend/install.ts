/**
 * @file Builds the native library for a module that was imported by URL: fetches the sources that the manifest lists,
 * checks each one's sha256, builds them with cargo and keeps the library in the user's cache.
 *
 * `deno run --allow-import=HOST --allow-net=HOST --allow-env --allow-read --allow-write --allow-run URL/backend/install.ts`
 */
import { dirname, join } from "node:path";
import { UserError } from "../dsl/errors.ts";
import { buildLibrary, isFile, takeLock } from "./library/build.ts";
import { cacheVariables, userCache } from "./cache.ts";
import { cachedPath, libraryPath, manifest } from "./library/library.ts";
import { type Manifest, sha256 } from "./library/manifest.ts";

/** Files fetched at a time. */
const TOGETHER = 8;

/**
 * Path of the native library; where it is not there yet, it is built: in a checkout from its sources, else from those
 * that are fetched from beside this module. Needs cargo and a C linker. Progress goes to stderr; a second process that
 * is asked for the same waits for the first.
 *
 * @throws {UserError} if a file cannot be fetched or is not what the manifest says, or cargo fails
 * @example
 * ```ts ignore
 * import { installLibrary, open } from "https://HOST/mod.ts";
 * await installLibrary();
 * using device = await open("cpu");
 * ```
 */
export async function installLibrary(): Promise<string> {
  const here = new URL("./native/", import.meta.url);
  if (here.protocol === "file:" || Deno.env.get("XFT_LIBRARY")) return libraryPath();
  const cached = cachedPath(manifest);
  if (isFile(cached)) return cached;
  const folder = join(userCache(), "sources", manifest.digest.slice(0, 24)), target = join(folder, "target");
  {
    using lock = takeLock(folder);
    if (!lock) throw new UserError(`${folder} cannot be written: set XFT_CACHE to a folder that can.`);
    if (isFile(cached)) return cached;
    await fetchSources(here, manifest, folder);
    const kept = buildLibrary({ folder, ...manifest }, target, cached);
    if (!kept.cached) throw new UserError(`${cached} cannot be written: set XFT_CACHE to a folder that can.`);
    // The library is all that is needed from now on; the lock's file stays for those who wait.
    Deno.removeSync(target, { recursive: true });
  }
  return cached;
}

/**
 * Fetches the files of a manifest into a folder. A file that is already there, whole, is not fetched again.
 *
 * @throws {UserError} naming the file that cannot be had, or is another one than the manifest says
 */
async function fetchSources(base: URL, { files }: Manifest, folder: string): Promise<void> {
  const missing = Object.entries(files).filter(([name, digest]) => {
    const path = join(folder, name);
    return !isFile(path) || sha256(Deno.readFileSync(path)) !== digest;
  });
  if (missing.length === 0) return;
  console.error(`Fetching ${missing.length} sources of the native library from ${base.host} …`);
  const next = missing.values();
  await Promise.all(Array.from({ length: TOGETHER }, async () => {
    for (const [name, digest] of next) {
      const data = await fetched(new URL(name, base)), found = sha256(data);
      if (found !== digest) {
        throw new UserError(
          `${new URL(
            name,
            base,
          )}: its sha256 is ${found}, the manifest says ${digest}: the sources belong to another ` +
            "version of this module, or were tampered with.",
        );
      }
      const path = join(folder, name), part = `${path}.part`;
      Deno.mkdirSync(dirname(path), { recursive: true });
      Deno.writeFileSync(part, data);
      Deno.renameSync(part, path);
    }
  }));
}

async function fetched(url: URL): Promise<Uint8Array> {
  let response: Response;
  try {
    response = await fetch(url);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) throw cause;
    throw new UserError(`${url}: cannot be fetched (${cause instanceof Error ? cause.message : cause})`, { cause });
  }
  if (!response.ok) {
    await response.body?.cancel();
    throw new UserError(`${url}: the server answers ${response.status}`);
  }
  return new Uint8Array(await response.arrayBuffer());
}

if (import.meta.main) {
  try {
    const path = await installLibrary(), { host, href, protocol } = new URL("../mod.ts", import.meta.url);
    const from = protocol === "file:" ? "" : `--allow-import=${host} `;
    console.log(
      `${path}\nPrograms that import ${href} run on the CPU (open("cpu")) or a GPU (open("wgpu")) with\n` +
        `  deno run ${from}--allow-env=${cacheVariables.join()} --allow-read=${path} --allow-ffi=${path} FILE.ts`,
    );
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    console.error(`xft: ${error.message}`);
    Deno.exit(1);
  }
}
