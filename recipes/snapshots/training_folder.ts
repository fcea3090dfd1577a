/**
 * @file A training in progress on disk: OUT.unfinished beside the OUT that is to be. It holds the settings, the metrics
 * so far and snapshots; it goes when OUT is there.
 */
import { join } from "node:path";
import { UserError } from "../../dsl/errors.ts";
import type { Device } from "../../backend/runtime.ts";
import { kindOf, writeFile } from "../convert/files.ts";
import type { Position, Snapshots, TrainLine } from "../train.ts";
import { newestSnapshot, restoreSnapshot, saveSnapshot } from "./snapshot.ts";

/** Where a training that writes `out` lies until it is finished. */
export const unfinishedPath = (out: string): string => `${out}.unfinished`;

/** Is there a training that can go on? */
export const isUnfinished = (out: string): boolean => kindOf(join(unfinishedPath(out), "recipe.json")) === "file";

/**
 * Refuses a training before any work is done.
 *
 * @throws {UserError} if there is an unfinished one and neither `resume` nor `overwrite` says what to do with it, or if
 * there is none to go on with
 */
export function checkUnfinished(
  out: string,
  { resume, overwrite }: Pick<TrainingFolderOptions, "resume" | "overwrite">,
): void {
  const folder = unfinishedPath(out), there = isUnfinished(out);
  if (resume && !there) {
    throw new UserError(`--resume: there is no unfinished training of ${out} (${folder} would hold it).`);
  }
  if (there && !resume && !overwrite) {
    throw new UserError(
      `${folder}: an unfinished training is there: go on with --resume, or forget it with --overwrite.`,
    );
  }
}

/** How a training's folder is opened. */
export interface TrainingFolderOptions {
  /** Go on with what is there, if its settings are these. */
  readonly resume: boolean;
  /** Forget what is there. */
  readonly overwrite: boolean;
  /** Snapshots that stay. */
  readonly keep: number;
  /** Steps between two snapshots. */
  readonly every: number;
  /** Told what a user should know. */
  readonly note: (sentence: string) => void;
}

/** An opened one. */
export interface TrainingFolder {
  /** Appends to metrics.jsonl. */
  add(line: TrainLine & { readonly stage: string }): void;
  /** What `train` takes. */
  snapshots(device: Device): Snapshots;
  /** The text of metrics.jsonl. */
  metrics(): string;
  /** The text of recipe.json: the settings. */
  readonly recipe: string;
  /** Removes the folder: the model is written. */
  finish(): void;
}

/** What a snapshot says beside its tensors. */
type Kept = Position & { readonly lines: number; readonly device: string };

/** The first field in which two settings differ. */
function difference(
  old: Readonly<Record<string, unknown>>,
  now: Readonly<Record<string, unknown>>,
): string | undefined {
  const names = new Set([...Object.keys(old), ...Object.keys(now)]);
  return [...names].find((name) => JSON.stringify(old[name]) !== JSON.stringify(now[name]));
}

/**
 * Begins a training's folder, or opens it again.
 *
 * @param settings all that the result depends on, as JSON; a training goes on with the same ones only
 * @throws {UserError} as `checkUnfinished`, and if it has other settings
 */
export function openTrainingFolder(
  out: string,
  settings: Readonly<Record<string, unknown>>,
  { resume, overwrite, keep, every, note }: TrainingFolderOptions,
): TrainingFolder {
  const folder = unfinishedPath(out), recipe = join(folder, "recipe.json"), metrics = join(folder, "metrics.jsonl");
  const snapshots = join(folder, "snapshots");
  const text = `${JSON.stringify(settings, null, 2)}\n`;
  checkUnfinished(out, { resume, overwrite });
  if (resume) {
    const differs = difference(JSON.parse(Deno.readTextFileSync(recipe)), JSON.parse(text));
    if (differs !== undefined) {
      throw new UserError(
        `--resume: ${folder} was begun with another "${differs}" (see its recipe.json); give the same.`,
      );
    }
  } else {
    if (isUnfinished(out)) Deno.removeSync(folder, { recursive: true });
    Deno.mkdirSync(folder, { recursive: true });
    writeFile(recipe, text, { overwrite: true });
  }
  const newest = newestSnapshot<Kept>(snapshots, note);
  // Lines after the snapshot are of steps that are made again.
  const kept = newest && kindOf(metrics) === "file" ? Deno.readTextFileSync(metrics).split("\n") : [];
  let lines = Math.min(newest?.position.lines ?? 0, kept.length);
  writeFile(metrics, kept.slice(0, lines).map((line) => `${line}\n`).join(""), { overwrite: true });
  if (newest) note(`Going on after step ${newest.step}.`);
  return {
    add(line) {
      lines++;
      Deno.writeTextFileSync(metrics, `${JSON.stringify(line)}\n`, { append: true });
    },
    snapshots: (device) => ({
      every,
      save: ({ position, model, state }) =>
        saveSnapshot<Kept>(
          snapshots,
          { step: position.step, position: { ...position, lines, device: device.name } },
          { model, optimizer: state },
          device,
          keep,
        ),
      restore(model, state) {
        if (!newest) return undefined;
        const { lines: _, device: name, ...position } = newest.position;
        if (name !== device.name) {
          note(`The training was begun on ${name}: on ${device.name} it goes on, but not bit for bit.`);
        }
        restoreSnapshot(newest, { model, optimizer: state }, device);
        return position;
      },
    }),
    recipe: text,
    metrics: () => Deno.readTextFileSync(metrics),
    finish: () => Deno.removeSync(folder, { recursive: true }),
  };
}
