/** @file One row of the miniature run's table: a model answers every held-out task, and its programs run. */
import type { Device } from "../../backend/runtime.ts";
import type { Outcome, Sandbox } from "../evaluate/sandbox/pyodide.ts";
import { runTasks } from "../evaluate/sandbox/tasks.ts";
import { exactInterval, type Interval } from "../evaluate/statistics/estimate.ts";
import { generate } from "../generate/mod.ts";
import { batchesOf } from "../model/batch.ts";
import { evaluator } from "../model/loss.ts";
import { countParameters } from "../model/layout.ts";
import type { Loaded } from "../model/parameters.ts";
import type { Task } from "./family/mod.ts";
import { judge } from "./judge.ts";
import { decode, encodePrompt, encodeTask, sourceOf, special, vocabulary } from "./tokenizer.ts";

/** What is known of one way to answer the held-out tasks. */
export interface Row {
  readonly name: string;
  /** Weights of the model that answers; absent for retrieval. */
  readonly parameters?: number;
  /** Mean nats of a held-out answer's token; absent for retrieval. */
  readonly loss?: number;
  /** For each task: does the program return what it should? */
  readonly passed: readonly boolean[];
  /** Share of tasks passed. */
  readonly passAt1: number;
  /** Its 95% interval (exact). */
  readonly interval: Interval;
  /** Seconds of training that this row took beyond the base model's. */
  readonly trainingSeconds: number;
  /** Seconds of generating and running. */
  readonly evaluationSeconds: number;
}

/** What rows have in common. */
export interface RowContext {
  readonly device: Device;
  readonly sandbox: Sandbox;
  readonly tasks: readonly Task[];
  readonly newTokens: number;
  /** Verdicts by task and program: rows often answer alike, and a program does the same every time. */
  readonly known: Map<string, boolean>;
  readonly signal?: AbortSignal;
  /** Called while tasks are answered and run. */
  readonly onProgress?: (what: string, done: number, total: number) => void;
}

/** Values of a sample's calls, where all of them came back. */
const valuesOf = (outcome: Outcome): unknown[] | undefined =>
  outcome.kind === "values" && outcome.results.every((result) => "value" in result)
    ? outcome.results.map((result) => (result as { value: unknown }).value)
    : undefined;

/** Runs one program per task in the sandbox and judges what it returned, outside. */
async function passes(
  programs: readonly string[],
  { sandbox, tasks, known, signal, onProgress }: RowContext,
): Promise<boolean[]> {
  signal?.throwIfAborted();
  const key = (i: number): string => `${tasks[i].id} ${programs[i]}`;
  const fresh = tasks.map((_, i) => i).filter((i) => !known.has(key(i)));
  const samples = fresh.map((i) => ({ code: programs[i], entry: tasks[i].entry, inputs: tasks[i].inputs }));
  const onDone = (_: number, __: Outcome, done: number, total: number): void =>
    onProgress?.("running programs", done, total);
  const outcomes = await runTasks(samples, { sandbox, seconds: 5, onDone });
  outcomes.forEach((outcome, at) => known.set(key(fresh[at]), judge(valuesOf(outcome), tasks[fresh[at]].expected)));
  return tasks.map((_, i) => known.get(key(i))!);
}

/** A row from programs that exist already (retrieval). */
export async function rowOfPrograms(name: string, programs: readonly string[], context: RowContext): Promise<Row> {
  const began = performance.now(), passed = await passes(programs, context);
  return finish(name, passed, 0, began);
}

/** A row from a model: its loss on the held-out answers, and what its own answers do. */
export async function rowOfModel(
  name: string,
  loaded: Loaded,
  trainingSeconds: number,
  context: RowContext,
): Promise<Row> {
  const began = performance.now(), { device, tasks, newTokens, signal, onProgress } = context;
  const { maxPositions } = loaded.config;
  const batches = batchesOf(tasks.map(encodeTask), { batch: 64, seq: maxPositions, bucket: 16 });
  const { nll } = await evaluator(loaded.config, device)(loaded.model, batches, signal);
  const decoder = { vocabSize: vocabulary.length, eos: special.eos, decode: (ids: Iterable<number>) => decode(ids) };
  const answers = await generate(loaded, decoder, device, tasks.map(({ instruction }) => encodePrompt(instruction)), {
    maxTokens: newTokens,
    batch: 100,
    stopTokens: [special.eos],
    signal,
    onProgress: ({ done, total }) => onProgress?.("answering", done, total),
  });
  const passed = await passes(answers.map(({ ids }) => sourceOf(ids)), context);
  return {
    ...finish(name, passed, trainingSeconds, began),
    loss: nll,
    parameters: countParameters(loaded.config).total,
  };
}

function finish(name: string, passed: readonly boolean[], trainingSeconds: number, began: number): Row {
  const right = passed.filter(Boolean).length;
  return {
    name,
    passed,
    passAt1: right / passed.length,
    interval: exactInterval(right, passed.length),
    trainingSeconds,
    evaluationSeconds: (performance.now() - began) / 1000,
  };
}

/** The table, one line per row. */
export function table(rows: readonly Row[]): string {
  const percent = (share: number): string => (100 * share).toFixed(1);
  const cells = rows.map((
    { name, passed, passAt1, interval: [low, high], loss, parameters, trainingSeconds, evaluationSeconds },
  ) => [
    name,
    `${percent(passAt1)}%`,
    `${percent(low)}–${percent(high)}`,
    `${passed.filter(Boolean).length}/${passed.length}`,
    loss === undefined ? "" : loss.toFixed(4),
    parameters === undefined ? "" : parameters.toLocaleString("en"),
    trainingSeconds === 0 ? "" : `${trainingSeconds.toFixed(0)} s`,
    `${evaluationSeconds.toFixed(0)} s`,
  ]);
  const all = [["row", "pass@1", "95% interval", "passed", "loss", "parameters", "training", "evaluation"], ...cells];
  const widths = all[0].map((_, column) => Math.max(...all.map((line) => line[column].length)));
  return all.map((line) =>
    line.map((cell, column) => column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column])).join("  ")
      .trimEnd()
  ).join("\n");
}
