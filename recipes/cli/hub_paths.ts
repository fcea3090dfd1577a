/** @file Models on the hub among a command's paths: they are fetched, and the command sees their folders. */
import { UserError } from "../../dsl/errors.ts";
import { hubSettings, isHubAddress, parseHubAddress } from "../hub/address.ts";
import { download } from "../hub/download.ts";
import type { Context } from "./context.ts";
import { type Command, flagName } from "./schema.ts";

const wordsOf = (value: unknown): readonly unknown[] => Array.isArray(value) ? value : [value];

/** Does a command line name a model on the hub? */
export const namesHub = (values: Readonly<Record<string, unknown>>): boolean =>
  Object.values(values).flatMap(wordsOf).some((word) => typeof word === "string" && isHubAddress(word));

/**
 * A command's values with folders in place of models on the hub.
 *
 * @throws {UserError} if one cannot be had, or stands where something is written
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
        using bar = context.progress(word, undefined, "B");
        return await download(parseHubAddress(word), hubSettings(), { signal: context.signal, progress: bar.of });
      }),
    );
    found[name] = Array.isArray(values[name]) ? words : words[0];
  }
  return found;
}
