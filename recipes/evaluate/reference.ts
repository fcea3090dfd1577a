/**
 * @file What the canonical solutions return: computed here, in interpreters of their own, and kept in the user's cache.
 *
 * For tasks whose tests are code (`check(candidate)`, the original HumanEval) the arguments of each call are recorded
 * with the canonical solution as the candidate; see `replay.ts`.
 */
import { UserError } from "../../dsl/errors.ts";
import type { Benchmark, Task } from "./benchmarks.ts";
import { sha256 } from "./bytes.ts";
import { cacheFile, pyodideVersion, readChecked, writeChecked } from "./image.ts";
import { decode, encode } from "./marshal.ts";
import { recordProgram } from "./replay.ts";
import type { Outcome, Sandbox } from "./sandbox.ts";
import { PyBytes, type PythonValue, Tuple } from "./values.ts";

/** One set of inputs with what is expected of them. */
export interface Expected {
  readonly inputs: readonly (readonly PythonValue[])[];
  /** What the canonical solution returned. */
  readonly outputs: readonly PythonValue[];
  /** How long it took for each input, in seconds. */
  readonly seconds: readonly number[];
}

/** What is expected in a task. */
export interface Reference {
  readonly base: Expected;
  readonly plus: Expected;
}

/** Form of the cached files; raised when they change. */
const cacheVersion = "1";

/** Long enough for the slowest canonical solution under WebAssembly. */
const limitSeconds = 600;

/**
 * The reference of one task, from the cache or computed.
 *
 * @throws UserError where the canonical solution does not run: the benchmark's file is not what it should be
 */
export async function referenceOf(benchmark: Benchmark, task: Task, sandbox: Sandbox): Promise<Reference> {
  const key = await sha256([cacheVersion, pyodideVersion, benchmark.name, benchmark.sha256, task.id].join("\n"));
  const path = cacheFile(`reference-${key.slice(0, 32)}`);
  const kept = await readChecked(path);
  if (kept) return unpack(task, decode(kept));
  const body = task.check === undefined ? await computed(task, sandbox) : await recorded(task, sandbox);
  await writeChecked(path, encode(body));
  return unpack(task, body);
}

/** Runs the canonical solution on all inputs: a list of (output, seconds). */
async function computed(task: Task, sandbox: Sandbox): Promise<PythonValue> {
  const outcome = await sandbox.run({
    code: task.prompt + task.canonical,
    entry: task.entry,
    inputs: [...task.base, ...task.plus],
    seconds: limitSeconds,
    stopAtError: true,
  });
  const values = valuesOf(task, outcome);
  return values.map(({ value, seconds }) => new Tuple([value, seconds]));
}

/** Runs the task's own tests with the canonical solution: a list of (marshal of the arguments, seconds). */
async function recorded(task: Task, sandbox: Sandbox): Promise<PythonValue> {
  const outcome = await sandbox.run({
    code: recordProgram(task),
    entry: "xft_record",
    inputs: [[]],
    seconds: limitSeconds,
  });
  return valuesOf(task, outcome)[0].value;
}

function valuesOf(task: Task, outcome: Outcome): { value: PythonValue; seconds: number }[] {
  const failed = outcome.results.find((result) => "error" in result);
  if (outcome.kind === "values" && !failed) return outcome.results as { value: PythonValue; seconds: number }[];
  const error = outcome.kind === "error" ? outcome.error : failed && "error" in failed ? failed.error : undefined;
  const why = error ? `${error.type}: ${error.message}` : "detail" in outcome ? outcome.detail : outcome.kind;
  throw new UserError(`${task.id}: its canonical solution does not run in the sandbox (${why}).`);
}

function unpack(task: Task, body: PythonValue): Reference {
  const rows = (body as Tuple[]).map((row) => row.items);
  const seconds = rows.map(([, time]) => Number(time));
  if (task.check !== undefined) {
    const inputs = rows.map(([call]) => (decode((call as PyBytes).bytes) as Tuple).items);
    return { base: { inputs, outputs: [], seconds }, plus: { inputs: [], outputs: [], seconds: [] } };
  }
  const outputs = rows.map(([output]) => output);
  const cut = task.base.length;
  return {
    base: { inputs: task.base, outputs: outputs.slice(0, cut), seconds: seconds.slice(0, cut) },
    plus: { inputs: task.plus, outputs: outputs.slice(cut), seconds: seconds.slice(cut) },
  };
}
