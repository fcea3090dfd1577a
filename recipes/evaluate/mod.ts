/**
 * Evaluation: a sandbox for Python that nobody has read, benchmarks, and grading.
 *
 * - running code: {@link openSandbox}, {@link runTasks}; any command in bubblewrap: {@link runConfined}
 * - values: {@link PythonValue}, {@link toPython}, {@link equal}
 * - benchmarks: {@link loadBenchmark}, {@link promptOf}, {@link readSamples}, {@link gradeSamples}
 * - statistics: {@link passAt}, {@link exactInterval}, {@link comparePaired}
 *
 * Permissions: to read (Pyodide's package, benchmarks), to run Deno, to read the environment; to write the user's cache
 * folder, without which a few seconds of work are repeated in each process.
 *
 * @module
 */
export { type Benchmark, loadBenchmark, type LoadOptions, type Task } from "./benchmarks/load.ts";
export { allClose, equal } from "./python/compare.ts";
export { bootstrapInterval, exactInterval, type Interval, passAt, passAtOverTasks } from "./statistics/estimate.ts";
export { comparePaired, mcnemar, type Paired, tasksNeeded } from "./statistics/paired.ts";
export { type GradeOptions, gradeSamples, type Report, type Sample, type Verdict } from "./grading/grade.ts";
export { parsePythonJson } from "./python/json.ts";
export { isRight, type Rules } from "./grading/oracle.ts";
export {
  cutAt,
  extractCompletion,
  type Prompt,
  promptOf,
  type PromptStyle,
  type StyleRules,
  styleRules,
} from "./benchmarks/prompts.ts";
export { assertSameProtocol, type Protocol, protocolDifferences, releaseOf } from "./protocol.ts";
export { type Confined, type Confinement, runConfined, whyNotConfined } from "./sandbox/bwrap.ts";
export {
  type CallResult,
  digestType,
  type Job,
  openSandbox,
  type Outcome,
  type PythonError,
  type Sandbox,
  type SandboxOptions,
} from "./sandbox/pyodide.ts";
export { type Answer, sanitize, sanitizerVersion } from "./samples/sanitize.ts";
export { type NativeOptions, openNativeSandbox } from "./sandbox/native.ts";
export { isSampleFile, readSamples, writeSamples } from "./samples/files.ts";
export { type RunOptions, runTasks, type TaskSample } from "./sandbox/tasks.ts";
export {
  type Dictionary,
  Opaque,
  PyBytes,
  PyComplex,
  PyDict,
  PySet,
  type PythonValue,
  show,
  toPython,
  Tuple,
} from "./python/values.ts";
