/** @file What a command's paths name on the hub: it is fetched, and the command sees where it lies. */
import { UserError } from "../../../dsl/errors.ts";
import { hubSettings, isHubAddress, parseHubAddress } from "../../hub/address.ts";
import { download, type DownloadOptions } from "../../hub/download.ts";
import type { Context } from "../context.ts";
import { type Command, flagName } from "../flags/schema.ts";

const wordsOf = (value: unknown): readonly unknown[] => Array.isArray(value) ? value : [value];

/** Does a command line name something on the hub? */
export const namesHub = (values: Readonly<Record<string, unknown>>): boolean =>
  Object.values(values).flatMap(wordsOf).some((word) => typeof word === "string" && isHubAddress(word));

async function fetchAddress(
  word: string,
  context: Context,
  options: Pick<DownloadOptions, "whole"> = {},
): Promise<string> {
  using bar = context.progress(word, undefined, "B");
  const { signal } = context;
  return await download(parseHubAddress(word), hubSettings(), { ...options, signal, progress: bar.of });
}

/** Fetches each address once; where each lies then. @throws {UserError} if one cannot be had */
export async function fetchAddresses(words: readonly string[], context: Context): Promise<Map<string, string>> {
  const fetched = new Map<string, string>();
  for (const word of new Set(words)) fetched.set(word, await fetchAddress(word, context));
  return fetched;
}

/** A path of this machine as it is, of the hub where it was fetched to. */
export const localPath = (path: string, { fetched }: Pick<Context, "fetched">): string => fetched.get(path) ?? path;

/**
 * A command's values with folders and files in place of what they name on the hub.
 *
 * @throws {UserError} if something cannot be had, or stands where something is written
 */
export async function fetchHubPaths(
  { positionals, flags }: Command,
  values: Readonly<Record<string, unknown>>,
  context: Context,
): Promise<Record<string, unknown>> {
  const found = { ...values };
  for (const [name, field] of Object.entries({ ...positionals, ...flags })) {
    if (!field.path) continue;
    const words = await Promise.all(
      wordsOf(values[name]).map(async (word) => {
        if (typeof word !== "string" || !isHubAddress(word)) return word;
        if (name === "out") throw new UserError(`${flagName(name)} ${word}: a path on this machine is needed.`);
        return await fetchAddress(word, context, { whole: field.whole });
      }),
    );
    found[name] = Array.isArray(values[name]) ? words : words[0];
  }
  return found;
}
