/** @file Flags of `evaluate`, and what of them does not go together. */
import { UserError } from "../../../dsl/errors.ts";
import { choice, integer, number, path, toggle, type Values } from "./schema.ts";

const BENCHMARKS = [
  ...["humaneval", "mbpp", "mbpp-google", "perplexity", "choices", "ds-1000"] as const,
  ...["multipl-e:js", "multipl-e:ts", "multipl-e:cpp", "multipl-e:java", "multipl-e:php"] as const,
  ...["multipl-e:rs", "multipl-e:swift", "multipl-e:sh"] as const,
] as const;

/** Flags by name. */
export const evaluation = {
  benchmark: choice("what is measured", BENCHMARKS, { required: true }),
  data: path("the benchmark's file, or a text", { metavar: "FILE", required: true }),
  limit: integer("only the first N tasks", { min: 1 }),
  prompt: choice("how a task becomes a prompt (default: as the model was trained, recorded in its folder)", [
    "magicoder",
    "base",
    "chat",
    "data",
  ]),
  samples: integer("answers to each task (default: 1, multipl-e: 50)", { min: 1 }),
  temperature: number("of sampling (0: always the likeliest token; default: 0, multipl-e: 0.2)", { min: 0 }),
  topP: number("only the likeliest tokens that together have this probability (default: 1, multipl-e: 0.95)", {
    min: 0,
    max: 1,
  }),
  greedy: toggle("one answer to each task, always of the likeliest tokens"),
  maxTokens: integer("most new tokens of an answer (default: 512 for magicoder, 768 for base and chat, else 1024)", {
    min: 1,
  }),
  sanitizer: choice("of a file of samples: what its answers went through; fence: cut at the first closing one", [
    "evalplus",
    "fence",
    "none",
  ]),
  jobs: integer("sandboxes at a time (default: as many as cores)", { min: 1 }),
  sandbox: choice("where Python runs: WebAssembly, or the machine's own confined by bubblewrap (Linux)", [
    "pyodide",
    "bwrap",
  ], { fallback: "pyodide" }),
  out: path("folder for samples and verdicts", { metavar: "DIR" }),
  resume: toggle("go on with an unfinished evaluation: nothing is generated or graded twice"),
  overwrite: toggle("replace what is at --out"),
};

/** Checks an evaluation. @throws {UserError} if flags contradict each other */
export function checkEvaluation(
  { benchmark, samples, temperature, topP, greedy, prompt, resume, out }: Values<typeof evaluation>,
): void {
  if (out !== undefined && (benchmark === "perplexity" || benchmark === "choices")) {
    throw new UserError(`--out keeps samples and verdicts, and ${benchmark} has none; --json prints its result.`);
  }
  if (resume && out === undefined) throw new UserError("--resume goes on with what is at --out: give --out, too.");
  if (greedy && ((samples ?? 1) !== 1 || (temperature ?? 0) !== 0 || (topP ?? 1) !== 1)) {
    throw new UserError("--greedy is one answer at temperature 0: leave out --samples, --temperature and --top-p.");
  }
  const samplesByDefault = benchmark.startsWith("multipl-e:");
  if (!samplesByDefault && samples !== undefined && samples > 1 && !temperature) {
    throw new UserError(`--samples ${samples}: greedy answers are all the same; give a --temperature above 0.`);
  }
  const asksByData = samplesByDefault || benchmark === "ds-1000";
  if (prompt !== undefined && prompt !== "data" && asksByData) {
    throw new UserError(`--prompt ${prompt}: the prompts of ${benchmark} are its data's own.`);
  }
  if (prompt === "data" && !asksByData) {
    throw new UserError(`--prompt data: the data of ${benchmark} have no prompts; choose magicoder, base or chat.`);
  }
}
