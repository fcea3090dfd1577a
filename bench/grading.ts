/**
 * @file How long HumanEval+'s canonical solutions take to grade, in Pyodide, in bubblewrap and by evalplus, in turns:
 * `deno run --quiet --allow-all bench/grading.ts --data HumanEvalPlus.jsonl.gz [--python PYTHON_WITH_EVALPLUS]`
 * (`--limit N`: the first N tasks; `--json`: one JSON array). First everyone computes what is expected (cold), then
 * everyone has it (warm); the interpreter's image and compiled code are made before.
 */
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { UserError } from "../dsl/errors.ts";
import { readLines } from "../recipes/evaluate/benchmarks/lines.ts";
import { loadBenchmark } from "../recipes/evaluate/mod.ts";
import { sampleLines } from "../recipes/evaluate/samples/files.ts";
import { whyNotConfined } from "../recipes/evaluate/sandbox/bwrap.ts";
import { type Command, runCommand, watch, xftCommand } from "./processes.ts";

/** One grading. */
export interface Grading {
  readonly by: string;
  /** Whether what is expected had to be computed. */
  readonly references: "cold" | "warm";
  readonly seconds: number;
  /** Seconds that all its threads computed. */
  readonly threads: number;
  /** Share of the processors that others took; unknown where the system does not tell. */
  readonly others?: number;
  /** Samples that passed. */
  readonly passed: { readonly base: number; readonly plus: number };
}

/** What is graded: where its files lie. */
interface Files {
  /** The benchmark's tasks, without compression. */
  readonly tasks: string;
  readonly samples: string;
  readonly folder: string;
}

/** Somebody who grades. */
interface Grader {
  readonly name: string;
  /** Makes what is no part of a grading. */
  prepare(): Promise<void>;
  /** Its command; each has a place for its results. */
  command(place: string): Command;
  passed(place: string): Grading["passed"];
}

/** Our `evaluate` with a cache of its own. */
function ours(name: string, sandbox: string, { tasks, samples, folder }: Files): Grader {
  const cache = join(folder, `cache of ${sandbox}`), environment = { XFT_CACHE: cache };
  const evaluate = (place: string, ...flags: string[]): Command => {
    const words = ["evaluate", samples, "--benchmark", "humaneval", "--data", tasks, "--sandbox", sandbox];
    return { ...xftCommand([...words, "--out", place, ...flags]), environment };
  };
  return {
    name,
    async prepare() {
      await runCommand(evaluate(join(folder, `first of ${sandbox}`), "--limit", "1"));
      for (const { name } of Deno.readDirSync(join(cache, "evaluate"))) {
        if (name.startsWith("reference-")) Deno.removeSync(join(cache, "evaluate", name));
      }
    },
    command: (place) => evaluate(place),
    passed: (place) => JSON.parse(Deno.readTextFileSync(join(place, "report.json"))).passed,
  };
}

/** evalplus' own command, whose results lie beside its samples. */
function evalplus(name: string, python: string, { tasks, samples, folder }: Files): Grader {
  const environment = { HUMANEVAL_OVERRIDE_PATH: tasks, XDG_CACHE_HOME: join(folder, "cache"), HF_HUB_OFFLINE: "1" };
  const module = [python, "-m", "evalplus.evaluate"] as const, parallel = String(navigator.hardwareConcurrency);
  return {
    name,
    prepare: async () => void await runCommand({ words: [python, "-c", "import evalplus.evaluate"] }),
    command(place) {
      Deno.mkdirSync(place);
      Deno.copyFileSync(samples, join(place, "samples.jsonl"));
      const words = ["--dataset", "humaneval", "--samples", join(place, "samples.jsonl"), "--parallel", parallel];
      return { words: [...module, ...words], environment };
    },
    passed(place) {
      const [name] = [...Deno.readDirSync(place)].map(({ name }) => name).filter((name) =>
        name.endsWith("results.json")
      );
      if (name === undefined) throw new UserError("evalplus left no results");
      const results = JSON.parse(Deno.readTextFileSync(join(place, name)));
      const all = Object.values(results.eval).flat() as { base_status: string; plus_status: string }[];
      const right = all.filter(({ base_status }) => base_status === "pass");
      return { base: right.length, plus: right.filter(({ plus_status }) => plus_status === "pass").length };
    },
  };
}

