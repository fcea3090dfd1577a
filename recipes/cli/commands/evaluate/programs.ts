/** @file `xft evaluate --benchmark multipl-e:LANG` and `ds-1000`: answers that are programs, run natively or by Deno. */
import { join } from "node:path";
import { open } from "../../../../backend/open.ts";
import { loadTokenizer } from "../../../../backend/tokenizer.ts";
import { UserError } from "../../../../dsl/errors.ts";
import { checkTarget, kindOf, writeFolder } from "../../../convert/files.ts";
import { sanitizers } from "../../../evaluate/mod.ts";
import { sampleLines } from "../../../evaluate/samples/files.ts";
import { sampleHashes } from "../../../evaluate/samples/making.ts";
import { loadDs1000 } from "../../../evaluate/programs/ds1000.ts";
import { isLanguage } from "../../../evaluate/programs/languages.ts";
import { gradePrograms, type ProgramBenchmark } from "../../../evaluate/programs/mod.ts";
import { loadMultiplE } from "../../../evaluate/programs/multipl_e.ts";
import type { UnfinishedEvaluation } from "../../../evaluate/samples/unfinished.ts";
import { generate } from "../../../generate/generate.ts";
import { loadModel } from "../../../model/parameters.ts";
import type { commands } from "../../commands.ts";
import type { Context, JsonResult } from "../../context.ts";
import { unfinishedEvaluation } from "./evaluation.ts";
import { type Answers, dataOwn, given } from "./given.ts";
import type { Arguments } from "../../flags/schema.ts";

type EvaluateArguments = Arguments<typeof commands.evaluate>;

/** Benchmarks of programs. */
export type ProgramBenchmarkName = Extract<EvaluateArguments["benchmark"], `multipl-e:${string}` | "ds-1000">;

/** Whether a benchmark's answers are programs that are run by themselves. */
export function isProgramBenchmark(name: string): name is ProgramBenchmarkName {
  return name === "ds-1000" || name.startsWith("multipl-e:");
}

/** Generates (or reads) answers, grades them, writes and says what came out. */
export async function evaluatePrograms(
  args: EvaluateArguments,
  name: ProgramBenchmarkName,
  context: Context,
): Promise<JsonResult> {
  const { target, out, overwrite, jobs } = args, marks = ["samples.jsonl"];
  if (out) checkTarget(out, "folder", { overwrite: overwrite || args.resume, marks });
  const benchmark = await loadPrograms(name, args), unfinished = await unfinishedEvaluation(args, benchmark);
  const missing = await benchmark.missing([...new Set(benchmark.tasks.map(({ needs }) => needs))]);
  const runnable = { ...benchmark, tasks: benchmark.tasks.filter(({ needs }) => !missing.has(needs)) };
  // Answers are generated only for what can be run.
  const answers = kindOf(target) === "folder"
    ? await generated(args, runnable, unfinished, context)
    : await given(args, benchmark.tasks, context);
  using bar = context.progress("grade", answers.samples.length, "samples");
  const { verdicts, ...report } = await gradePrograms(benchmark, answers.samples, {
    concurrency: jobs ?? navigator.hardwareConcurrency,
    known: unfinished.graded,
    onGraded: unfinished.addGraded,
    onProgress: (done) => bar.update(done),
  });
  const graded = new Set(runnable.tasks.map(({ id }) => id));
  const kept = answers.samples.filter(({ task_id }) => graded.has(task_id));
  const result = { ...report, protocol: { ...answers.protocol, ...await sampleHashes(kept), ...report.protocol } };
  if (out) {
    await writeFolder(out, (folder) => {
      Deno.writeTextFileSync(join(folder, "samples.jsonl"), sampleLines(kept));
      Deno.writeTextFileSync(
        join(folder, "verdicts.jsonl"),
        verdicts.map((verdict) => `${JSON.stringify(verdict)}\n`).join(""),
      );
      Deno.writeTextFileSync(join(folder, "report.json"), `${JSON.stringify(result, null, 2)}\n`);
    }, { overwrite: overwrite || args.resume, marks });
    unfinished.finish();
  }
  for (const [needs, { tasks, reason }] of Object.entries(report.not_run)) {
    context.print(`${name}: ${tasks} tasks of ${needs} were not run: ${reason}`);
  }
  for (const [k, { base, interval: { base: [low, high] } }] of Object.entries(report.pass_at)) {
    const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;
    context.print(
      `${name}, ${report.tasks} tasks, pass@${k}: ${percent(base)} (95%: ${percent(low)} to ${percent(high)})`,
    );
  }
  return result;
}

/** Reads a benchmark of programs. @throws {UserError} if its file is malformed */
export async function loadPrograms(
  name: ProgramBenchmarkName,
  { data, limit }: { readonly data: string; readonly limit?: number },
): Promise<ProgramBenchmark> {
  if (name === "ds-1000") return await loadDs1000(data, { limit });
  const language = name.slice("multipl-e:".length);
  if (!isLanguage(language)) throw new UserError(`--benchmark ${name}: there is no such language.`, { usage: true });
  return await loadMultiplE(data, language, limit);
}

async function generated(
  { target, device: name, seed, greedy, ...flags }: EvaluateArguments,
  { tasks, defaults }: ProgramBenchmark,
  { texts, addText }: UnfinishedEvaluation,
  context: Context,
): Promise<Answers> {
  const sampling = greedy ? { ...defaults, samples: 1, temperature: 0, topP: 1 } : defaults;
  const { samples = sampling.samples, temperature = sampling.temperature, topP = sampling.topP } = flags;
  const { maxTokens = defaults.maxTokens } = flags;
  using tokenizer = loadTokenizer(target);
  using device = await open(name, context);
  using bar = context.progress("generate", undefined, "tokens");
  const loaded = loadModel(target, device), answers = new Map(texts);
  const asked = tasks.flatMap((task) => Array.from({ length: samples }, () => task));
  const places = asked.map((task, place) => ({ place, ...task }));
  // Tasks that end at the same texts run together; in most files those are all.
  for (const group of Map.groupBy(places, ({ stop }) => JSON.stringify(stop)).values()) {
    const prompts = group.map(({ prompt }) => tokenizer.encode(prompt));
    await generate(loaded, tokenizer, device, prompts, {
      ...{ maxTokens, temperature, topP, seed, stop: group[0].stop },
      signal: context.signal,
      skip: (index) => texts.has(group[index].place),
      onResult({ text }, index) {
        answers.set(group[index].place, text);
        addText(group[index].place, text);
      },
      onProgress: ({ tokens, done, total }) => bar.update(tokens, `${done} of ${total} answers`),
    });
  }
  const protocol = {
    ...{ model: target, device: device.name, seed },
    ...{ prompt: dataOwn, stop: dataOwn },
    ...{ max_tokens: maxTokens, temperature, top_p: topP, sanitizer: sanitizers.none },
  };
  return { samples: asked.map(({ id }, place) => ({ task_id: id, completion: answers.get(place)! })), protocol };
}
