/** @file `xft publish`: a model with its card, recipe, coefficients, samples and hashes → the hub. */
import { basename, join, resolve } from "node:path";
import { parse } from "npm:yaml@2.9.1";
import { UserError } from "../../../dsl/errors.ts";
import { isJsonObject } from "../../convert/fields.ts";
import { kindOf } from "../../convert/files.ts";
import { type HubSettings, hubSettings, isHubAddress, parseHubAddress } from "../../hub/address.ts";
import { modelCard } from "../../publish/card.ts";
import {
  type Contents,
  describeFile,
  findSources,
  namedIn,
  readContents,
  type Sources,
} from "../../publish/contents.ts";
import { licenseOnHub, upload } from "../../publish/upload.ts";
import type { commands } from "../commands.ts";
import type { Context, JsonResult } from "../context.ts";
import { workingFolder } from "../inputs/files.ts";
import { columns, size } from "../output/format.ts";
import type { Arguments } from "../flags/schema.ts";

type PublishArguments = Arguments<typeof commands.publish>;

/** Runs the command. */
export async function run(args: PublishArguments, context: Context): Promise<JsonResult> {
  const { folder, repo, branch, dryRun } = args, settings = hubSettings();
  const sources = findSources(folder, args);
  const contents = await readContents(sources, context.signal);
  const base = baseOf(args, contents), license = args.license ?? await licenseOf(base, sources, settings);
  if (license === undefined) {
    throw new UserError(
      "--license NAME: neither the folder's card nor the base's says under which licence it is (such as apache-2.0).",
    );
  }
  const datasets = datasetsOf(args.dataset, contents);
  const card = modelCard(contents, { repo, base: base?.name, license, datasets });
  const files = [await describeFile("README.md", card), ...contents.files];
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const listed = files.map(({ path, bytes, sha256 }) => ({ path, bytes, sha256 }));
  if (dryRun) {
    context.print(card);
    context.print(columns(listed.map(({ path, bytes, sha256 }) => [path, size(bytes), sha256.slice(0, 16)])));
    context.print(`would upload ${files.length} files, ${size(bytes)}, to hf:${repo} (${branch})`);
    return { dry_run: true, repo, branch, license, base: base?.name ?? null, card, files: listed };
  }
  using bar = context.progress(`publish ${repo}`, bytes, "B");
  const message = args.message ?? `Upload ${repo.split("/").at(-1)}`;
  const commit = await upload(files, settings, {
    ...{ repo, branch, message, isPrivate: args.private },
    signal: context.signal,
    progress: bar.of,
  });
  context.print(`hf:${repo}: ${files.length} files, ${size(bytes)}, commit ${commit}`);
  return { repo, branch, commit, license, base: base?.name ?? null, files: listed };
}

/** What the model was made from: as given, else as the recipe has it. */
function baseOf({ base }: PublishArguments, { recipe }: Contents): Base | undefined {
  const name = base ?? namedIn(recipe?.json).model;
  if (name === undefined) return undefined;
  if (isHubAddress(name)) return { kind: "hub", name: parseHubAddress(name).repo };
  const folder = resolve(workingFolder(), name);
  return kindOf(folder) === "folder" ? { kind: "folder", name: basename(folder), folder } : { kind: "words", name };
}

/** A model that another was made from: on the hub, in a folder here, or only named. */
type Base =
  | { readonly kind: "hub" | "words"; readonly name: string }
  | { readonly kind: "folder"; readonly name: string; readonly folder: string };

/** The licence that a card names: the base's on the hub or in a folder, else that of the model's own folder. */
async function licenseOf(
  base: Base | undefined,
  { model }: Sources,
  settings: HubSettings,
): Promise<string | undefined> {
  const found = base?.kind === "hub"
    ? await licenseOnHub(base.name, settings)
    : base?.kind === "folder"
    ? licenseIn(base.folder)
    : undefined;
  return found ?? licenseIn(model);
}

/** Names on the hub, or words; with those that the recipe names. */
function datasetsOf(given: readonly string[], { recipe }: Contents): string[] {
  const named = namedIn(recipe?.json).data.filter(isHubAddress);
  const names = [...given, ...named].map((word) => isHubAddress(word) ? parseHubAddress(word).repo : word);
  return [...new Set(names)];
}

/** The licence in a folder's README.md. */
function licenseIn(folder: string): string | undefined {
  const path = join(folder, "README.md");
  if (kindOf(path) !== "file") return undefined;
  const [, fields] = /^---\r?\n([\s\S]*?)\r?\n---/.exec(Deno.readTextFileSync(path)) ?? [];
  const card: unknown = fields === undefined ? undefined : parse(fields);
  return isJsonObject(card) && typeof card.license === "string" ? card.license : undefined;
}
