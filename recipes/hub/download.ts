/**
 * @file A model, or a file, from the hub into the cache that is shared with Python's huggingface_hub. What is there is
 * not fetched again, and what was cut short goes on where it stopped. Weights are taken as safetensors or GGUF only: a
 * pickle is a program.
 */
import { createHash } from "node:crypto";
import { dirname, join, relative } from "node:path";
import { UserError } from "../../dsl/errors.ts";
import { kindOf } from "../convert/files.ts";
import { formatHubAddress, type HubAddress, type HubSettings, repoFolder } from "./address.ts";

/** How a download runs. */
export interface DownloadOptions {
  /** Ends it; what has come stays for the next time. */
  readonly signal?: AbortSignal;
  /** Called with the bytes that are there and the file's name. */
  readonly progress?: (done: number, total: number, file: string) => void;
  /** Every file but pickles, those in folders too (default: what a model's folder needs). */
  readonly whole?: boolean;
}

/** What a model's folder needs; folders inside (other formats, mostly) are left alone. */
const WANTED = /^[^/]+\.(safetensors|json|jinja|model|txt|md)$|^LICENSE$/;
const PICKLE = /\.(bin|pt|pth|ckpt|pkl|pickle|h5|msgpack)$/;
const DATA = /\.(jsonl?|parquet)(\.(gz|zst))?$/;

/** What the hub says of a file before it sends it. */
interface RemoteFile {
  readonly url: string;
  /** Names the content: its sha256 where it is large, git's hash where it is small. */
  readonly etag: string;
  readonly size: number;
}

/**
 * Fetches a model, or a file.
 *
 * @returns the folder of its snapshot, or the file in it (for a model that has no safetensors, but one GGUF: that);
 * where the hub cannot be reached, or HF_HUB_OFFLINE is set, what is in the cache
 * @throws {UserError} if there is no such thing, it may not be read, it has no safetensors, or a file comes out wrong
 */
export async function download(
  address: HubAddress,
  settings: HubSettings,
  options: DownloadOptions = {},
): Promise<string> {
  const folder = repoFolder(settings, address), { kind, repo, revision } = address;
  const ref = join(folder, "refs", revision);
  const listing = `${settings.endpoint}/api/${kind}s/${repo}/revision/${encodeURIComponent(revision)}`;
  const kept = (): string | undefined => {
    const commit = kindOf(ref) === "file" ? Deno.readTextFileSync(ref).trim() : revision;
    return inCache(address, join(folder, "snapshots", commit));
  };
  if (settings.offline) {
    const found = kept();
    if (found !== undefined) return found;
    throw new UserError(
      `${
        formatHubAddress(address)
      }: it is not in the cache (${settings.cache}), and HF_HUB_OFFLINE says not to ask the hub.`,
    );
  }
  let response: Response;
  try {
    response = await ask(listing, settings, options);
  } catch (error) {
    options.signal?.throwIfAborted();
    const found = error instanceof TypeError ? kept() : undefined;
    if (found !== undefined) return found;
    throw unreachable(address, settings, error);
  }
  if (!response.ok) throw await refusal(response, address, settings);
  const { sha, siblings } = await response.json() as { sha: string; siblings: { rfilename: string }[] };
  if (!/^[0-9a-f]{40}$/.test(sha)) throw new UserError(`${listing}: the hub named no commit.`);
  const wanted = choose(address, siblings.map(({ rfilename }) => rfilename).filter(isInside), options);
  const snapshot = join(folder, "snapshots", sha);
  for (const name of wanted.names) {
    const target = join(snapshot, name);
    if (kindOf(target) === "file") continue;
    const place = `${kind === "dataset" ? "datasets/" : ""}${repo}/resolve/${sha}`;
    const path = name.split("/").map(encodeURIComponent).join("/");
    const remote = await look(`${settings.endpoint}/${place}/${path}`, address, settings, options);
    const blob = join(folder, "blobs", remote.etag);
    if (kindOf(blob) !== "file") await fetchFile(remote, blob, name, settings, options);
    link(blob, target);
  }
  if (revision !== sha) {
    Deno.mkdirSync(dirname(ref), { recursive: true });
    Deno.writeTextFileSync(ref, sha);
  }
  return wanted.file === undefined ? snapshot : join(snapshot, wanted.file);
}

