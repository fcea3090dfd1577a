/** @file `xft evaluate`: pass@1 of a model or of a file of samples, or perplexity. */
import { join } from "node:path";
import { open } from "../../../backend/open.ts";
import { loadTokenizer } from "../../../backend/tokenizer.ts";
import { UserError } from "../../../dsl/errors.ts";
import { checkTarget, kindOf, writeFolder } from "../../convert/files.ts";
import {
  type Benchmark,
  gradeSamples,
  loadBenchmark,
  readSamples,
  type Report,
  type Sample,
} from "../../evaluate/mod.ts";
import { loadModel } from "../../model/parameters.ts";
import type { commands } from "../commands.ts";
import type { Context, JsonResult } from "../context.ts";
import type { Arguments } from "../schema.ts";
import { solve } from "../solve.ts";
import { measurePerplexity } from "./perplexity.ts";

/** Sandboxes at a time, at most, unless the user says otherwise: each may take half a gigabyte. */
const MOST_JOBS = 8;

/** Runs the command. */
export async function run(args: Arguments<typeof commands.evaluate>, context: Context): Promise<JsonResult> {
  const { target, out, overwrite } = args;
  const kind = kindOf(target);
  if (kind === "nothing") throw new UserError(`${target}: there is no such model or file of samples.`);
  if (args.benchmark === "perplexity") return await measurePerplexity(args, context);
  const marks = ["samples.jsonl"];
  if (out) checkTarget(out, "folder", { overwrite, marks });
  const benchmark = await loadBenchmark(args.data, args.benchmark, { limit: args.limit });
  const answers = kind === "folder" ? await generated(args, benchmark, context) : await given(args, benchmark);
  const { verdicts, ...report } = await graded(args, benchmark, answers.samples, context);
  const result = { ...report, protocol: { ...answers.protocol, ...report.protocol } };
  const lines = (rows: readonly unknown[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  if (out) {
    await writeFolder(out, (folder) => {
      Deno.writeTextFileSync(join(folder, "samples.jsonl"), lines(answers.samples));
      Deno.writeTextFileSync(join(folder, "verdicts.jsonl"), lines(verdicts));
      Deno.writeTextFileSync(join(folder, "report.json"), `${JSON.stringify(result, null, 2)}\n`);
    }, { overwrite, marks });
  }
  for (const [k, { base, plus, interval }] of Object.entries(report.pass_at)) {
    const share = (value: number, [low, high]: readonly [number, number]): string =>
      `${percent(value)} (95%: ${percent(low)} to ${percent(high)})`;
    context.print(`${report.benchmark}, ${report.tasks} tasks, pass@${k}: ${share(base, interval.base)}`);
    if (plus !== null && interval.plus) context.print(`  with the plus tests: ${share(plus, interval.plus)}`);
  }
  return result;
}

interface Answers {
  readonly samples: readonly Sample[];
  readonly protocol: Readonly<Record<string, string | number>>;
}

/** Samples of a file; those of tasks beyond `--limit` are left out. */
async function given({ target, limit }: Arguments<typeof commands.evaluate>, benchmark: Benchmark): Promise<Answers> {
  const samples = await readSamples(target);
  const wanted = new Set(benchmark.tasks.map(({ id }) => id));
  const kept = limit === undefined ? samples : samples.filter(({ task_id }) => wanted.has(task_id));
  return { samples: kept, protocol: { samples: target } };
}

/** Samples that the model generates. */
async function generated(
  { target, prompt, maxTokens, device: name }: Arguments<typeof commands.evaluate>,
  benchmark: Benchmark,
  context: Context,
): Promise<Answers> {
  using tokenizer = loadTokenizer(target);
  using device = await open(name, context);
  using bar = context.progress("generate", undefined, "tokens");
  const loaded = loadModel(target, device);
  const samples = await solve(loaded, tokenizer, device, benchmark, {
    style: prompt,
    maxTokens,
    signal: context.signal,
    onProgress: ({ tokens, done, total }) => bar.update(tokens, `${done} of ${total} tasks`),
  });
  return { samples, protocol: { model: target, prompt, max_tokens: maxTokens, temperature: 0, device: device.name } };
}

async function graded(
  { jobs }: Arguments<typeof commands.evaluate>,
  benchmark: Benchmark,
  samples: readonly Sample[],
  context: Context,
): Promise<Report> {
  using bar = context.progress("grade", samples.length, "samples");
  let passed = 0;
  return await gradeSamples(benchmark, samples, {
    concurrency: jobs ?? Math.min(MOST_JOBS, navigator.hardwareConcurrency),
    onProgress(done, _total, { base }) {
      passed += Number(base);
      bar.update(done, `${passed} passed`);
    },
  });
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)}%`;
}
