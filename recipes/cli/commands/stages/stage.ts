/** @file What `train` and `learn` do alike: settings from preset and flags, data, the lines they print. */
import { resolve } from "node:path";
import { contentOf } from "../../../convert/content.ts";
import {
  type DataReport,
  type DataSettings,
  type Encoder,
  prepareData,
  type PreparedData,
  type PrepareOptions,
} from "../../../data/mod.ts";
import { sha256Of } from "../../../data/read/mod.ts";
import type { Schedule } from "../../../optim/mod.ts";
import type { TrainingFolder } from "../../../snapshots/training_folder.ts";
import type { TrainLine } from "../../../training/train.ts";
import type { Device } from "../../../../backend/runtime.ts";
import type { Context } from "../../context.ts";
import { size } from "../../output/format.ts";
import { dataSettings } from "../../flags/shared.ts";
import { type PresetName, presets, reasons, type StageName, type StageSettings } from "../../flags/presets.ts";
import type { Tokenizer } from "../../../../backend/tokenizer.ts";

/** The flags that say how a stage runs. */
export interface StageFlags extends DataSettings {
  /** Instruction data. */
  readonly data: readonly string[];
  /** What is not given comes from here. */
  readonly preset: PresetName;
  /** Instead of epochs. */
  readonly steps?: number;
  /** Passes over the data. */
  readonly epochs?: number;
  /** Highest learning rate. */
  readonly lr?: number;
  /** How the rate falls after the warm-up. */
  readonly decay: Schedule["kind"];
  /** Steps. */
  readonly warmup?: number;
  /** Sequences per step. */
  readonly batch?: number;
  /** Tokens. */
  readonly seq?: number;
  /** Of `learn`: the shared expert's share. */
  readonly lambda?: number;
  /** Examples. */
  readonly validation: number;
  /** Start of every random choice. */
  readonly seed: number;
}

/** A stage, ready to run. */
export interface Stage {
  /** Preset and flags together. */
  readonly settings: StageSettings;
  /** Steps and learning rate. */
  readonly schedule: Schedule;
  /** Batches and validation set. */
  readonly data: PreparedData;
}

/** Resolves a stage's settings and reads its data; says both on stderr. @throws {UserError} if the data is no good */
export async function prepareStage(
  name: StageName,
  flags: StageFlags,
  model: { readonly tokenizer: Tokenizer; readonly vocab: number; readonly accumulate?: number },
  context: Context,
): Promise<Stage> {
  const preset = presets[flags.preset][name];
  const { batch = preset.batch, seq = preset.seq, validation, seed } = flags;
  const data = await readData(flags.data, model.tokenizer, {
    ...dataSettings({ ...flags }),
    batch,
    seq,
    validation,
    seed,
    vocab: model.vocab,
  }, context);
  const epochs = flags.epochs ?? preset.epochs;
  const steps = flags.steps ?? Math.max(1, Math.ceil(data.batches.stepsFor(epochs) / (model.accumulate ?? 1)));
  const warmup = Math.min(steps - 1, flags.warmup ?? Math.round(steps * preset.warmup));
  const settings = {
    ...preset,
    batch,
    seq,
    epochs,
    rate: flags.lr ?? preset.rate,
    lambda: flags.lambda ?? preset.lambda,
  };
  const { report } = data;
  context.note(
    `${name}: preset ${flags.preset}, ${steps} steps of ${batch} × ${seq} tokens at most, learning rate ${settings.rate}, ` +
      `${warmup} steps of warm-up.`,
  );
  if (flags.preset === "tuned") {
    for (const { key, stage, why } of reasons) {
      if ((stage ?? name) === name && settings[key] === preset[key]) context.note(`  ${why}`);
    }
  }
  context.note(`data: ${summaryOf(report)}`);
  return { settings, schedule: { kind: flags.decay, rate: settings.rate, steps, warmup }, data };
}

/** Prepares data, with a line of progress where that takes long. @throws {UserError} if the data is no good */
export async function readData(
  files: readonly string[],
  tokenizer: Encoder,
  options: PrepareOptions,
  context: Context,
): Promise<PreparedData> {
  using bar = context.progress("data", undefined, "examples");
  const onProgress = (examples: number): void => bar.update(examples);
  return await prepareData(files, tokenizer, { ...options, onProgress, signal: context.signal });
}

/** What data came to, in a sentence. */
export function summaryOf({ train, tokens, rows, validation, truncated, removed }: DataReport): string {
  const lost = [["truncated", truncated] as const, ...Object.entries(removed)].filter(([, count]) => count > 0);
  return `${train} samples (${tokens} tokens)${rows < train ? ` in ${rows} rows` : ""}, ${validation} for validation` +
    lost.map(([why, count]) => `, ${count} ${why}`).join("") + ".";
}

/** Where the metrics lie of a stage whose result is a file: `runs/c.json` → `runs/c.metrics.jsonl`. */
export const metricsPath = (out: string): string => `${out.replace(/\.json$/, "")}.metrics.jsonl`;

/** What stands behind a step's count: loss, speed, and the most that the device's tensors and plans have taken. */
export function detailOf({ loss, tokensPerSecond }: TrainLine, bytes: number): string {
  return [
    ...(loss === undefined ? [] : [`loss ${loss.toFixed(4)}`]),
    ...(tokensPerSecond === undefined ? [] : [`${Math.round(tokensPerSecond)} tokens/s`]),
    ...(bytes > 0 ? [`memory ${size(bytes)}`] : []),
  ].join(", ");
}

/** Shows a stage's lines as they come; `add` is for who keeps them. */
export function stageLines(
  name: string,
  context: Context,
  device: Pick<Device, "memory">,
  add: (line: TrainLine & { readonly stage: string }) => void = () => {},
): { readonly onLine: (line: TrainLine) => void } & Disposable {
  const bar = context.progress(name, undefined, "steps");
  return {
    onLine(line) {
      add({ stage: name, ...line });
      context.metric({ stage: name, ...line });
      bar.of(line.step, line.steps, detailOf(line, device.memory().peak));
      if (line.validation === undefined) return;
      bar.finish();
      context.note(`${name}: step ${line.step} of ${line.steps}, validation loss ${line.validation.toFixed(4)}`);
    },
    [Symbol.dispose]: () => bar.finish(),
  };
}

/**
 * Runs a stage in its folder. One that fails leaves nothing there where nothing was kept; who interrupted it hears why that
 * could not be.
 */
export async function within<T>(folder: TrainingFolder, context: Context, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    folder.abandon();
    const { aborted, reason } = context.signal;
    if (aborted && error !== reason) context.note(`xft: ${error instanceof Error ? error.message : error}`);
    throw error;
  }
}

/** What a stage's result depends on, files by their contents; and where those lie. */
export interface StageRecord {
  readonly settings: Readonly<Record<string, unknown>>;
  readonly given: Readonly<Record<string, unknown>>;
}

/** A stage's record: what `settings` says, the model's folder, the data, and other files that count. */
export function recordOf(
  settings: Readonly<Record<string, unknown>>,
  model: string,
  { files, sha256, settings: { decontaminate, ...how }, ...data }: DataReport,
  others: Readonly<Record<string, readonly string[]>> = {},
): StageRecord {
  const more = Object.entries({ ...others, ...(decontaminate && { decontaminate }) });
  const contents = { model: contentOf(model), data: sha256 };
  return {
    settings: {
      sha256: { ...contents, ...Object.fromEntries(more.map(([name, paths]) => [name, sha256Of(paths)])) },
      ...settings,
      data: { ...data, settings: how },
    },
    given: { model: resolve(model), data: files, ...Object.fromEntries(more) },
  };
}
