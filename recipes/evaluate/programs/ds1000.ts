/**
 * @file DS-1000: data-science tasks whose tests are Python that executes the answer, from its official file.
 *
 * Each line has `prompt`, `metadata` (`problem_id`, `library`) and `code_context`, which defines `test_execution` (it
 * calls the task's own `generate_test_case`, `exec_context` and `exec_test`) and, where the code itself is looked at,
 * `test_string`. The whole runs natively, in bubblewrap, with the libraries that this machine's Python has.
 */
import { UserError } from "../../../dsl/errors.ts";
import { isJsonObject } from "../../convert/fields.ts";
import { parseObject, readLines } from "../benchmarks/lines.ts";
import { cutAt } from "../benchmarks/prompts.ts";
import { type Confined, runConfined, whyNotConfined } from "../sandbox/bwrap.ts";
import { overLimit } from "./languages.ts";
import type { ProgramBenchmark, ProgramTask } from "./mod.ts";

/** Modules by the names that DS-1000 gives its libraries. */
const modules: Readonly<Record<string, string>> = {
  Numpy: "numpy",
  Pandas: "pandas",
  Scipy: "scipy",
  Sklearn: "sklearn",
  Matplotlib: "matplotlib",
  Tensorflow: "tensorflow",
  Pytorch: "torch",
};

/** DS-1000's own limit of a task. */
const seconds = 120;
const megabytes = 8192;

/** Where an answer ends, in the official prompts. */
const stop = ["</code>", "# SOLUTION END", "\nEND SOLUTION"] as const;

/**
 * Reads `ds1000.jsonl.gz` (or the same unpacked).
 *
 * @param python the interpreter whose libraries count
 * @throws {UserError} naming the line that is malformed
 */
export async function loadDs1000(
  path: string,
  { limit, python = "python3" }: { readonly limit?: number; readonly python?: string } = {},
): Promise<ProgramBenchmark> {
  const { sha256, rows } = await readLines(path);
  const tasks = rows.slice(0, limit).map(({ text, where }) => readTask(text, where));
  let found: Promise<Python> | undefined;
  const interpreter = (): Promise<Python> => found ??= findPython(python);
  const run = async (program: string): Promise<Confined> => {
    const { executable, readable } = await interpreter();
    return await runConfined([executable, "-I", "-B", "program.py"], {
      files: { "program.py": program },
      ...{ seconds, megabytes, limitAddressSpace: false, processes: 256, readable },
    });
  };
  return {
    name: "ds-1000",
    sha256,
    tasks,
    defaults: { samples: 1, temperature: 0, topP: 1, maxTokens: 1024 },
    missing: (needs) => missingLibraries(needs, run),
    run: async (program) => {
      const word = crypto.randomUUID();
      const { code, stderr, why } = await run(`${program}\nimport sys\nsys.stderr.write("\\n${word}\\n")\n`);
      if (why !== "ended") return overLimit(why, seconds);
      const last = new TextDecoder().decode(stderr).trim().split("\n").at(-1) ?? "";
      if (code !== 0) return last.slice(0, 300) || `exit code ${code}`;
      return last === word ? undefined : "it ended before its tests did";
    },
    sandbox: `bubblewrap, ${python}, ${seconds} s, ${megabytes} MiB`,
  };
}

function readTask(text: string, where: string): ProgramTask {
  const { prompt, code_context: context, metadata } = parseObject(text, where);
  const { problem_id: id, library } = isJsonObject(metadata) ? metadata : {};
  if (typeof prompt !== "string" || typeof context !== "string" || !context.includes("def test_execution(")) {
    throw new UserError(`${where}: not a task of DS-1000 ("prompt", and "code_context" with a test_execution).`);
  }
  if (!Number.isInteger(id) || typeof library !== "string") {
    throw new UserError(`${where}: "metadata" has no "problem_id" or "library".`);
  }
  const looks = context.includes("def test_string(") ? "test_string(code)\n" : "";
  return {
    id: `DS-1000/${id}`,
    prompt,
    stop,
    answer: extract,
    // JSON's texts are Python's, too.
    program: (answer) => `${context}\ncode = ${JSON.stringify(answer)}\ntest_execution(code)\n${looks}`,
    needs: library,
  };
}

/** The official reading of an answer: no tags, and what comes before a closing fence. */
function extract(completion: string): string {
  return cutAt(cutAt(completion, stop).replaceAll("```python", ""), ["```"]).replaceAll("<code>", "");
}

async function missingLibraries(
  needs: readonly string[],
  run: (program: string) => Promise<Confined>,
): Promise<ReadonlyMap<string, string>> {
  const works = async (program: string): Promise<boolean> => (await run(program)).code === 0;
  const why = await whyNotConfined() ?? (await works("") ? undefined : "Python does not start in bubblewrap");
  if (why !== undefined) return new Map(needs.map((name) => [name, why]));
  const found = await Promise.all(needs.map(async (name) => {
    const module = modules[name] ?? name.toLowerCase();
    return await works(`import ${module}`) ? undefined : [name, `Python's module ${module} is not installed`] as const;
  }));
  return new Map(found.filter((each) => each !== undefined));
}

interface Python {
  readonly executable: string;
  readonly readable: readonly string[];
}

/** Where an interpreter and its libraries are. @throws {UserError} if there is none */
async function findPython(name: string): Promise<Python> {
  const program = "import json, sys; print(json.dumps([sys.executable, sys.prefix, sys.base_prefix]))";
  try {
    const { stdout } = await new Deno.Command(name, { args: ["-c", program], stderr: "null" }).output();
    const [executable, ...readable]: string[] = JSON.parse(new TextDecoder().decode(stdout));
    return { executable, readable: [...new Set(readable)].filter((path) => path !== "/usr") };
  } catch (cause) {
    throw new UserError(`${name}: there is no such Python, which DS-1000's tests need.`, { cause });
  }
}
