/** @file Models on the Hugging Face hub: `hf:org/name[@revision]`, and where their files lie on this machine. */
import { basename, dirname, join } from "node:path";
import { UserError } from "../../dsl/errors.ts";

/** A model on the hub. */
export interface HubAddress {
  /** `org/name`, or a name alone. */
  readonly repo: string;
  /** Branch, tag or commit. */
  readonly revision: string;
}

/** Does a word name a model on the hub? */
export const isHubAddress = (word: string): boolean => word.startsWith("hf:");

/**
 * Reads an address.
 *
 * @throws {UserError} if it is none
 * @example
 * ```ts
 * import { parseHubAddress } from "./address.ts";
 * const { repo, revision } = parseHubAddress("hf:org/name@v1");
 * console.assert(repo === "org/name" && revision === "v1");
 * ```
 */
export function parseHubAddress(word: string): HubAddress {
  const found = /^hf:((?:[\w.-]+\/)?[\w.-]+)(?:@([\w./-]+))?$/.exec(word);
  const [, repo = "", revision = "main"] = found ?? [];
  if (!found || /(^|\/)\.\.?(\/|$)/.test(repo) || revision.split("/").some((part) => /^\.*$/.test(part))) {
    throw new UserError(`${word}: a model on the hub is written hf:org/name or hf:org/name@revision.`);
  }
  return { repo, revision };
}

/** What the environment says of the hub; names and defaults are those of Python's huggingface_hub. */
export interface HubSettings {
  /** Where the hub is. */
  readonly endpoint: string;
  /** Who asks, for models that not everybody may read. */
  readonly token?: string;
  /** The folder that is shared with Python's huggingface_hub. */
  readonly cache: string;
}

/** Reads HF_ENDPOINT, HF_TOKEN, HF_HUB_CACHE and HF_HOME. */
export function hubSettings(
  variable: (name: string) => string | undefined = (name) => Deno.env.get(name),
): HubSettings {
  const user = variable("HOME") ?? variable("USERPROFILE") ?? ".";
  const home = variable("HF_HOME") ?? join(variable("XDG_CACHE_HOME") ?? join(user, ".cache"), "huggingface");
  return {
    endpoint: (variable("HF_ENDPOINT") ?? "https://huggingface.co").replace(/\/+$/, ""),
    token: variable("HF_TOKEN") || undefined,
    cache: variable("HF_HUB_CACHE") ?? join(home, "hub"),
  };
}

/** The folder of a model in the cache: blobs by content, a snapshot of links a commit, and what revisions stand for. */
export const repoFolder = ({ cache }: HubSettings, { repo }: HubAddress): string =>
  join(cache, `models--${repo.replace("/", "--")}`);

/** The name of a model by its folder: `org/name` where that is a snapshot in the cache, else the folder's own. */
export function nameOf(folder: string): string {
  const found = /^models--(.+)$/.exec(basename(dirname(dirname(folder))));
  return basename(dirname(folder)) === "snapshots" && found ? found[1].replace("--", "/") : basename(folder);
}
