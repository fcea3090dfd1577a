/**
 * @file What the canonical solutions return: computed here, in interpreters of their own, and kept in the user's cache.
 *
 * For tasks whose tests are code (`check(candidate)`, the original HumanEval) the arguments of each call are recorded
 * with the canonical solution as the candidate; see `replay.ts`.
 */
import { UserError } from "../../../dsl/errors.ts";
import type { Benchmark, Task } from "../benchmarks/load.ts";
import { sha256 } from "../bytes.ts";
import { cacheFile, readChecked, writeChecked } from "../sandbox/image.ts";
import { decode, encode } from "../python/marshal.ts";
import { recordProgram } from "./replay.ts";
import type { Outcome, Sandbox } from "../sandbox/pyodide.ts";
import { type PyBytes, type PythonValue, Tuple } from "../python/values.ts";

/** One set of inputs with what is expected of them. */
export interface Expected {
  /** Arguments of each call. */
  readonly inputs: readonly (readonly PythonValue[])[];
  /** What the canonical solution returned. */
  readonly outputs: readonly PythonValue[];
  /** How long it took for each input, in seconds. */
  readonly seconds: readonly number[];
}

/** What is expected in a task. */
export interface Reference {
  /** Places of inputs (base and plus counted together, from 1) that are more than the sandbox's memory can hold. */
  readonly leftOut: readonly number[];
  /** The base tests. */
  readonly base: Expected;
  /** The plus tests. */
  readonly plus: Expected;
}

/**
 * Outputs whose encoding is longer are compared by its hash: some are megabytes each, 140 MB in one task of HumanEval+.
 * (Such an output is right only where its types are the same too.)
 */
export const digestAbove: number = 2 ** 20;

/** Form of the cached files; raised when they change. */
const cacheVersion = "3";

/** Long enough for the slowest canonical solution under WebAssembly. */
const limitSeconds = 3600;

/**
 * The reference of one task, from the cache or computed.
 *
 * @throws UserError where the canonical solution does not run: the benchmark's file is not what it should be
 */
export async function referenceOf(benchmark: Benchmark, task: Task, sandbox: Sandbox): Promise<Reference> {
  const key = await sha256([cacheVersion, sandbox.interpreter, benchmark.name, benchmark.sha256, task.id].join("\n"));
  const path = cacheFile(`reference-${key.slice(0, 32)}`);
  const kept = await readChecked(path);
  if (kept) return unpack(task, decode(kept));
  const body = task.check === undefined ? await computed(task, sandbox) : await recorded(task, sandbox);
  await writeChecked(path, encode(body));
  return unpack(task, body);
}

/**
 * Runs the canonical solution on all inputs: a list of (output, seconds). None stands for an input on which it runs out
 * of the sandbox's memory or output (one task of MBPP+ returns a list of 1.2 GB).
 */
async function computed(task: Task, sandbox: Sandbox): Promise<PythonValue> {
  const inputs = [...task.base, ...task.plus];
  const rows: PythonValue[] = [];
  while (rows.length < inputs.length) {
    const outcome = await sandbox.run({
      code: task.prompt + task.canonical,
      entry: task.entry,
      inputs: inputs.slice(rows.length),
      seconds: limitSeconds,
      digestAbove,
    });
    for (const result of outcome.results) {
      if ("value" in result) rows.push(new Tuple([result.value, result.seconds]));
      else if (result.error.type === "MemoryError") rows.push(null);
      else throw doesNotRun(task, `${result.error.type}: ${result.error.message}`);
    }
    if (rows.length === inputs.length) break;
    if (outcome.kind !== "memory" && outcome.kind !== "output") throw doesNotRun(task, reasonOf(outcome));
    // Ended from outside in the middle of a call: the rest goes on in another interpreter.
    rows.push(null);
  }
  return rows;
}

/** Runs the task's own tests with the canonical solution: a list of (marshal of the arguments, seconds). */
async function recorded(task: Task, sandbox: Sandbox): Promise<PythonValue> {
  const outcome = await sandbox.run({
    code: recordProgram(task),
    entry: "xft_record",
    inputs: [[]],
    seconds: limitSeconds,
  });
  const [result] = outcome.results;
  if (outcome.kind === "values" && "value" in result) return result.value;
  throw doesNotRun(
    task,
    result && "error" in result ? `${result.error.type}: ${result.error.message}` : reasonOf(outcome),
  );
}

function reasonOf(outcome: Outcome): string {
  if (outcome.kind === "error") return `${outcome.error.type}: ${outcome.error.message}`;
  return "detail" in outcome ? outcome.detail : outcome.kind;
}

function doesNotRun(task: Task, why: string): UserError {
  return new UserError(`${task.id}: its canonical solution does not run in the sandbox (${why}).`);
}

function unpack(task: Task, body: PythonValue): Reference {
  const rows = (body as (Tuple | null)[]).map((row) => row?.items);
  if (task.check !== undefined) {
    const calls = rows.map((row) => row!);
    const inputs = calls.map(([call]) => (decode((call as PyBytes).bytes) as Tuple).items);
    const base = { inputs, outputs: [], seconds: calls.map(([, seconds]) => Number(seconds)) };
    return { base, plus: { inputs: [], outputs: [], seconds: [] }, leftOut: [] };
  }
  const all = [...task.base, ...task.plus].map((input, i) => ({ input, row: rows[i] }));
  const set = (from: number, to: number): Expected => {
    const kept = all.slice(from, to).filter(({ row }) => row !== undefined);
    return {
      inputs: kept.map(({ input }) => input),
      outputs: kept.map(({ row }) => row![0]),
      seconds: kept.map(({ row }) => Number(row![1])),
    };
  };
  const leftOut = all.flatMap(({ row }, i) => row === undefined ? [i + 1] : []);
  return { base: set(0, task.base.length), plus: set(task.base.length, all.length), leftOut };
}
