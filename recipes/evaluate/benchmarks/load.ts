/** @file Benchmarks as files have them: HumanEval, HumanEval+, MBPP+, MBPP. */
import { UserError } from "../../../dsl/errors.ts";
import { itemsOf } from "../python/compare.ts";
import { parsePythonJson } from "../python/json.ts";
import { readLines } from "./lines.ts";
import { readGoogleTask } from "./mbpp_google.ts";
import { mbppInput } from "./mbpp_inputs.ts";
import type { Rules } from "../grading/oracle.ts";
import { PyDict, type PythonValue } from "../python/values.ts";

/** One task. */
export interface Task extends Rules {
  /** Such as `HumanEval/0` or `Mbpp/2`. */
  readonly id: string;
  /** What a model is given: a signature with its description (HumanEval), or a description with an assertion (MBPP). */
  readonly prompt: string;
  /** What follows the prompt in the canonical solution. */
  readonly canonical: string;
  /** The arguments of each call of the base tests. Empty where the tests are code. */
  readonly base: readonly (readonly PythonValue[])[];
  /** The arguments of each call of the plus tests. */
  readonly plus: readonly (readonly PythonValue[])[];
  /** Tests as code that defines `check(candidate)`: the original HumanEval and MBPP, which have no inputs. */
  readonly check?: string;
  /** Why no program can pass its tests, where none can. */
  readonly unrunnable?: string;
}

/** A benchmark: tasks of one file. */
export interface Benchmark {
  /** Which one: `mbpp` is evalplus' selection, `mbpp-google` the test split of the original. */
  readonly name: "humaneval" | "mbpp" | "mbpp-google";
  /** Whether the file has extra inputs ("plus"). */
  readonly hasPlus: boolean;
  /** SHA-256 of the file. */
  readonly sha256: string;
  /** Its tasks, in the order of the file. */
  readonly tasks: readonly Task[];
}

/** Settings of {@link loadBenchmark}. */
export interface LoadOptions {
  /** Keep only the first so many tasks. */
  readonly limit?: number;
}

/**
 * Reads a benchmark from a `.jsonl` or `.jsonl.gz` file: OpenAI's HumanEval, Google's MBPP, or evalplus'
 * HumanEval+ or MBPP+.
 *
 * @throws UserError where the file is missing, is not JSON lines, or has tasks of another form
 *
 * @example
 * ```ts ignore
 * import { loadBenchmark } from "./load.ts";
 * const benchmark = await loadBenchmark("HumanEvalPlus.jsonl.gz", "humaneval");
 * ```
 */
export async function loadBenchmark(
  path: string,
  name: Benchmark["name"],
  options: LoadOptions = {},
): Promise<Benchmark> {
  const { sha256, rows } = await readLines(path);
  const tasks: Task[] = [];
  for (const { text, where } of rows) {
    if (tasks.length === options.limit) break;
    const task = name === "mbpp-google" ? readGoogleTask(text, where) : readTask(name, text, where);
    if (task) tasks.push(task);
  }
  if (tasks.length === 0) throw new UserError(`${path}: it has no task of ${name}.`);
  return { name, hasPlus: tasks.some((task) => task.plus.length > 0), sha256, tasks };
}

function readTask(benchmark: Task["benchmark"], line: string, where: string): Task {
  let row: PythonValue;
  try {
    row = parsePythonJson(line);
  } catch (cause) {
    throw new UserError(`${where}: not a JSON object (${(cause as Error).message}).`, { cause });
  }
  if (!(row instanceof PyDict)) throw new UserError(`${where}: not a JSON object.`);
  const fields = new Map(row.entries as [string, PythonValue][]);
  const string = (name: string): string => {
    const value = fields.get(name);
    if (typeof value !== "string") throw new UserError(`${where}: field "${name}" is missing or is no text.`);
    return value;
  };
  const id = string("task_id");
  const prefix = benchmark === "humaneval" ? "HumanEval/" : "Mbpp/";
  if (!id.startsWith(prefix)) {
    throw new UserError(`${where}: task "${id}" is not of ${benchmark}, whose tasks are called ${prefix}N.`);
  }
  const number = Number(id.slice(prefix.length));
  const inputs = (name: string): PythonValue[][] =>
    (itemsOf(fields.get(name) ?? []) ?? []).map((input) => {
      const list = itemsOf(input);
      if (!list) throw new UserError(`${where}: field "${name}" is not a list of argument lists.`);
      return benchmark === "mbpp" ? mbppInput(number, [...list]) : [...list];
    });
  const hasInputs = fields.has("base_input");
  return {
    id,
    benchmark,
    prompt: string("prompt"),
    entry: string("entry_point"),
    canonical: string("canonical_solution"),
    atol: Number(fields.get("atol") ?? 0),
    base: inputs("base_input"),
    plus: inputs("plus_input"),
    ...(hasInputs ? {} : { check: string("test") }),
  };
}
