/** @file Grades samples of a benchmark: base and plus tests from the same samples, pass@k, and the protocol beside it. */
import { UserError } from "../../../dsl/errors.ts";
import type { Benchmark, Task } from "../benchmarks/load.ts";
import { type Interval, passAtOverTasks } from "../statistics/estimate.ts";
import { isRight } from "./oracle.ts";
import { type Protocol, releaseOf } from "../protocol.ts";
import { digestAbove, type Expected, type Reference, referenceOf } from "./reference.ts";
import { judge, programFor } from "./replay.ts";
import { openSandbox, type Outcome, type Sandbox } from "../sandbox/pyodide.ts";
import { show } from "../python/values.ts";

/** One answer of a model, as evalplus' sample files have it. */
export interface Sample {
  /** Which task it answers. */
  readonly task_id: string;
  /** The whole program. */
  readonly solution?: string;
  /** What follows the task's prompt; used where there is no `solution`. */
  readonly completion?: string;
}

/** How one sample did. */
export interface Verdict {
  /** Which task the sample answers. */
  readonly task_id: string;
  /** The base tests passed. */
  readonly base: boolean;
  /** Base and plus tests passed; null where the benchmark has no plus tests. */
  readonly plus: boolean | null;
  /** Why it failed; empty where it passed. */
  readonly reason: string;
}

/** What `xft evaluate` reports. */
export interface Report {
  /** Which benchmark. */
  readonly benchmark: Benchmark["name"];
  /** Tasks in it. */
  readonly tasks: number;
  /** Samples graded. */
  readonly samples: number;
  /** Samples that passed. */
  readonly passed: { readonly base: number; readonly plus: number | null };
  /** Mean pass@k over tasks, by k; `interval` is the 95% interval of each. */
  readonly pass_at: Readonly<
    Record<string, {
      readonly base: number;
      readonly plus: number | null;
      readonly interval: { readonly base: Interval; readonly plus: Interval | null };
    }>
  >;
  /** One for each sample, in their order. */
  readonly verdicts: readonly Verdict[];
  /** What the numbers depend on: dataset, oracle, sandbox, limits. */
  readonly protocol: Protocol;
}

/** Settings of {@link gradeSamples}. */
export interface GradeOptions {
  /** Samples graded at the same time. Default 2. */
  readonly concurrency?: number;
  /** A call may always take this long, in seconds. Default 5. */
  readonly minCallSeconds?: number;
  /** A call may take this many times as long as the canonical solution took. Default 4. */
  readonly timeFactor?: number;
  /** The k of pass@k; those larger than the number of samples are left out. Default 1, 10, 100. */
  readonly k?: readonly number[];
  /** Tasks without a sample count as failed. Default: they are an error. */
  readonly allowMissing?: boolean;
  /** Grade in this sandbox instead of one of its own. */
  readonly sandbox?: Sandbox;
  /** What an earlier run found, by the sample's place: those are not run again. */
  readonly known?: ReadonlyMap<number, Graded>;
  /** Called with what was found of a sample that is not `known`, by its place. */
  readonly onGraded?: (place: number, graded: Graded) => void;
  /** Called as what is expected becomes known, with 0 before the first task; not at all where nothing is to be run. */
  readonly onReference?: (done: number, total: number) => void;
  /** Called after each sample. */
  readonly onProgress?: (done: number, total: number, verdict: Verdict) => void;
}

/** What grading found of a sample. */
export interface Graded {
  /** How it did. */
  readonly verdict: Verdict;
  /** Places of its task's inputs that were left out: the sandbox's memory does not hold what they give. */
  readonly leftOut: readonly number[];
}

/**
 * Grades samples. Each runs in an interpreter of its own (one for the base tests, a second one for the plus tests, as in
 * evalplus), stops at its first wrong call, and is judged outside by evalplus' rules. Samples with the same text for the
 * same task are run once.
 *
 * Time: a call may take max(`minCallSeconds`, `timeFactor` × the canonical solution's time in the same sandbox); a sample
 * the sum of that, at most max(60, `timeFactor` × the canonical solution's whole time) seconds.
 *
 * @throws UserError where a sample names an unknown task or a task has no sample
 *
 * @example
 * ```ts ignore
 * import { gradeSamples, loadBenchmark } from "../mod.ts";
 * const benchmark = await loadBenchmark("HumanEvalPlus.jsonl.gz", "humaneval", { limit: 1 });
 * const completion = "    return any(abs(a - b) < threshold for i, a in enumerate(numbers) for b in numbers[:i])";
 * const report = await gradeSamples(benchmark, [{ task_id: "HumanEval/0", completion }]);
 * console.log(report.passed, report.pass_at["1"].interval);
 * ```
 */
