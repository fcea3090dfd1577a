/**
 * Evaluation: a sandbox for Python that nobody has read, benchmarks, and grading.
 *
 * - running code: {@link openSandbox}, {@link openNativeSandbox}
 * - benchmarks: {@link loadBenchmark}, {@link promptOf}, {@link readSamples}, {@link gradeSamples}
 * - statistics: {@link comparePaired}
 *
 * Permissions: to read (Pyodide's package, benchmarks), to run Deno, to read the environment; to write the user's cache
 * folder, without which a few seconds of work are repeated in each process.
 *
 * @module
 */
export { type Benchmark, loadBenchmark, type Task } from "./benchmarks/load.ts";
export { comparePaired, type Paired } from "./statistics/paired.ts";
export { gradeSamples, type Report, type Sample } from "./grading/grade.ts";
export { promptOf, type PromptStyle, styleRules } from "./benchmarks/prompts.ts";
export { assertSameProtocol, type Protocol } from "./protocol.ts";
export { openSandbox } from "./sandbox/pyodide.ts";
export { sanitize, sanitizerGrammar, sanitizers } from "./samples/sanitize.ts";
export { openNativeSandbox } from "./sandbox/native.ts";
export { readSamples } from "./samples/files.ts";
