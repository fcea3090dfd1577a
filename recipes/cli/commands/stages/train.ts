/** @file `xft train`: instruction tuning of a dense model or a mixture. */
import { open } from "../../../../backend/open.ts";
import { loadTokenizer } from "../../../../backend/tokenizer.ts";
import { checkTarget } from "../../../convert/files.ts";
import { promptRecord } from "../../../evaluate/benchmarks/trained_prompt.ts";
import { readConfig } from "../../../convert/huggingface.ts";
import { loadDense, type Loaded, loadMixture, saveModel } from "../../../model/parameters.ts";
import { movedFrom } from "../../../metrics/health.ts";
import { openEvents } from "../../../metrics/tensorboard.ts";
import { readPosition } from "../../../training/kept.ts";
import { train } from "../../../training/train.ts";
import type { commands } from "../../commands.ts";
import type { Context, JsonResult } from "../../context.ts";
import { openTrainingFolder, type TrainingFolder } from "../../../snapshots/training_folder.ts";
import { checkUnfinished, isUnfinished, unfinishedPath } from "../../../snapshots/unfinished.ts";
import { prepareStage, recordOf, stageLines, type StageRecord, within } from "./stage.ts";
import type { Arguments } from "../../flags/schema.ts";

/** How far experts have moved, in words. */
function movement(moved: readonly (readonly number[])[]): string {
  const percent = (share: number): string => `${(100 * share).toPrecision(2)}%`;
  const all = moved.flatMap((layer) => layer.slice(1)), shared = moved.map(([first]) => first);
  return `routed experts moved by ${percent(Math.min(...all))} to ${percent(Math.max(...all))} of their norm, ` +
    `shared ones by ${percent(Math.min(...shared))} to ${percent(Math.max(...shared))}`;
}

/** Where snapshots and metrics are kept until the model is written. */
function trainingFolder(
  args: Arguments<typeof commands.train>,
  { settings, given }: StageRecord,
  context: Context,
): TrainingFolder {
  const { out, resume, overwrite } = args;
  return openTrainingFolder(out, settings, {
    ...{ resume, overwrite, given },
    keep: args.keepSnapshots,
    every: args.saveEvery,
    note: context.note,
  });
}

/** What a model's folder says of its training. */
function recordsOf(
  folder: TrainingFolder,
  template: Parameters<typeof promptRecord>[0] = "magicoder",
): Record<string, string> {
  return { "metrics.jsonl": folder.metrics(), "recipe.json": folder.recipe, ...promptRecord(template) };
}

/** What is said at Ctrl-C, then and when the training is done. */
const interruption = (out: string): string =>
  `finishing the step and keeping the training in ${unfinishedPath(out)}: the same command with --resume goes on. ` +
  "Ctrl-C again ends it at once.";
const writing = (out: string): string => `the training is done: writing ${out} first. Ctrl-C again ends it at once.`;

/** Runs the command. */
export async function run(args: Arguments<typeof commands.train>, context: Context): Promise<JsonResult> {
  const { model, out, stage, seed, resume } = args;
  const { accumulate, clip, stopNorm, checkpoint, weightDecay, rates, ema, precision } = args;
  // Who goes on may have been stopped after OUT was written: it is of the same training.
  const overwrite = args.overwrite || (resume && isUnfinished(out));
  checkTarget(out, "folder", { overwrite });
  if (!args.dryRun) checkUnfinished(out, "training", args);
  using tokenizer = loadTokenizer(model);
  const vocab = readConfig(model).vocabSize;
  const prepared = await prepareStage(stage, args, { tokenizer, vocab, accumulate }, context);
  const { settings: chosen, schedule } = prepared;
  using data = prepared.data;
  const optimizer = args.optimizer ?? chosen.optimizer;
  const steps = { optimizer, accumulate, clip, stopNorm, checkpoint, weightDecay, rates, ema, precision };
  if (args.dryRun) {
    context.print(`would tune ${model} for ${schedule.steps} steps and write ${out}`);
    return { dry_run: true, out, schedule, data: data.report };
  }
  // Not with the signal: a step in progress is finished, half of one could not be kept.
  using device = await open(args.device);
  const load = (): Loaded =>
    (stage === "moe" ? loadMixture : loadDense)(model, device, precision === "f32" ? "f32" : "bf16");
  const { batch, seq } = chosen;
  const record = recordOf({ stage, schedule, ...steps, seed, batch, seq }, model, data.report);
  const folder = trainingFolder(args, record, context);
  using events = args.tensorboard === undefined ? undefined : openEvents(args.tensorboard);
  using shown = stageLines(stage, context, device, (line) => {
    folder.add(line);
    events?.add(line);
  });
  using _ = context.onInterrupt(interruption(out));
  const { before, after, tokens, seconds, moved } = await within(folder, context, async () => {
    const trained = await train(load(), device, {
      schedule,
      batches: data.batches,
      validation: data.validation,
      ...steps,
      seed,
      healthEvery: args.healthEvery,
      ...(stage === "moe" && { origin: model }),
      reload: () => load().model,
      snapshots: folder.snapshots(device, readPosition),
      signal: context.signal,
      onLine: shown.onLine,
      onNote: context.note,
    });
    using _ = context.onInterrupt(writing(out));
    const moved = stage === "moe" ? await movedFrom(model, trained.loaded, device) : undefined;
    if (moved) context.note(`moe: ${movement(moved)}`);
    await saveModel(out, trained.loaded, device, {
      tokenizerFrom: model,
      files: recordsOf(folder, data.report.settings.template),
      ...(precision !== "f32" && { dtype: "BF16" }),
      overwrite,
    });
    return { ...trained, moved };
  });
  folder.finish();
  context.print(`${out}: validation loss ${before?.toFixed(4)} → ${after?.toFixed(4)} in ${schedule.steps} steps`);
  const { preset } = args;
  return { out, stage, preset, optimizer, schedule, before, after, tokens, seconds, moved, data: data.report };
}
