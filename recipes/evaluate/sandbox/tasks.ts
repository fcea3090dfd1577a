/** @file Runs many programs of one's own tasks and returns what they did: the demo's way into the sandbox. */
import { encode } from "../python/marshal.ts";
import { openSandbox, type Outcome, type Sandbox } from "./pyodide.ts";
import { toPython, Tuple } from "../python/values.ts";

/** A program, the function to call and the arguments of each call. */
export interface TaskSample {
  /** The program that defines `entry`. */
  readonly code: string;
  /** Name of the function that is called. */
  readonly entry: string;
  /** Arguments per call as JavaScript values; whole numbers are ints (see `toPython`). */
  readonly inputs: readonly (readonly unknown[])[];
}

/** Settings of {@link runTasks}. */
export interface RunOptions {
  /** Run in this sandbox instead of one of its own. */
  readonly sandbox?: Sandbox;
  /** Processes at the same time, where no sandbox is given. Default 2. */
  readonly concurrency?: number;
  /** Wall-clock limit of a sample. Default 10. */
  readonly seconds?: number;
  /** Wall-clock limit of a call. Default 2. */
  readonly callSeconds?: number;
  /** Stop a sample at its first call that raises. Default true. */
  readonly stopAtError?: boolean;
  /** Called when a sample has run, in the order in which they end. */
  readonly onDone?: (index: number, outcome: Outcome, done: number, total: number) => void;
}

/**
 * Runs the samples and returns their outcomes in order; compare the values with `equal`. Samples with the same code,
 * entry and inputs run once: hashes and random numbers start the same in every interpreter, so they would do the same.
 *
 * @example
 * ```ts
 * import { equal } from "../python/compare.ts";
 * import { runTasks } from "./tasks.ts";
 * const [outcome] = await runTasks([{ code: "def f(x): return x * 2", entry: "f", inputs: [[21]] }]);
 * const [result] = outcome.results;
 * console.log("value" in result && equal(result.value, 42n));
 * ```
 */
export async function runTasks(samples: readonly TaskSample[], options: RunOptions = {}): Promise<Outcome[]> {
  const own = options.sandbox ? undefined : await openSandbox({ concurrency: options.concurrency ?? 2 });
  const sandbox = options.sandbox ?? own!;
  const { seconds = 10, callSeconds = 2, stopAtError = true } = options;
  const running = new Map<string, Promise<Outcome>>();
  let done = 0;
  try {
    return await Promise.all(samples.map(async ({ code, entry, inputs }, index) => {
      const values = inputs.map((input) => input.map(toPython));
      const key = JSON.stringify([code, entry, encode(values.map((input) => new Tuple(input))).toHex()]);
      if (!running.has(key)) {
        running.set(key, sandbox.run({ code, entry, inputs: values, seconds, callSeconds, stopAtError }));
      }
      const outcome = await running.get(key)!;
      options.onDone?.(index, outcome, ++done, samples.length);
      return outcome;
    }));
  } finally {
    await own?.[Symbol.asyncDispose]();
  }
}
