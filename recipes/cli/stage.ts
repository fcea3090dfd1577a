/** @file What `train` and `learn` do alike: settings from preset and flags, data, the lines they print. */
import { prepareData, type PreparedData } from "../data/mod.ts";
import type { Schedule } from "../optim/mod.ts";
import type { TrainLine } from "../train.ts";
import type { Context } from "./context.ts";
import { type PresetName, presets, reasons, type StageName, type StageSettings } from "./presets.ts";
import type { Tokenizer } from "../../backend/tokenizer.ts";

/** The flags that say how a stage runs. */
export interface StageFlags {
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
  /** Steps. */
  readonly warmup?: number;
  /** Sequences per step. */
  readonly batch?: number;
  /** Tokens. */
  readonly seq?: number;
  /** Examples. */
  readonly validation: number;
  /** Count malformed records instead of stopping. */
  readonly skipMalformed: boolean;
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
export function prepareStage(
  name: StageName,
  flags: StageFlags,
  model: { readonly tokenizer: Tokenizer; readonly vocab: number; readonly accumulate?: number },
  context: Context,
): Stage {
  const preset = presets[flags.preset][name];
  const { batch = preset.batch, seq = preset.seq, validation, seed, skipMalformed } = flags;
  const data = prepareData(flags.data, model.tokenizer, {
    batch,
    seq,
    validation,
    seed,
    skipMalformed,
    vocab: model.vocab,
  });
  const epochs = flags.epochs ?? preset.epochs;
  const steps = flags.steps ?? Math.max(1, Math.ceil(data.batches.stepsFor(epochs) / (model.accumulate ?? 1)));
  const warmup = Math.min(steps - 1, flags.warmup ?? Math.round(steps * preset.warmup));
  const settings = { ...preset, batch, seq, epochs, rate: flags.lr ?? preset.rate };
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
  const lost = (["skipped", "truncated", "dropped", "duplicates"] as const).filter((key) => report[key] > 0);
  context.note(
    `data: ${report.train} samples (${report.tokens} tokens), ${report.validation} for validation` +
      lost.map((key) => `, ${report[key]} ${key}`).join("") + ".",
  );
  return { settings, schedule: { kind: "linear", rate: settings.rate, steps, warmup }, data };
}

/** Shows a stage's lines as they come; `add` is for who keeps them. */
export function stageLines(
  name: string,
  context: Context,
  add: (line: TrainLine & { readonly stage: string }) => void = () => {},
): { readonly onLine: (line: TrainLine) => void } & Disposable {
  const bar = context.progress(name, undefined, "step");
  return {
    onLine(line) {
      add({ stage: name, ...line });
      context.metric({ stage: name, ...line });
      bar.of(line.step, line.steps, line.loss === undefined ? "" : `loss ${line.loss.toFixed(4)}`);
      if (line.validation === undefined) return;
      bar.finish();
      context.note(`${name}: step ${line.step} of ${line.steps}, validation loss ${line.validation.toFixed(4)}`);
    },
    [Symbol.dispose]: () => bar.finish(),
  };
}
