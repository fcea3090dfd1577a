/**
 * @file A training in progress on disk: OUT.unfinished beside the OUT that is to be. It holds the settings, the metrics
 * so far and snapshots; it goes when OUT is there.
 */
import { join } from "node:path";
import type { Device } from "../../backend/runtime.ts";
import { Fields, isJsonObject } from "../convert/fields.ts";
import { kindOf, writeFile } from "../convert/files.ts";
import type { AnyModel } from "../model/layout.ts";
import type { OptimizerState } from "../optim/mod.ts";
import type { Snapshots } from "../training/kept.ts";
import type { TrainLine } from "../training/train.ts";
import { newestSnapshot, restoreSnapshot, saveSnapshot } from "./snapshot.ts";
import { openUnfinished, type UnfinishedOptions, unfinishedPath, type UnfinishedWork } from "./unfinished.ts";

/** How a training's folder is opened. */
export interface TrainingFolderOptions extends UnfinishedOptions {
  /** Snapshots that stay. */
  readonly keep: number;
  /** Steps between two snapshots. */
  readonly every: number;
  /** Told what a user should know. */
  readonly note: (sentence: string) => void;
  /** What it is, for messages (default: a training). */
  readonly work?: UnfinishedWork;
  /** As of `openUnfinished`. */
  readonly given?: Readonly<Record<string, unknown>>;
}

/** An opened one. */
export interface TrainingFolder {
  /** Appends to metrics.jsonl. */
  add(line: TrainLine & { readonly stage: string }): void;
  /** What `train` and `learn` take; `read` makes a position of JSON. */
  snapshots<P extends Stepped, M = AnyModel, S = OptimizerState>(
    device: Device,
    read: (json: Fields) => P,
  ): Snapshots<P, M, S>;
  /** The text of metrics.jsonl. */
  metrics(): string;
  /** The text of recipe.json: the settings. */
  readonly recipe: string;
  /** Removes the folder: the model is written. */
  finish(): void;
  /** Removes the folder if no snapshot is in it: there is nothing to go on with. */
  abandon(): void;
}

/** How far something is that is learned step by step. */
type Stepped = { readonly step: number };

/** What a snapshot says beside its tensors. */
interface Kept {
  /** How far it is. */
  readonly position: unknown;
  /** Lines of metrics.jsonl that were written by then. */
  readonly lines: number;
  /** Name of the device. */
  readonly device: string;
}

/**
 * Begins a training's folder, or opens it again.
 *
 * @param settings as of `openUnfinished`
 * @throws {UserError} as `openUnfinished`
 */
export function openTrainingFolder(
  out: string,
  settings: Readonly<Record<string, unknown>>,
  { resume, overwrite, keep, every, note, work = "training", given }: TrainingFolderOptions,
): TrainingFolder {
  const folder = unfinishedPath(out), metrics = join(folder, "metrics.jsonl");
  const snapshots = join(folder, "snapshots");
  const text = openUnfinished(out, work, settings, { resume, overwrite }, given);
  let newest = newestSnapshot<Kept>(snapshots, note);
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
    snapshots: <P extends Stepped, M, S>(device: Device, read: (json: Fields) => P): Snapshots<P, M, S> => ({
      every,
      async save({ position, model, state }) {
        const now = { step: position.step, position: { position, lines, device: device.name } };
        newest = await saveSnapshot(snapshots, now, { model, optimizer: state }, device, keep);
      },
      restore(model, state) {
        if (!newest) return undefined;
        const { device: name, position } = newest.position;
        if (name !== device.name) {
          note(`The ${work} was begun on ${name}: on ${device.name} it goes on, but not bit for bit.`);
        }
        restoreSnapshot(newest, { model, optimizer: state }, device);
        return read(new Fields(isJsonObject(position) ? position : {}, newest.folder));
      },
    }),
    recipe: text,
    metrics: () => Deno.readTextFileSync(metrics),
    finish: () => Deno.removeSync(folder, { recursive: true }),
    abandon() {
      if (!newest) Deno.removeSync(folder, { recursive: true });
    },
  };
}