/** The version of a Python's evalplus. @throws {UserError} if it has none */
async function evalplusName(python: string): Promise<string> {
  const code = "import importlib.metadata as m; print('{\"version\": \"' + m.version('evalplus') + '\"}')";
  const { success, stdout } = await new Deno.Command(python, { args: ["-c", code] }).output()
    .catch(() => ({ success: false, stdout: new Uint8Array() }));
  if (!success) throw new UserError(`--python ${python}: there is no evalplus (pip install evalplus==0.3.1).`);
  return `evalplus ${JSON.parse(new TextDecoder().decode(stdout)).version}`;
}

/** Everyone's times, in turns: all cold ones, then all warm ones. */
async function* gradings(graders: readonly Grader[], folder: string): AsyncGenerator<Grading> {
  for (const { prepare } of graders) await prepare();
  for (const references of ["cold", "warm"] as const) {
    for (const grader of graders) {
      const place = join(folder, `${references} by ${grader.name}`), command = grader.command(place);
      const watched = watch([]), { seconds } = await runCommand(command), { own: threads, others } = watched();
      yield { by: grader.name, references, seconds, threads, others, passed: grader.passed(place) };
    }
  }
}

/** The benchmark and its canonical solutions as files. */
async function write(data: string, folder: string, limit: number | undefined): Promise<Files> {
  const files = { tasks: join(folder, "tasks.jsonl"), samples: join(folder, "samples.jsonl"), folder };
  const { rows } = await readLines(data), { tasks } = await loadBenchmark(data, "humaneval", { limit });
  Deno.writeTextFileSync(files.tasks, rows.slice(0, limit).map(({ text }) => `${text}\n`).join(""));
  const samples = tasks.map(({ id, prompt, canonical }) => ({ task_id: id, solution: prompt + canonical }));
  Deno.writeTextFileSync(files.samples, sampleLines(samples));
  return files;
}

const titles = ["by", "references", "clock", "threads", "others", "base", "plus"];
const show = (cells: readonly string[]): string =>
  cells.map((cell, i) => i < 2 ? cell.padEnd(i === 0 ? 16 : 10) : cell.padStart(8)).join("  ");
const rowOf = ({ by, references, seconds, threads, others, passed }: Grading): string =>
  show([
    ...[by, references, `${seconds.toFixed(1)} s`, `${threads.toFixed(1)} s`],
    ...[others === undefined ? "" : `${(100 * others).toFixed(0)}%`, String(passed.base), String(passed.plus)],
  ]);

async function main(): Promise<void> {
  const string = { type: "string" } as const;
  const { values: { data, python, limit, json } } = parseArgs({
    options: { data: string, python: string, limit: string, json: { type: "boolean" } },
  });
  if (data === undefined) throw new UserError("--data FILE: where HumanEvalPlus.jsonl.gz is.");
  const folder = Deno.makeTempDirSync({ prefix: "xft-grading-" }), all: Grading[] = [];
  try {
    const files = await write(resolve(data), folder, limit === undefined ? undefined : Number(limit));
    const noBubblewrap = await whyNotConfined();
    if (noBubblewrap) console.error(`Without bubblewrap: ${noBubblewrap}.`);
    const graders = [
      ours("xft, Pyodide", "pyodide", files),
      ...(noBubblewrap ? [] : [ours("xft, bubblewrap", "bwrap", files)]),
      ...(python === undefined ? [] : [evalplus(await evalplusName(python), python, files)]),
    ];
    if (!json) console.log(show(titles));
    for await (const each of gradings(graders, folder)) {
      all.push(each);
      if (!json) console.log(rowOf(each));
    }
    if (json) console.log(JSON.stringify(all));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    const isUsers = error instanceof UserError || error instanceof TypeError && "code" in error;
    if (!isUsers) throw error;
    console.error(`grading: ${error.message}`);
    Deno.exit(2);
  }
}