/** The hub's names become paths of ours. */
const isInside = (name: string): boolean => !/^\/|\\|(^|\/)\.\.?(\/|$)/.test(name);

/** Which files are fetched, and the one that was meant where it is one. */
function choose(
  address: HubAddress,
  names: readonly string[],
  { whole = false }: DownloadOptions,
): { readonly names: readonly string[]; readonly file?: string } {
  const { kind, file } = address, at = formatHubAddress(address);
  if (file !== undefined) {
    if (names.includes(file)) return { names: [file], file };
    throw new UserError(`${at}: there is no such file in it; there are ${listed(names)}.`);
  }
  if (kind === "dataset") {
    const data = names.filter((name) => DATA.test(name));
    throw new UserError(
      `${at}: name one of its files, such as ${at}/${data[0] ?? "FILE"} (there are ${listed(data)}).`,
    );
  }
  if (whole) return { names: names.filter((name) => !PICKLE.test(name)) };
  const wanted = names.filter((name) => WANTED.test(name));
  if (wanted.some((name) => name.endsWith(".safetensors"))) return { names: wanted };
  const [gguf, ...more] = names.filter((name) => name.endsWith(".gguf"));
  if (gguf === undefined) throw noWeights(address, names);
  if (more.length === 0) return { names: [gguf], file: gguf };
  throw new UserError(
    `${at}: it holds several GGUF files; name one: ${at}/${gguf} (there are ${listed([gguf, ...more])}).`,
  );
}

const listed = (names: readonly string[]): string =>
  names.length === 0 ? "none" : names.slice(0, 8).join(", ") + (names.length > 8 ? `, … (${names.length} in all)` : "");

/** What an address names in a snapshot that is there already. */
function inCache({ kind, file }: HubAddress, snapshot: string): string | undefined {
  if (file !== undefined) return kindOf(join(snapshot, file)) === "file" ? join(snapshot, file) : undefined;
  if (kind === "dataset" || kindOf(snapshot) !== "folder") return undefined;
  if (kindOf(join(snapshot, "config.json")) === "file") return snapshot;
  const [gguf, ...more] = [...Deno.readDirSync(snapshot)].filter(({ name }) => name.endsWith(".gguf"));
  return gguf !== undefined && more.length === 0 ? join(snapshot, gguf.name) : undefined;
}

/** Links a snapshot's file to its content; where links are not allowed (Windows), it is copied. */
function link(blob: string, target: string): void {
  Deno.mkdirSync(dirname(target), { recursive: true });
  try {
    Deno.symlinkSync(relative(dirname(target), blob), target);
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return;
    if (Deno.build.os !== "windows") throw error;
    Deno.copyFileSync(blob, target);
  }
}

