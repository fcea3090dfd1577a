/** @file `xft learn`: the coefficients of a merge, by any objective. */
import { basename } from "node:path";
import { open } from "../../../../backend/open.ts";
import { loadTokenizer } from "../../../../backend/tokenizer.ts";
import { formatCoefficients } from "../../../convert/coefficients.ts";
import { checkTarget, writeFile } from "../../../convert/files.ts";
import { readConfig } from "../../../convert/huggingface.ts";
import { readLearnPosition } from "../../../training/kept.ts";
import { learn, type Learned } from "../../../training/learn.ts";
import { softmaxOf } from "../../../merge/weights.ts";
import { loadMixture } from "../../../model/parameters.ts";
import { filesOf } from "../../../objectives/files.ts";
import { loadObjective, type Objective, objectives } from "../../../objectives/mod.ts";
import { openTrainingFolder } from "../../../snapshots/training_folder.ts";
import { checkUnfinished, isUnfinished, unfinishedPath } from "../../../snapshots/unfinished.ts";
import { openEvents } from "../../../metrics/tensorboard.ts";
import type { commands } from "../../commands.ts";
import type { Context, JsonResult } from "../../context.ts";
import { metricsPath, prepareStage, recordOf, type Stage, stageLines, type StageRecord, within } from "./stage.ts";
import type { Arguments } from "../../flags/schema.ts";

/** Runs the command. */
export async function run(args: Arguments<typeof commands.learn>, context: Context): Promise<JsonResult> {
  const { moe, out, resume } = args;
  // Who goes on may have been stopped after OUT was written: it is of the same learning.
  const overwrite = args.overwrite || (resume && isUnfinished(out));
  checkTarget(out, "file", { overwrite });
  if (!args.dryRun) checkUnfinished(out, "learning", args);
  const objective = await loadObjective(args.objective);
  using tokenizer = loadTokenizer(moe);
  const { vocabSize: vocab } = readConfig(moe);
  const prepared = await prepareStage("learn", args, { tokenizer, vocab }, context);
  const { schedule, settings: { lambda } } = prepared;
  using data = prepared.data;
  if (args.dryRun) {
    context.print(`would learn coefficients of ${moe} by ${args.objective} and write ${out}`);
    return { dry_run: true, out, objective: args.objective, lambda, schedule, data: data.report };
  }
  // Not with the signal: a step in progress is finished, half of one could not be kept.
  using device = await open(args.device);
  using events = args.tensorboard === undefined ? undefined : openEvents(args.tensorboard);
  const { settings, given } = recordFor(args, prepared);
  const folder = openTrainingFolder(out, settings, {
    ...{
      resume,
      overwrite: args.overwrite,
      every: args.saveEvery,
      keep: 2,
      note: context.note,
      work: "learning",
      given,
    },
  });
  using shown = stageLines("learn", context, device, (line) => {
    folder.add(line);
    events?.add(line);
  });
  using _ = context.onInterrupt(interruption(out, objective));
  const learned = await within(folder, context, async () =>
    await learn(loadMixture(moe, device), device, {
      objective,
      name: args.objective,
      lambda,
      schedule,
      batches: data.batches,
      validation: data.validation,
      vertices: !args.noVertices,
      lambdas: args.lambdas,
      snapshots: folder.snapshots(device, readLearnPosition),
      signal: context.signal,
      onLine: shown.onLine,
      onNote: context.note,
    }));
  const { files, sha256, train, validation } = data.report;
  const source = { files: files.map((path) => basename(path)), sha256, train, validation };
  writeFile(metricsPath(out), folder.metrics(), { overwrite: true });
  writeFile(out, formatCoefficients({ ...learned.coefficients, data: source }), { overwrite });
  folder.finish();
  show(out, learned, context);
  return { ...resultOf(args, learned), schedule, data: data.report };
}

/** What is said at Ctrl-C. */
const interruption = (out: string, { kind }: Objective): string =>
  (kind === "loss"
    ? `finishing the step and keeping the coefficients in ${
      unfinishedPath(out)
    }: the same command with --resume goes on. `
    : "ending: what is only measured is not kept. ") + "Ctrl-C again ends it at once.";

/** What was learned, as `--json` has it. */
const resultOf = (
  { out, objective, noVertices, lambdas }: Arguments<typeof commands.learn>,
  learned: Learned,
): JsonResult => ({
  out,
  metrics: metricsPath(out),
  objective,
  lambda: learned.coefficients.lambda,
  uniform_loss: learned.uniform,
  learned_loss: learned.learned,
  shared_only_loss: learned.sharedOnly,
  ...(!noVertices && { vertex_losses: learned.vertices }),
  ...(lambdas && { lambda_losses: learned.lambdas }),
  causal_tokens: learned.causalTokens,
  distance_from_uniform: Math.max(...learned.distance),
  distance_per_layer: learned.distance,
  update_budget: learned.budget,
  kept_step: learned.step,
  seconds: learned.seconds,
});

/** All that the coefficients depend on. */
function recordFor(
  { moe, objective, seed }: Arguments<typeof commands.learn>,
  { schedule, settings: { lambda, batch, seq }, data }: Stage,
): StageRecord {
  const isBuiltIn = Object.hasOwn(objectives, objective);
  const settings = { objective: isBuiltIn ? objective : "a file", lambda, schedule, batch, seq, seed };
  return recordOf(settings, moe, data.report, isBuiltIn ? {} : { objective: filesOf(objective) });
}

/** Says what was learned: losses, and how far each layer is from uniform. */
function show(out: string, learned: Learned, context: Context): void {
  const { distance, uniform } = learned, furthest = Math.max(...distance);
  context.print(
    `${out}: validation loss ${uniform.toFixed(4)} (uniform) → ${learned.learned.toFixed(4)}; ` +
      `softmax(α) is up to ${furthest.toFixed(4)} from uniform`,
  );
  const alone = learned.vertices.map((loss, expert) => `, expert ${expert} alone ${loss.toFixed(4)}`).join("");
  context.note(`learn: for comparison, the shared experts alone ${learned.sharedOnly.toFixed(4)}${alone}`);
  for (const each of learned.lambdas) context.note(`  uniform merge, λ ${each.lambda}: ${each.loss.toFixed(4)}`);
  for (const [layer, alpha] of learned.coefficients.alpha.entries()) {
    const weights = softmaxOf(alpha).map((weight) => weight.toFixed(3)).join(" ");
    context.note(`  layer ${layer}: softmax(α) ${weights}; ${distance[layer].toFixed(4)} from uniform`);
  }
}
