/**
 * @file Benchmarks whose tasks are whole programs that pass by ending well: MultiPL-E and DS-1000.
 */
import { UserError } from "../../../dsl/errors.ts";
import type { GradeOptions, Sample, Verdict } from "../grading/grade.ts";
import type { Protocol } from "../protocol.ts";
import { type Interval, passAtOverTasks } from "../statistics/estimate.ts";

/** A task whose answer becomes a program. */
export interface ProgramTask {
  /** As the data calls it. */
  readonly id: string;
  /** What the model continues. */
  readonly prompt: string;
  /** Where its answer ends. */
  readonly stop: readonly string[];
  /** The answer in what the model added. */
  answer(completion: string): string;
  /** The program that tests an answer. */
  program(answer: string): string;
  /** What the machine must have to run it: a language, or a library. */
  readonly needs: string;
}

/** Why a program failed; undefined where it passed. */
export type Run = (program: string, needs: string) => Promise<string | undefined>;

/** A benchmark of programs. */
export interface ProgramBenchmark {
  /** Such as `multipl-e:js` or `ds-1000`. */
  readonly name: string;
  /** SHA-256 of the file. */
  readonly sha256: string;
  /** In the file's order. */
  readonly tasks: readonly ProgramTask[];
  /** How many answers of how many tokens, sampled how, unless the user says otherwise. */
  readonly defaults: {
    readonly samples: number;
    readonly temperature: number;
    readonly topP: number;
    readonly maxTokens: number;
  };
  /** What of the named needs is missing here, with the reason. */
  missing(needs: readonly string[]): Promise<ReadonlyMap<string, string>>;
  /** Runs a program. */
  readonly run: Run;
  /** What runs the programs, and its limits, for the protocol. */
  readonly sandbox: string;
}

/** What grading programs gives. */
export interface ProgramReport {
  /** Which benchmark. */
  readonly benchmark: string;
  /** Tasks that were run. */
  readonly tasks: number;
  /** Tasks that could not be run here, by what is missing; they count neither as passed nor as failed. */
  readonly not_run: Readonly<Record<string, { readonly tasks: number; readonly reason: string }>>;
  /** Samples graded. */
  readonly samples: number;
  /** Samples that passed; null where nothing was run. */
  readonly passed: { readonly base: number | null; readonly plus: null };
  /** Mean pass@k over the tasks that were run, by k; empty where none was. */
  readonly pass_at: Readonly<
    Record<string, { readonly base: number; readonly plus: null; readonly interval: { base: Interval; plus: null } }>
  >;
  /** One for each sample that was run. */
  readonly verdicts: readonly Verdict[];
  /** What the numbers depend on. */
  readonly protocol: Protocol;
}

/** Settings of {@link gradePrograms}. */
export type ProgramOptions = Pick<GradeOptions, "concurrency" | "k" | "known" | "onGraded" | "onProgress">;

/**
 * Grades answers. A task whose language or library is missing is not run, whatever its samples; every other task needs
 * one. A sample's `completion` is what follows the prompt, its `solution` is prompt and answer together.
 *
 * @throws {UserError} if a sample names an unknown task, or a task that can be run has none
 */
export async function gradePrograms(
  benchmark: ProgramBenchmark,
  samples: readonly Sample[],
  options: ProgramOptions = {},
): Promise<ProgramReport> {
  const { concurrency = 2, k = [1, 10, 100], known } = options;
  const tasks = new Map(benchmark.tasks.map((task) => [task.id, task]));
  const unknown = samples.find(({ task_id }) => !tasks.has(task_id));
  if (unknown) throw new UserError(`sample of task "${unknown.task_id}": the benchmark has no such task.`);
  const missing = await benchmark.missing([...new Set(benchmark.tasks.map(({ needs }) => needs))]);
  const runnable = benchmark.tasks.filter(({ needs }) => !missing.has(needs));
  const counts = new Map(runnable.map(({ id }) => [id, { samples: 0, right: 0 }]));
  const wanted = samples.filter(({ task_id }) => counts.has(task_id));
  for (const { task_id } of wanted) counts.get(task_id)!.samples++;
  const without = runnable.filter(({ id }) => counts.get(id)!.samples === 0);
  if (without.length > 0) {
    throw new UserError(
      `${without.length} of ${runnable.length} tasks have no sample, the first is ${
        without[0].id
      }; every task needs one.`,
    );
  }
  const reasons = new Map<string, Promise<string | undefined>>();
  const verdicts = await inOrder(wanted, concurrency, async (sample, place) => {
    const old = known?.get(place);
    if (old) return old.verdict;
    const task = tasks.get(sample.task_id)!, program = task.program(answerOf(task, sample));
    const key = `${task.id}\n${program}`;
    if (!reasons.has(key)) reasons.set(key, benchmark.run(program, task.needs));
    const reason = await reasons.get(key)!;
    const verdict = { task_id: task.id, base: reason === undefined, plus: null, reason: reason ?? "" };
    options.onGraded?.(place, { verdict, leftOut: [] });
    return verdict;
  }, options.onProgress);
  for (const { task_id, base } of verdicts) if (base) counts.get(task_id)!.right++;
  return reportOf(benchmark, verdicts, [...counts.values()], missing, k);
}

/** What the verdicts come to. */
function reportOf(
  benchmark: ProgramBenchmark,
  verdicts: ProgramReport["verdicts"],
  rows: readonly { readonly samples: number; readonly right: number }[],
  missing: ReadonlyMap<string, string>,
  k: readonly number[],
): ProgramReport {
  const smallest = Math.min(...rows.map((row) => row.samples));
  const left = Map.groupBy(benchmark.tasks.filter(({ needs }) => missing.has(needs)), ({ needs }) => needs);
  return {
    benchmark: benchmark.name,
    tasks: rows.length,
    not_run: Object.fromEntries(
      [...left].map(([needs, list]) => [needs, { tasks: list.length, reason: missing.get(needs)! }]),
    ),
    samples: verdicts.length,
    passed: { base: rows.length === 0 ? null : verdicts.filter(({ base }) => base).length, plus: null },
    pass_at: Object.fromEntries(
      k.filter((each) => rows.length > 0 && each <= smallest).map((each) => {
        const { value, interval } = passAtOverTasks(each, rows);
        return [String(each), { base: value, plus: null, interval: { base: interval, plus: null } }];
      }),
    ),
    verdicts,
    protocol: {
      dataset: benchmark.name,
      dataset_sha256: benchmark.sha256,
      tasks: rows.length,
      samples_per_task: rows.length > 0 ? smallest : 0,
      sandbox: benchmark.sandbox,
      interval: "95%: exact (Clopper–Pearson) for one sample a task, else a bootstrap over tasks",
    },
  };
}

function answerOf(task: ProgramTask, { solution, completion }: Sample): string {
  if (completion !== undefined) return task.answer(completion);
  const text = solution ?? "";
  return task.answer(text.startsWith(task.prompt) ? text.slice(task.prompt.length) : text);
}

async function inOrder(
  samples: readonly Sample[],
  concurrency: number,
  grade: (sample: Sample, place: number) => Promise<Verdict>,
  onProgress: ProgramOptions["onProgress"],
): Promise<Verdict[]> {
  const verdicts: Verdict[] = [];
  let next = 0, done = 0;
  const worker = async (): Promise<void> => {
    while (next < samples.length) {
      const place = next++;
      verdicts[place] = await grade(samples[place], place);
      onProgress?.(++done, samples.length, verdicts[place]);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return verdicts;
}
