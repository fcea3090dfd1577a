/** @file `xft demo`: the whole method in miniature, from nothing. */
import { join } from "node:path";
import { open } from "../../../../backend/open.ts";
import { checkTarget, kindOf } from "../../../convert/files.ts";
import { runDemo } from "../../../demo/run.ts";
import { table } from "../../../demo/rows.ts";
import { type DemoSettings, settings } from "../../../demo/settings.ts";
import { openSandbox } from "../../../evaluate/sandbox/pyodide.ts";
import { namedRegimes } from "../../../demo/study/regimes.ts";
import { studyRegime, studyTable, type Trial } from "../../../demo/study/run.ts";
import type { commands } from "../../commands.ts";
import type { Context, JsonResult } from "../../context.ts";
import type { Progress } from "../../output/progress.ts";
import type { Arguments } from "../../flags/schema.ts";

/** A run that only shows that everything works. */
const quick = (full: DemoSettings): DemoSettings => ({
  ...full,
  tasks: { train: 64, validation: 16, test: 16 },
  pretraining: { ...full.pretraining, steps: 12 },
  sft: { ...full.sft, epochs: 1 },
  moe: { ...full.moe, epochs: 1 },
  coefficients: { ...full.coefficients, epochs: 1 },
});

/** Runs the command. */
export async function run(args: Arguments<typeof commands.demo>, context: Context): Promise<JsonResult> {
  const { out, overwrite, seed } = args;
  if (out) checkTarget(out, "folder", { overwrite });
  if (args.study !== undefined) return await study(args, context);
  const chosen = { ...(args.quick ? quick(settings) : settings), seed: seed === 0 ? settings.seed : seed };
  const folder = Deno.makeTempDirSync({ prefix: "xft-demo-" });
  let progress: Progress | undefined;
  const lines: string[] = [];
  try {
    using device = await open(args.device, context);
    await using sandbox = await openSandbox();
    context.note(`device ${device.name}; sandbox: ${sandbox.description}`);
    const report = await runDemo(chosen, {
      device,
      sandbox,
      folder,
      signal: context.signal,
      onStage(name) {
        progress?.finish();
        context.note(name);
        progress = context.progress(name);
      },
      onLine(line) {
        if (line.loss !== undefined) progress?.of(line.step, line.steps, `loss ${line.loss.toFixed(3)}`);
        lines.push(JSON.stringify(line));
      },
      onProgress: (what, done, total) => progress?.of(done, total, what),
      onRow(row) {
        progress?.finish();
        progress = undefined;
        context.note(`${row.name}: pass@1 ${(100 * row.passAt1).toFixed(1)}%`);
      },
    });
    const { rows, learned, computeRatio, seconds } = report;
    context.print(table(rows));
    context.print(
      `\n${rows[0].passed.length} held-out tasks, greedy; coefficients moved ${
        Math.max(...learned.distance).toFixed(3)
      } from ` +
        `uniform (validation loss ${learned.uniform.toFixed(4)} → ${learned.learned.toFixed(4)}); ` +
        `${seconds.toFixed(0)} s on ${device.name}. One seed: rows closer than about 4 points are not ranked by it.`,
    );
    const result = {
      seed: chosen.seed,
      device: device.name,
      seconds,
      compute_ratio: computeRatio,
      learned,
      rows: rows.map(({ passed, trainingSeconds, evaluationSeconds, passAt1, ...row }) => ({
        ...row,
        tasks: passed.length,
        passed: passed.filter(Boolean).length,
        pass_at_1: passAt1,
        training_seconds: trainingSeconds,
        evaluation_seconds: evaluationSeconds,
      })),
    };
    if (out) {
      Deno.writeTextFileSync(join(folder, "metrics.jsonl"), lines.map((line) => `${line}\n`).join(""));
      Deno.writeTextFileSync(
        join(folder, "report.json"),
        `${JSON.stringify({ ...result, settings: chosen }, null, 2)}\n`,
      );
      keep(folder, out, overwrite);
    }
    return out ? { out, ...result } : result;
  } finally {
    progress?.finish();
    Deno.removeSync(folder, { recursive: true });
  }
}

/** Runs variants; each trial is a line of `trials.jsonl` as soon as it is known. */
async function study(args: Arguments<typeof commands.demo>, context: Context): Promise<JsonResult> {
  const { out, overwrite, base, rates = [1e-3, 3e-3], answers = 200, test } = args;
  const names = namedRegimes(args.study!), seed = args.seed === 0 ? settings.seed : args.seed;
  const folder = Deno.makeTempDirSync({ prefix: "xft-study-" });
  if (out) {
    if (overwrite && kindOf(out) === "folder") Deno.removeSync(out, { recursive: true });
    Deno.mkdirSync(out, { recursive: true });
  }
  using bar = context.progress("study");
  const results: Trial[] = [];
  try {
    using device = await open(args.device, context);
    await using sandbox = await openSandbox();
    for (const name of names) {
      const made = await studyRegime(name, {
        ...{ device, sandbox, base: base!, folder, rates, seed, answers, test, signal: context.signal },
        onStage: context.note,
        onLine: ({ step, steps, loss }) => bar.of(step, steps, loss === undefined ? "" : `loss ${loss.toFixed(3)}`),
        onTrial(trial) {
          bar.finish();
          context.note(studyTable([trial]).split("\n")[1]);
          if (out) Deno.writeTextFileSync(join(out, "trials.jsonl"), `${JSON.stringify(trial)}\n`, { append: true });
        },
      });
      results.push(...made);
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
  context.print(studyTable(results));
  context.print(
    `\nValidation split. Each row was tried with ${rates.length} learning rate${rates.length === 1 ? "" : "s"} ` +
      `(${rates.join(", ")}), the one of lowest loss is shown; answers are run for that one.`,
  );
  return { seed, rates, results: results.map((trial) => ({ ...trial })), ...(out && { out }) };
}

/** Copies a finished run's folder to its place, which it takes at once; what was there is kept until then. */
function keep(folder: string, out: string, overwrite: boolean): void {
  const part = `${out}.part`;
  copyTree(folder, part);
  if (overwrite) {
    try {
      Deno.removeSync(out, { recursive: true });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  Deno.renameSync(part, out);
}

function copyTree(from: string, to: string): void {
  Deno.mkdirSync(to, { recursive: true });
  for (const { name, isDirectory } of Deno.readDirSync(from)) {
    if (isDirectory) copyTree(join(from, name), join(to, name));
    else Deno.copyFileSync(join(from, name), join(to, name));
  }
}
