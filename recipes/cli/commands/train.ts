/** @file `xft train`: instruction tuning of a dense model or a mixture. */
import { join } from "node:path";
import { open } from "../../../backend/open.ts";
import { loadTokenizer } from "../../../backend/tokenizer.ts";
import { checkTarget } from "../../convert/files.ts";
import { readConfig } from "../../convert/huggingface.ts";
import { loadDense, loadMixture, saveModel } from "../../model/parameters.ts";
import { train } from "../../train.ts";
import type { commands } from "../commands.ts";
import type { Context, JsonResult } from "../context.ts";
import { metricsText, prepareStage, stageLines } from "../stage.ts";
import type { Arguments } from "../schema.ts";

/** Runs the command. */
export async function run(args: Arguments<typeof commands.train>, context: Context): Promise<JsonResult> {
  const { model, out, overwrite, stage, accumulate, clip, checkpoint, seed } = args;
  checkTarget(out, "folder", { overwrite });
  using tokenizer = loadTokenizer(model);
  const vocab = readConfig(model).vocabSize;
  const { settings, schedule, data } = prepareStage(stage, args, { tokenizer, vocab, accumulate }, context);
  const optimizer = args.optimizer ?? settings.optimizer;
  if (args.dryRun) {
    context.print(`would tune ${model} for ${schedule.steps} steps and write ${out}`);
    return { dry_run: true, out, schedule, data: data.report };
  }
  using device = await open(args.device, context);
  const loaded = stage === "moe" ? loadMixture(model, device) : loadDense(model, device);
  using shown = stageLines(stage, context);
  const trained = await train(loaded, device, {
    schedule,
    batches: data.batches,
    validation: data.validation,
    optimizer,
    accumulate,
    clip,
    checkpoint,
    seed,
    signal: context.signal,
    onLine: shown.onLine,
  });
  await saveModel(out, trained.loaded, device, { tokenizerFrom: model, overwrite, signal: context.signal });
  Deno.writeTextFileSync(join(out, "metrics.jsonl"), metricsText(stage, shown.lines));
  const { before, after, tokens, seconds } = trained;
  context.print(`${out}: validation loss ${before?.toFixed(4)} → ${after?.toFixed(4)} in ${schedule.steps} steps`);
  return { out, stage, preset: args.preset, optimizer, schedule, before, after, tokens, seconds, data: data.report };
}
