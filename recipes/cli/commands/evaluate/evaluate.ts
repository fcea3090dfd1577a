/** @file `xft evaluate`: pass@k of a model or of a file of samples, perplexity, or choices. */
import { join } from "node:path";
import { open } from "../../../../backend/open.ts";
import { loadTokenizer } from "../../../../backend/tokenizer.ts";
import { UserError } from "../../../../dsl/errors.ts";
import { checkTarget, kindOf, writeFolder } from "../../../convert/files.ts";
import {
  type Benchmark,
  gradeSamples,
  loadBenchmark,
  openNativeSandbox,
  openSandbox,
  type Report,
  type Sample,
  sanitizerGrammar,
  sanitizers,
  styleRules,
} from "../../../evaluate/mod.ts";
import { evaluatePrograms, isProgramBenchmark } from "./programs.ts";
import { trainedPrompt } from "../../../evaluate/benchmarks/trained_prompt.ts";
import type { GradeOptions } from "../../../evaluate/grading/grade.ts";
import type { Progress } from "../../output/progress.ts";
import { sampleLines } from "../../../evaluate/samples/files.ts";
import { sampleHashes } from "../../../evaluate/samples/making.ts";
import type { UnfinishedEvaluation } from "../../../evaluate/samples/unfinished.ts";
import { loadModel } from "../../../model/parameters.ts";
import type { commands } from "../../commands.ts";
import type { Context, JsonResult } from "../../context.ts";
import type { Arguments } from "../../flags/schema.ts";
import { unfinishedEvaluation } from "./evaluation.ts";
import { type Answers, checkGenerated, given } from "./given.ts";
import { solve } from "./solve.ts";
import { measureChoices } from "./choices.ts";
import { measurePerplexity } from "./perplexity.ts";

/** Sandboxes at a time, at most, unless the user says otherwise: each may take half a gigabyte. */
const MOST_JOBS = 8;

/** Runs the command. */
export async function run(args: Arguments<typeof commands.evaluate>, context: Context): Promise<JsonResult> {
  const { target, out, overwrite, resume } = args;
  const kind = kindOf(target);
  if (kind === "nothing") throw new UserError(`${target}: there is no such model or file of samples.`);
  if (kind === "folder") checkGenerated(args);
  if (args.benchmark === "perplexity") return await measurePerplexity(args, context);
  if (args.benchmark === "choices") return await measureChoices(args, context);
  if (isProgramBenchmark(args.benchmark)) return await evaluatePrograms(args, args.benchmark, context);
  const marks = ["samples.jsonl"];
  if (out) checkTarget(out, "folder", { overwrite: overwrite || resume, marks });
  const benchmark = await loadBenchmark(args.data, args.benchmark, { limit: args.limit });
  const unfinished = await unfinishedEvaluation(args, benchmark);
  const answers = kind === "folder"
    ? await generated(args, benchmark, unfinished, context)
    : await given(args, benchmark.tasks, context);
  const { verdicts, ...report } = await graded(args, benchmark, answers.samples, unfinished, context);
  const hashes = await sampleHashes(answers.samples, answers.raw);
  const result = { ...report, protocol: { ...answers.protocol, ...hashes, ...report.protocol } };
  if (out) {
    await writeFolder(out, (folder) => {
      Deno.writeTextFileSync(join(folder, "samples.jsonl"), sampleLines(answers.samples));
      if (answers.raw) Deno.writeTextFileSync(join(folder, "samples.raw.jsonl"), sampleLines(answers.raw));
      Deno.writeTextFileSync(
        join(folder, "verdicts.jsonl"),
        verdicts.map((verdict) => `${JSON.stringify(verdict)}\n`).join(""),
      );
      Deno.writeTextFileSync(join(folder, "report.json"), `${JSON.stringify(result, null, 2)}\n`);
    }, { overwrite: overwrite || resume, marks });
    unfinished.finish();
  }
  for (const [k, { base, plus, interval }] of Object.entries(report.pass_at)) {
    const share = (value: number, [low, high]: readonly [number, number]): string =>
      `${percent(value)} (95%: ${percent(low)} to ${percent(high)})`;
    context.print(`${report.benchmark}, ${report.tasks} tasks, pass@${k}: ${share(base, interval.base)}`);
    if (plus !== null && interval.plus) context.print(`  with the plus tests: ${share(plus, interval.plus)}`);
  }
  return result;
}

/** Samples that the model generates. */
async function generated(
  args: Arguments<typeof commands.evaluate>,
  benchmark: Benchmark,
  { texts, addText }: UnfinishedEvaluation,
  context: Context,
): Promise<Answers> {
  const { target, seed } = args, { samples: samplesPerTask = 1, temperature = 0, topP = 1 } = args;
  using tokenizer = loadTokenizer(target);
  const { prompt = trainedPrompt(target, tokenizer.chatTemplate !== undefined) } = args;
  if (prompt === "data") throw new RangeError("only benchmarks of programs have prompts of their own");
  if (args.prompt === undefined) context.note(`--prompt ${prompt}: as the model was trained (or has a template)`);
  using device = await open(args.device, context);
  using bar = context.progress("generate", undefined, "tokens");
  const maxTokens = args.maxTokens ?? styleRules[prompt].maxTokens;
  const { samples, raw, stop } = await solve(loadModel(target, device), tokenizer, device, benchmark, {
    ...{ style: prompt, maxTokens, temperature, topP, seed, samplesPerTask },
    ...{ texts, addText, signal: context.signal },
    onProgress: ({ tokens, done, total }) => bar.update(tokens, `${done} of ${total} answers`),
  });
  const protocol = {
    ...{ model: target, device: device.name, seed },
    ...{ prompt, stop, max_tokens: maxTokens, temperature, top_p: topP },
    ...(raw
      ? { sanitizer: sanitizers.evalplus, sanitizer_grammar: sanitizerGrammar }
      : { sanitizer: sanitizers.fence }),
  };
  return { samples, raw, protocol };
}

async function graded(
  args: Arguments<typeof commands.evaluate>,
  benchmark: Benchmark,
  samples: readonly Sample[],
  unfinished: UnfinishedEvaluation,
  context: Context,
): Promise<Report> {
  using bars = gradingBars(samples.length, context);
  const concurrency = args.jobs ?? Math.min(MOST_JOBS, navigator.hardwareConcurrency);
  await using sandbox = args.sandbox === "bwrap"
    ? await openNativeSandbox({ concurrency })
    : await openSandbox({ concurrency });
  return await gradeSamples(benchmark, samples, {
    sandbox,
    known: unfinished.graded,
    onGraded: unfinished.addGraded,
    onReference: bars.onReference,
    onProgress: bars.onProgress,
  });
}

/** Two lines of progress, one after the other: what is expected becomes known, then samples are graded. */
function gradingBars(
  samples: number,
  context: Context,
): Required<Pick<GradeOptions, "onReference" | "onProgress">> & Disposable {
  const bars = new DisposableStack();
  let passed = 0, references: Progress | undefined, grading: Progress | undefined;
  return {
    onReference(done, total) {
      references ??= bars.use(context.progress("run canonical solutions", total, "tasks"));
      references.update(done);
      if (done < total) return;
      references.finish();
      references = undefined;
    },
    onProgress(done, _total, { base }) {
      passed += Number(base);
      if (references) return;
      grading ??= bars.use(context.progress("grade", samples, "samples"));
      grading.update(done, `${passed} passed`);
    },
    [Symbol.dispose]: () => bars.dispose(),
  };
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)}%`;
}