export async function gradeSamples(
  benchmark: Benchmark,
  samples: readonly Sample[],
  options: GradeOptions = {},
): Promise<Report> {
  const tasks = new Map(benchmark.tasks.map((task) => [task.id, task]));
  const programs = samples.map((sample) => program(tasks, sample));
  const counts = new Map(benchmark.tasks.map((task) => [task.id, 0]));
  for (const { task } of programs) counts.set(task.id, counts.get(task.id)! + 1);
  const missing = [...counts].filter(([, count]) => count === 0).map(([id]) => id);
  if (missing.length > 0 && !options.allowMissing) {
    throw new UserError(
      `${missing.length} of ${tasks.size} tasks have no sample, the first is ${missing[0]}; every task needs one.`,
    );
  }
  const own = options.sandbox ? undefined : await openSandbox({ concurrency: options.concurrency ?? 2 });
  try {
    const sandbox = options.sandbox ?? own!;
    const graded = await gradeAll(benchmark, programs, sandbox, options);
    const leftOut = new Map(graded.map(({ verdict: { task_id }, leftOut }) => [task_id, leftOut]));
    const inputs = [...leftOut].filter(([, places]) => places.length > 0)
      .map(([id, places]) => `${id} input ${places.join(", ")}`);
    return report(benchmark, graded.map(({ verdict }) => verdict), inputs, sandbox, options);
  } finally {
    await own?.[Symbol.asyncDispose]();
  }
}

interface Program {
  readonly task: Task;
  readonly code: string;
}

function program(tasks: ReadonlyMap<string, Task>, sample: Sample): Program {
  const task = tasks.get(sample.task_id);
  if (!task) throw new UserError(`sample of task "${sample.task_id}": the benchmark has no such task.`);
  if (sample.solution !== undefined) return { task, code: sample.solution };
  if (sample.completion !== undefined) return { task, code: task.prompt + sample.completion };
  throw new UserError(`sample of task "${sample.task_id}": it has neither "solution" nor "completion".`);
}

async function gradeAll(
  benchmark: Benchmark,
  programs: readonly Program[],
  sandbox: Sandbox,
  { known, onGraded, onReference, onProgress, ...options }: GradeOptions,
): Promise<Graded[]> {
  const references = new Map<string, Promise<Reference>>(), graded = new Map<string, Promise<Graded>>();
  const keyOf = ({ task, code }: Program): string => `${task.id}\n${code}`;
  for (const [place, old] of known ?? []) graded.set(keyOf(programs[place]), Promise.resolve(old));
  const toRun = programs.filter((program) => program.task.unrunnable === undefined && !graded.has(keyOf(program)));
  const expected = { done: 0, total: new Set(toRun.map(({ task }) => task.id)).size };
  if (expected.total > 0) onReference?.(0, expected.total);
  const refer = async (task: Task): Promise<Reference> => {
    const reference = await referenceOf(benchmark, task, sandbox);
    onReference?.(++expected.done, expected.total);
    return reference;
  };
  const first = async ({ task, code }: Program): Promise<Graded> => {
    if (task.unrunnable !== undefined) {
      return { verdict: { task_id: task.id, base: false, plus: null, reason: task.unrunnable }, leftOut: [] };
    }
    if (!references.has(task.id)) references.set(task.id, refer(task));
    const reference = await references.get(task.id)!;
    return { verdict: await grade(task, code, reference, sandbox, options), leftOut: reference.leftOut };
  };
  let done = 0;
  return await Promise.all(programs.map(async (program, place) => {
    const key = keyOf(program);
    if (!graded.has(key)) graded.set(key, first(program));
    const found = await graded.get(key)!;
    if (!known?.has(place)) onGraded?.(place, found);
    onProgress?.(++done, programs.length, found.verdict);
    return found;
  }));
}

async function grade(
  task: Task,
  code: string,
  reference: Reference,
  sandbox: Sandbox,
  options: GradeOptions,
): Promise<Verdict> {
  const hasPlus = task.plus.length > 0;
  const base = await failure(task, code, reference.base, sandbox, options);
  if (base !== undefined) return { task_id: task.id, base: false, plus: hasPlus ? false : null, reason: base };
  if (!hasPlus) return { task_id: task.id, base: true, plus: null, reason: "" };
  const plus = await failure(task, code, reference.plus, sandbox, options);
  return { task_id: task.id, base: true, plus: plus === undefined, reason: plus === undefined ? "" : `plus: ${plus}` };
}

