/**
 * @file Work that goes on after an interruption lies in OUT.unfinished, beside the OUT that is to be: its settings
 * (`recipe.json`), and whatever it keeps. It goes when OUT is there.
 */
import { join } from "node:path";
import { UserError } from "../../dsl/errors.ts";
import { isJsonObject } from "../convert/fields.ts";
import { kindOf, writeFile } from "../convert/files.ts";
import { readJson } from "../convert/huggingface.ts";

/** What is done with unfinished work that is there. */
export interface UnfinishedOptions {
  /** Go on with it, if its settings are these. */
  readonly resume: boolean;
  /** Forget it. */
  readonly overwrite: boolean;
}

/** What is unfinished, for messages. */
export type UnfinishedWork = "training" | "learning" | "evaluation";

/** Where work that writes `out` lies until it is finished. */
export const unfinishedPath = (out: string): string => `${out}.unfinished`;

/** Is there work that can go on? */
export const isUnfinished = (out: string): boolean => kindOf(join(unfinishedPath(out), "recipe.json")) === "file";

/**
 * Refuses before any work is done.
 *
 * @throws {UserError} if there is unfinished work and neither `resume` nor `overwrite` says what to do with it, or if
 * there is none to go on with
 */
export function checkUnfinished(out: string, work: UnfinishedWork, { resume, overwrite }: UnfinishedOptions): void {
  const folder = unfinishedPath(out), there = isUnfinished(out);
  if (resume && !there) {
    throw new UserError(`--resume: there is no unfinished ${work} of ${out} (${folder} would hold it).`);
  }
  if (there && !resume && !overwrite) {
    throw new UserError(
      `${folder}: an unfinished ${work} is there: go on with --resume, or forget it with --overwrite.`,
    );
  }
}

/**
 * Begins work in its folder, or opens it again; returns the text of its `recipe.json`.
 *
 * @param settings all that the result depends on, as JSON, files by the SHA-256 of their contents (`sha256`); work goes on
 * with the same ones only
 * @param given where those files lie, by the same names: they may move
 * @throws {UserError} as {@link checkUnfinished}, and if it was begun with other settings
 */
export function openUnfinished(
  out: string,
  work: UnfinishedWork,
  settings: Readonly<Record<string, unknown>>,
  options: UnfinishedOptions,
  given?: Readonly<Record<string, unknown>>,
): string {
  const folder = unfinishedPath(out), recipe = join(folder, "recipe.json");
  const text = `${JSON.stringify({ ...settings, given }, null, 2)}\n`;
  checkUnfinished(out, work, options);
  if (options.resume) {
    const differs = difference(readJson(recipe), JSON.parse(text));
    if (differs === undefined) return text;
    throw new UserError(
      `--resume: ${folder} was begun with another ${differs}: give the same, or begin again with --overwrite.`,
    );
  }
  if (isUnfinished(out)) Deno.removeSync(folder, { recursive: true });
  Deno.mkdirSync(folder, { recursive: true });
  writeFile(recipe, text, { overwrite: true });
  return text;
}

/** The first setting in which two recipes differ, as `openUnfinished` takes them, in words; undefined: they are the same. */
export function difference(before: unknown, now: unknown): string | undefined {
  const was = new Map(leavesOf(before)), is = new Map(leavesOf(now));
  const name = [...was.keys(), ...is.keys()].find((each) => was.get(each) !== is.get(each));
  if (name === undefined) return undefined;
  const then = was.get(name) ?? "none", since = is.get(name) ?? "none", [kind, what] = name.split(".");
  if (kind !== "sha256") return `"${name}" (it was ${then} and is ${since})`;
  const place = (recipe: unknown): string => {
    const given = isJsonObject(recipe) && isJsonObject(recipe.given) ? recipe.given[what] : undefined;
    return given === undefined ? "nothing" : [given].flat().join(", ");
  };
  return `content of "${what}" (${place(before)} had the SHA-256 ${short(then)}, ${place(now)} has ${short(since)})`;
}

const short = (sha256: string): string => sha256.length > 16 ? `${sha256.slice(1, 13)}…` : sha256;

/** What a recipe holds, by its path and as JSON; but for what may move. */
function leavesOf(value: unknown, path = ""): [string, string][] {
  if (!isJsonObject(value)) return [[path, JSON.stringify(value)]];
  const parts = Object.entries(value).filter(([name]) => path !== "" || name !== "given");
  return parts.flatMap(([name, part]) => leavesOf(part, path === "" ? name : `${path}.${name}`));
}
