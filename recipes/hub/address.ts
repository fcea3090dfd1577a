/** @file What is on the Hugging Face hub: `hf:org/name[@revision]`, and where its files lie on this machine. */
import { basename, dirname, join } from "node:path";
import { UserError } from "../../dsl/errors.ts";
import { kindOf } from "../convert/files.ts";

/** A repository on the hub, or a file in one. */
export interface HubAddress {
  /** What the repository holds. */
  readonly kind: "model" | "dataset";
  /** `org/name`, or a name alone. */
  readonly repo: string;
  /** Branch, tag or commit. */
  readonly revision: string;
  /** A file in it; none: what a model's folder needs. */
  readonly file?: string;
}

/** Does a word name something on the hub? */
export const isHubAddress = (word: string): boolean => word.startsWith("hf:");

/** Files that can be named: weights that are no program, and data. */
const NAMEABLE = /\.(gguf|jsonl?|parquet|txt|md)(\.(gz|zst))?$/;

/**
 * Reads an address: `hf:org/name[@revision]`, `hf:org/name/FILE[@revision]` or `hf:datasets/org/name/FILE[@revision]`.
 *
 * @throws {UserError} if it is none
 * @example
 * ```ts
 * import { parseHubAddress } from "./address.ts";
 * const { repo, revision, file } = parseHubAddress("hf:org/name/model-q4_0.gguf@v1");
 * console.assert(repo === "org/name" && revision === "v1" && file === "model-q4_0.gguf");
 * ```
 */
export function parseHubAddress(word: string): HubAddress {
  const [, path = "", revision = "main"] = /^hf:([\w./-]+)(?:@([\w./-]+))?$/.exec(word) ?? [];
  const isDots = (part: string): boolean => /^\.*$/.test(part);
  const parts = path.split("/"), isDataset = parts.length > 1 && parts[0] === "datasets";
  const [repo, file] = cut(isDataset ? parts.slice(1) : parts);
  if ([...parts, ...revision.split("/")].some(isDots) || (file !== undefined && !NAMEABLE.test(file))) {
    throw new UserError(
      `${word}: a model on the hub is written hf:org/name or hf:org/name@revision, a file (GGUF, JSON, JSONL, Parquet, ` +
        "text) hf:org/name/FILE or hf:datasets/org/name/FILE.",
    );
  }
  return { kind: isDataset ? "dataset" : "model", repo, revision, ...(file !== undefined && { file }) };
}

/** The repository's name, which has two parts or one, and what follows. */
function cut(parts: readonly string[]): [string, string | undefined] {
  return [parts.slice(0, 2).join("/"), parts.length > 2 ? parts.slice(2).join("/") : undefined];
}

/** An address as it is written. */
export function formatHubAddress({ kind, repo, revision, file }: HubAddress): string {
  const path = [...(kind === "dataset" ? ["datasets"] : []), repo, ...(file === undefined ? [] : [file])].join("/");
  return `hf:${path}${revision === "main" ? "" : `@${revision}`}`;
}

/** What the environment says of the hub; names and defaults are those of Python's huggingface_hub. */
export interface HubSettings {
  /** Where the hub is. */
  readonly endpoint: string;
  /** Who asks, for models that not everybody may read. */
  readonly token?: string;
  /** The folder that is shared with Python's huggingface_hub. */
  readonly cache: string;
  /** Is the hub never asked, and what is in the cache enough? */
  readonly offline?: boolean;
}

/** What a machine says of the hub. */
export interface HubSurroundings {
  /** An environment's variable. */
  readonly variable: (name: string) => string | undefined;
  /** A file's text; nothing where there is none. */
  readonly text: (path: string) => string | undefined;
}

const here: HubSurroundings = {
  variable: (name) => Deno.env.get(name),
  text: (path) => kindOf(path) === "file" ? Deno.readTextFileSync(path) : undefined,
};

/**
 * Reads HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, and the token: HF_TOKEN, or what `hf auth login` wrote
 * (the file `token` in HF_HOME, or HF_TOKEN_PATH).
 */
export function hubSettings({ variable, text }: HubSurroundings = here): HubSettings {
  const user = variable("HOME") ?? variable("USERPROFILE") ?? ".";
  const place = (path: string): string => /^~(?=$|[/\\])/.test(path) ? join(user, path.slice(1)) : path;
  const home = place(
    variable("HF_HOME") ?? join(variable("XDG_CACHE_HOME") ?? join(user, ".cache"), "huggingface"),
  );
  const token = variable("HF_TOKEN")?.trim() || text(place(variable("HF_TOKEN_PATH") ?? join(home, "token")))?.trim();
  return {
    endpoint: (variable("HF_ENDPOINT") ?? "https://huggingface.co").replace(/\/+$/, ""),
    token: token || undefined,
    cache: place(variable("HF_HUB_CACHE") ?? join(home, "hub")),
    offline: /^(1|on|yes|true)$/i.test(variable("HF_HUB_OFFLINE") ?? ""),
  };
}

/** A repository's folder in the cache: blobs by content, a snapshot of links a commit, and what revisions stand for. */
export const repoFolder = ({ cache }: HubSettings, { kind, repo }: HubAddress): string =>
  join(cache, `${kind}s--${repo.replace("/", "--")}`);

/** The name of a model by its folder: `org/name` where that is a snapshot in the cache, else the folder's own. */
export function nameOf(folder: string): string {
  const found = /^models--(.+)$/.exec(basename(dirname(dirname(folder))));
  return basename(dirname(folder)) === "snapshots" && found ? found[1].replace("--", "/") : basename(folder);
}
