/**
 * @file Work that goes on after an interruption lies in OUT.unfinished, beside the OUT that is to be: its settings
 * (`recipe.json`), and whatever it keeps. It goes when OUT is there.
 */
import { join } from "node:path";
import { UserError } from "../../dsl/errors.ts";
import { kindOf, writeFile } from "../convert/files.ts";

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
 * @param settings all that the result depends on, as JSON; work goes on with the same ones only
 * @throws {UserError} as {@link checkUnfinished}, and if it was begun with other settings
 */
export function openUnfinished(
  out: string,
  work: UnfinishedWork,
  settings: Readonly<Record<string, unknown>>,
  options: UnfinishedOptions,
): string {
  const folder = unfinishedPath(out), recipe = join(folder, "recipe.json");
  const text = `${JSON.stringify(settings, null, 2)}\n`;
  checkUnfinished(out, work, options);
  if (options.resume) {
    const differs = difference(JSON.parse(Deno.readTextFileSync(recipe)), JSON.parse(text));
    if (differs === undefined) return text;
    throw new UserError(
      `--resume: ${folder} was begun with another "${differs}" (see its recipe.json); give the same.`,
    );
  }
  if (isUnfinished(out)) Deno.removeSync(folder, { recursive: true });
  Deno.mkdirSync(folder, { recursive: true });
  writeFile(recipe, text, { overwrite: true });
  return text;
}

/** The first field in which two settings differ. */
function difference(
  old: Readonly<Record<string, unknown>>,
  now: Readonly<Record<string, unknown>>,
): string | undefined {
  const names = new Set([...Object.keys(old), ...Object.keys(now)]);
  return [...names].find((name) => JSON.stringify(old[name]) !== JSON.stringify(now[name]));
}
