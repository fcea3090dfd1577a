/**
 * @file Writing so that nothing half-written is ever found: into a temporary neighbour, which takes the name when it is
 * complete. Old content stays until then; what is unfinished goes, also when the process is told to end.
 */
import { basename, dirname, join, resolve } from "node:path";
import { UserError } from "../../dsl/errors.ts";

/** What may happen to something that is already there. */
export interface OverwriteOptions {
  /** Replace what is there (it stays until the new content is complete). */
  readonly overwrite?: boolean;
}

/** How a folder is written. */
export interface FolderOptions extends OverwriteOptions {
  /** Ends the work between two pieces; nothing is left behind. */
  readonly signal?: AbortSignal;
  /**
   * Names of which an existing folder must hold one, or it is not replaced: `--overwrite` on a home folder is a slip.
   * Default: config.json.
   */
  readonly marks?: readonly string[];
}

/** Unfinished files and folders of this process. */
const unfinished = new Set<string>();

/** Removes what is unfinished when the process ends through `Deno.exit` (an interrupt, a second one). */
function watch(path: string): void {
  if (unfinished.size === 0) globalThis.addEventListener("unload", removeUnfinished);
  unfinished.add(path);
}

function unwatch(path: string): void {
  unfinished.delete(path);
  if (unfinished.size === 0) globalThis.removeEventListener("unload", removeUnfinished);
}

function removeUnfinished(): void {
  for (const path of unfinished) remove(path);
}

function remove(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** What is at a path. */
export function kindOf(path: string): "file" | "folder" | "nothing" {
  try {
    return Deno.statSync(path).isDirectory ? "folder" : "file";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return "nothing";
    throw error;
  }
}

function isEmpty(folder: string): boolean {
  for (const _ of Deno.readDirSync(folder)) return false;
  return true;
}

/**
 * Refuses a target that is in the way, before any work is done.
 *
 * @param path where something will be written
 * @param kind what will be written
 * @throws {UserError} if something is there and may not be replaced
 */
export function checkTarget(path: string, kind: "file" | "folder", options: FolderOptions = {}): void {
  const found = kindOf(path);
  if (found === "nothing" || (found === "folder" && kind === "folder" && isEmpty(path))) return;
  if (found !== kind) {
    throw new UserError(`${path}: this is a ${found}, a ${kind} would be written there: choose another --out.`);
  }
  if (!options.overwrite) {
    const what = kind === "folder" ? "this folder is not empty" : "this file exists";
    throw new UserError(`${path}: ${what}: choose another --out, or replace it with --overwrite.`);
  }
  const marks = options.marks ?? ["config.json"];
  if (kind === "folder" && marks.length > 0 && !marks.some((name) => kindOf(join(path, name)) === "file")) {
    throw new UserError(
      `${path}: --overwrite replaces only what xft has written, and there is no ${marks.join(" or ")} in this folder.`,
    );
  }
}

let counter = 0;

/** A name beside `path` that nobody else uses. */
function neighbour(path: string, ending: string): string {
  return join(dirname(path), `.${basename(path)}.${Deno.pid}-${counter++}.${ending}`);
}

/** What is to take the name `path` when it is complete: a neighbour, gone afterwards however it ends. */
function partOf(path: string): Disposable & { readonly target: string; readonly temporary: string } {
  const target = resolve(path);
  Deno.mkdirSync(dirname(target), { recursive: true });
  const temporary = neighbour(target, "part");
  watch(temporary);
  return {
    target,
    temporary,
    [Symbol.dispose]() {
      remove(temporary);
      unwatch(temporary);
    },
  };
}

/** Removes what killed processes left half-written in a folder that one process at a time writes to. */
export function removeLeftovers(folder: string): void {
  if (kindOf(folder) !== "folder") return;
  for (const { name } of [...Deno.readDirSync(folder)]) {
    if (/^\..*\.\d+-\d+\.(part|old)$/.test(name)) remove(join(folder, name));
  }
}

function renameReplacing(temporary: string, path: string): void {
  if (kindOf(path) === "nothing") return Deno.renameSync(temporary, path);
  const old = neighbour(path, "old");
  Deno.renameSync(path, old);
  try {
    Deno.renameSync(temporary, path);
  } catch (error) {
    Deno.renameSync(old, path);
    throw error;
  }
  remove(old);
}

/** Lets signals and timers have their turn. */
function breathe(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** Lets others run between pieces of work, and ends it there after an interrupt. */
function pauses({ signal }: FolderOptions): () => Promise<void> {
  return async () => {
    await breathe();
    signal?.throwIfAborted();
  };
}

/**
 * Writes a folder: `build` fills a temporary neighbour, which then takes the name.
 *
 * @param path where the folder will be
 * @param build fills the folder it is given; `pause` is awaited between pieces of work (an interrupt ends it there)
 * @throws {UserError} if something is in the way; whatever `build` throws. Then everything is as before.
 * @example
 * ```ts ignore
 * import { writeFolder } from "./files.ts";
 * await writeFolder("models/mine", (folder) => Deno.writeTextFileSync(`${folder}/config.json`, "{}"));
 * ```
 */
export async function writeFolder(
  path: string,
  build: (folder: string, pause: () => Promise<void>) => void | Promise<void>,
  options: FolderOptions = {},
): Promise<void> {
  checkTarget(path, "folder", options);
  using part = partOf(path);
  const { target, temporary } = part;
  try {
    Deno.mkdirSync(temporary);
    await build(temporary, pauses(options));
    options.signal?.throwIfAborted();
    // Somebody may have written there meanwhile.
    checkTarget(path, "folder", options);
    renameReplacing(temporary, target);
  } catch (error) {
    // The user knows the folder by the name it was to have.
    if (!(error instanceof UserError)) throw error;
    throw new UserError(error.message.replaceAll(temporary, path), { usage: error.exitCode === 2, cause: error });
  }
}

/**
 * Writes a file piece by piece: temporary neighbour, fsync, rename.
 *
 * @param path where the file will be
 * @param build appends bytes by `put`; `pause` is awaited between pieces of work (an interrupt ends it there)
 * @throws {UserError} if something is there and may not be replaced; whatever `build` throws. Then all is as before.
 */
export async function writeFileInPieces(
  path: string,
  build: (put: (bytes: Uint8Array) => void, pause: () => Promise<void>) => Promise<void>,
  options: FolderOptions = {},
): Promise<void> {
  checkTarget(path, "file", options);
  using part = partOf(path);
  {
    using file = Deno.openSync(part.temporary, { write: true, createNew: true });
    await build((bytes) => append(file, bytes), pauses(options));
    file.syncSync();
  }
  Deno.renameSync(part.temporary, part.target);
}

function append(file: Deno.FsFile, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
}

/**
 * Writes a file: temporary neighbour, fsync, rename.
 *
 * @param path where the file will be
 * @param content text (UTF-8) or bytes
 * @throws {UserError} if something is there and may not be replaced
 */
export function writeFile(path: string, content: string | Uint8Array, options: OverwriteOptions = {}): void {
  checkTarget(path, "file", options);
  using part = partOf(path);
  {
    using file = Deno.openSync(part.temporary, { write: true, createNew: true });
    append(file, typeof content === "string" ? new TextEncoder().encode(content) : content);
    file.syncSync();
  }
  Deno.renameSync(part.temporary, part.target);
}