/** Runs the code on a set of inputs; why it fails, or undefined where it passes. */
async function failure(
  task: Task,
  code: string,
  expected: Expected,
  sandbox: Sandbox,
  options: GradeOptions,
): Promise<string | undefined> {
  const { minCallSeconds = 5, timeFactor = 4 } = options;
  const callSeconds = expected.seconds.map((seconds) => Math.max(minCallSeconds, timeFactor * seconds));
  const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
  const most = Math.max(60, timeFactor * sum(expected.seconds));
  const seconds = Math.min(most, sum(callSeconds)) + 1;
  const { inputs } = expected;
  const program = task.check === undefined ? { code, entry: task.entry } : programFor(code, task.entry, inputs);
  const limits = {
    seconds,
    callSeconds,
    stopAtError: true,
    digestAbove: task.check === undefined ? digestAbove : undefined,
  };
  const outcome = await sandbox.run({ ...program, inputs, ...limits });
  const outputs = [];
  for (const [i, result] of outcome.results.entries()) {
    const at = `input ${i + 1}`;
    if ("error" in result) return `${at}: ${result.error.type}: ${result.error.message}`;
    if (task.check === undefined && !isRight(task, expected.inputs[i], result.value, expected.outputs[i])) {
      return `${at}: returned ${show(result.value)}, expected ${show(expected.outputs[i])}`;
    }
    outputs.push(result.value);
  }
  if (outcome.kind !== "values") return ending(outcome);
  if (outputs.length !== expected.inputs.length) {
    return `${outputs.length} of ${expected.inputs.length} calls were made`;
  }
  return task.check === undefined ? undefined : await judge(task, expected.inputs, outputs, sandbox);
}

function ending(outcome: Exclude<Outcome, { kind: "values" }>): string {
  return outcome.kind === "error"
    ? `${outcome.error.type}: ${outcome.error.message}`
    : `${outcome.kind}: ${outcome.detail}`;
}

/** Base and plus tests passed; a task without plus tests passes with its base tests. */
function passesPlus(verdict: Verdict): boolean {
  return verdict.base && verdict.plus !== false;
}

function report(
  benchmark: Benchmark,
  verdicts: readonly Verdict[],
  leftOut: readonly string[],
  sandbox: Sandbox,
  options: GradeOptions,
): Report {
  const tally = (passes: (verdict: Verdict) => boolean) => {
    const tasks = new Map(benchmark.tasks.map((task) => [task.id, { samples: 0, right: 0 }]));
    for (const verdict of verdicts) {
      const counts = tasks.get(verdict.task_id)!;
      counts.samples++;
      if (passes(verdict)) counts.right++;
    }
    // A task without a sample is a task with one wrong sample.
    return [...tasks.values()].map((counts) => counts.samples === 0 ? { samples: 1, right: 0 } : counts);
  };
  const base = tally((verdict) => verdict.base);
  const plus = benchmark.hasPlus ? tally(passesPlus) : undefined;
  const smallest = Math.min(...base.map(({ samples }) => samples));
  const pass_at = Object.fromEntries(
    (options.k ?? [1, 10, 100]).filter((k) => k <= smallest).map((k) => {
      const [onBase, onPlus] = [passAtOverTasks(k, base), plus && passAtOverTasks(k, plus)];
      const interval = { base: onBase.interval, plus: onPlus?.interval ?? null };
      return [String(k), { base: onBase.value, plus: onPlus?.value ?? null, interval }];
    }),
  );
  const count = (passes: (verdict: Verdict) => boolean): number => verdicts.filter(passes).length;
  return {
    benchmark: benchmark.name,
    tasks: benchmark.tasks.length,
    samples: verdicts.length,
    passed: { base: count((v) => v.base), plus: benchmark.hasPlus ? count(passesPlus) : null },
    pass_at,
    verdicts,
    protocol: {
      dataset: releaseOf(benchmark.sha256),
      dataset_sha256: benchmark.sha256,
      tasks: benchmark.tasks.length,
      samples_per_task: smallest,
      oracle: benchmark.tasks.some((task) => task.check !== undefined)
        ? "the benchmark's own tests, replayed outside"
        : "evalplus 0.3.1",
      sandbox: sandbox.description,
      ...(leftOut.length > 0 ? { left_out: `more than the sandbox's memory holds: ${leftOut.join("; ")}` } : {}),
      min_call_seconds: options.minCallSeconds ?? 5,
      time_factor: options.timeFactor ?? 4,
      interval: "95%: exact (Clopper–Pearson) for one sample a task, else a bootstrap over tasks",
    },
  };
}