/** Asks for a file's headers: the hub answers for a large one itself, and then sends us elsewhere. */
async function look(
  url: string,
  address: HubAddress,
  settings: HubSettings,
  options: DownloadOptions,
): Promise<RemoteFile> {
  const response = await ask(url, settings, options, { method: "HEAD", redirect: "manual" });
  if (response.status >= 400) throw await refusal(response, address, settings);
  const { headers } = response;
  const etag = (headers.get("x-linked-etag") ?? headers.get("etag") ?? "").replace(/^W\//, "").replaceAll('"', "");
  const size = Number(headers.get("x-linked-size") ?? headers.get("content-length"));
  // It becomes a file's name.
  if (!/^[\w-]+$/.test(etag) || !Number.isSafeInteger(size)) {
    throw new UserError(`${url}: the hub did not say what the file holds (ETag, length).`);
  }
  return { url, etag, size };
}

/** Fetches what is missing of a file; it takes its name when it is whole and right. */
async function fetchFile(
  { url, etag, size }: RemoteFile,
  blob: string,
  name: string,
  settings: HubSettings,
  options: DownloadOptions,
): Promise<void> {
  const partial = `${blob}.incomplete`, hash = createHash("sha256");
  Deno.mkdirSync(dirname(blob), { recursive: true });
  let done = 0;
  if (kindOf(partial) === "file" && Deno.statSync(partial).size <= size) {
    using old = Deno.openSync(partial);
    for await (const chunk of old.readable) {
      hash.update(chunk);
      done += chunk.length;
    }
  } else Deno.writeFileSync(partial, new Uint8Array());
  if (done < size) {
    const response = await ask(url, settings, options, { headers: done > 0 ? { range: `bytes=${done}-` } : {} });
    if (!response.ok || !response.body) throw new UserError(`${url}: the hub answered ${response.status}.`);
    if (done > 0 && response.status !== 206) {
      await response.body.cancel();
      Deno.removeSync(partial);
      return await fetchFile({ url, etag, size }, blob, name, settings, options);
    }
    using file = Deno.openSync(partial, { append: true });
    try {
      for await (const chunk of response.body) {
        for (let rest = chunk; rest.length > 0;) rest = rest.subarray(file.writeSync(rest));
        hash.update(chunk);
        done += chunk.length;
        options.progress?.(done, size, name);
      }
    } catch (error) {
      options.signal?.throwIfAborted();
      throw new UserError(
        `${url}: the connection broke after ${done} of ${size} bytes (${(error as Error).message}); ` +
          "the same command goes on from there.",
      );
    }
  }
  const isWrong = done !== size || (/^[0-9a-f]{64}$/.test(etag) && hash.digest("hex") !== etag);
  if (isWrong) {
    Deno.removeSync(partial);
    throw new UserError(`${url}: what came is not what the hub announced; it was removed. Try again.`);
  }
  Deno.renameSync(partial, blob);
}

/** A request with the token; where it is sent on to another host, `fetch` leaves the token out. */
function ask(
  url: string,
  { token }: HubSettings,
  { signal }: DownloadOptions,
  init: RequestInit & { readonly headers?: Record<string, string> } = {},
): Promise<Response> {
  // As it is: a compressed answer has another length, and cannot go on in the middle.
  const headers = {
    ...init.headers,
    "accept-encoding": "identity",
    ...(token && { authorization: `Bearer ${token}` }),
  };
  return fetch(url, { ...init, headers, signal });
}

async function refusal(response: Response, address: HubAddress, { token }: HubSettings): Promise<UserError> {
  await response.body?.cancel();
  const { status } = response, what = formatHubAddress(address);
  if (status === 404) return new UserError(`${what}: the hub has no such ${address.kind} or revision.`);
  if (status === 401 || status === 403) {
    const way = token ? "the token's owner may not read it" : "set HF_TOKEN to a token of somebody who may read it";
    return new UserError(`${what}: there is no such ${address.kind}, or not for everybody; ${way}.`);
  }
  return new UserError(`${what}: the hub answered ${status}; try again later.`);
}

function unreachable(address: HubAddress, { endpoint }: HubSettings, error: unknown): Error {
  if (!(error instanceof TypeError)) return error as Error;
  return new UserError(
    `${formatHubAddress(address)}: ${endpoint} cannot be reached (${error.message}), and it is not in the cache.`,
  );
}

function noWeights(address: HubAddress, names: readonly string[]): UserError {
  const pickle = names.find((name) => PICKLE.test(name)), what = formatHubAddress(address);
  if (pickle === undefined) return new UserError(`${what}: there are neither safetensors nor a GGUF file in it.`);
  return new UserError(
    `${what}: its weights are a pickle (${pickle}), a program that could do anything; use a revision with ` +
      "safetensors, or convert it where you trust it: from_pretrained(…).save_pretrained(…, safe_serialization=True).",
  );
}
