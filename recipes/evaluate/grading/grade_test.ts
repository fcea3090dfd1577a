/** @file Grading: canonical solutions pass, what is broken fails, and reports count right. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { UserError } from "../../../dsl/errors.ts";
import { sharedData, withTempDir } from "../../../tests/support.ts";
import { type Benchmark, loadBenchmark, type Task } from "../benchmarks/load.ts";
import { gradeSamples } from "./grade.ts";
import { readSamples, writeSamples } from "../samples/files.ts";

/** A benchmark of our own in the form of HumanEval+. */
const rows = [{
  task_id: "HumanEval/0",
  prompt: 'def half(x):\n    """ Half of x. """\n',
  entry_point: "half",
  canonical_solution: "    return x / 2\n",
  base_input: [[1.0], [3.0]],
  plus_input: [[0.3], [-7]],
  atol: 0,
}, {
  task_id: "HumanEval/1",
  prompt: "def firsts(words):\n",
  entry_point: "firsts",
  canonical_solution: "    return [word[0] for word in words]\n",
  base_input: [[["ab", "c"]]],
  plus_input: [[[]]],
  atol: 0,
}];

/** The same kind of task with tests as code, as the original HumanEval has them. */
const checked = [{
  task_id: "HumanEval/0",
  prompt: "def double(x):\n",
  entry_point: "double",
  canonical_solution: "    return 2 * x\n",
  test: "def check(candidate):\n    import random\n    for _ in range(3):\n        x = random.random()\n" +
    "        assert abs(candidate(x) - 2 * x) < 1e-9\n    assert candidate('a') == 'aa'\n",
}];

async function load(folder: string, tasks: readonly unknown[]): Promise<Benchmark> {
  const path = `${folder}/tasks.jsonl`;
  await Deno.writeTextFile(path, tasks.map((row) => JSON.stringify(row) + "\n").join(""));
  return await loadBenchmark(path, "humaneval");
}

Deno.test("grading accepts what is right and nothing else, base and plus apart", async () => {
  await withTempDir(async (folder) => {
    const benchmark = await load(folder, rows);
    const solutions: [task: string, solution: string, base: boolean, plus: boolean, reason: string][] = [
      ["0", "def half(x): return x * 0.5", true, true, ""],
      ["0", "def half(x): return x * 0.5 + 1e-9", true, true, ""],
      ["0", "def half(x): return abs(x) * 0.5", true, false, "plus: input 2: returned 3.5, expected -3.5"],
      ["0", "def half(x): return x", false, false, "input 1: returned 1, expected 0.5"],
      ["0", "def half(x): return x / 2\nraise SystemExit(0)\n", false, false, "SystemExit: 0"],
      ["0", "import os\ndef half(x): os._exit(0)", false, false, "exit: the process was ended"],
      ["1", "def firsts(words): return [word[0] for word in words]", true, true, ""],
      ["1", "def firsts(words): return tuple(word[0] for word in words)", false, false, 'input 1: returned ("a", "c")'],
      ["1", "def firsts(words): return [words[0][0], 'c']", true, false, "plus: input 1: IndexError: list index out"],
      [
        "1",
        "class Same(list):\n  __eq__ = lambda a, b: True\ndef firsts(words): return Same()",
        false,
        false,
        "input 1: returned []",
      ],
    ];
    const samples = solutions.map(([task, solution]) => ({ task_id: `HumanEval/${task}`, solution }));
    const report = await gradeSamples(benchmark, samples, { k: [1, 4, 5] });
    for (const [i, [, , base, plus, reason]] of solutions.entries()) {
      const verdict = report.verdicts[i];
      assertEquals([verdict.base, verdict.plus], [base, plus], solutions[i][1]);
      assertStringIncludes(verdict.reason, reason);
    }
    assertEquals(report.passed, { base: 5, plus: 3 });
    assertEquals(Object.keys(report.pass_at), ["1", "4"]);
    assertEquals(report.pass_at["1"].plus, (2 / 6 + 1 / 4) / 2);
    assertEquals(report.protocol.dataset_sha256, benchmark.sha256);
  });
});

Deno.test("tests that are code judge recorded outputs, random numbers included", async () => {
  await withTempDir(async (folder) => {
    const benchmark = await load(folder, checked);
    const completions = ["    return x + x", "    return 2.0 * x", "    return x * 2 if x else 0", "    return x"];
    const samples = completions.map((completion) => ({ task_id: "HumanEval/0", completion }));
    const { verdicts, passed } = await gradeSamples(benchmark, samples);
    assertEquals(verdicts.map(({ base, plus }) => [base, plus]), [[true, null], [false, null], [true, null], [
      false,
      null,
    ]]);
    assertEquals(passed, { base: 2, plus: null });
  });
});

Deno.test("what does not fit a benchmark is one clear sentence", async () => {
  await withTempDir(async (folder) => {
    const benchmark = await load(folder, rows);
    const grade = (samples: { task_id: string; solution?: string }[]) => gradeSamples(benchmark, samples);
    await assertRejects(() => grade([{ task_id: "HumanEval/0", solution: "" }]), UserError, "HumanEval/1");
    await assertRejects(() => grade([{ task_id: "HumanEval/9", solution: "" }]), UserError, "no such task");
    await assertRejects(() => grade([{ task_id: "HumanEval/0" }]), UserError, "neither");
    const path = `${folder}/bad`;
    const bad: [text: string | Uint8Array, message: string][] = [
      ["", "no tasks"],
      ["{\n", "bad:1: not a JSON object"],
      ['{"task_id": "HumanEval/0"}', '"prompt"'],
      ['{"task_id": "Mbpp/2"}', "not of humaneval"],
      [new Uint8Array([0x1f, 0x8b, 8, 0, 0]), "gzip"],
    ];
    for (const [content, message] of bad) {
      if (typeof content === "string") await Deno.writeTextFile(path, content);
      else await Deno.writeFile(path, content);
      await assertRejects(() => loadBenchmark(path, "humaneval"), UserError, message);
    }
    await assertRejects(() => loadBenchmark(`${folder}/none`, "mbpp"), UserError, "no such file");
    await Deno.writeTextFile(path, '{"task_id": "HumanEval/0", "solution": ""}\n\n{"task_id": 1}\n');
    await assertRejects(() => readSamples(path), UserError, "bad:3");
    await writeSamples(path, [{ task_id: "HumanEval/0", solution: "x" }]);
    assertEquals(await readSamples(path), [{ task_id: "HumanEval/0", solution: "x" }]);
  });
});

Deno.test("canonical solutions are counted as they are run, once a task, and not for samples graded before", async () => {
  const tasks = [1n, 2n].map((number): Task => ({
    ...{ id: `HumanEval/${number}`, benchmark: "humaneval", entry: "f", atol: 0 },
    ...{ prompt: "def f(x):\n", canonical: `    return x + ${number}\n`, base: [[number]], plus: [] },
  }));
  const benchmark: Benchmark = { name: "humaneval", hasPlus: false, sha256: "counted", tasks };
  const samples = ["HumanEval/1", "HumanEval/2", "HumanEval/1"].map((task_id, i) => ({
    task_id,
    completion: ` return ${i}`,
  }));
  const counts: string[] = [],
    onReference = (done: number, total: number): void => void counts.push(`${done}/${total}`);
  await gradeSamples(benchmark, samples, { onReference });
  assertEquals(counts.splice(0), ["0/2", "1/2", "2/2"]);
  const verdict = { task_id: "HumanEval/2", base: true, plus: null, reason: "" };
  await gradeSamples(benchmark, samples, { onReference, known: new Map([[1, { verdict, leftOut: [] }]]) });
  assertEquals(counts, ["0/1", "1/1"]);
});

const humaneval = sharedData("evals/HumanEvalPlus.jsonl.gz");
const original = sharedData("evals/HumanEval.jsonl.gz");
const mbpp = sharedData("evals/MbppPlus.jsonl.gz");

/** Grades the canonical solutions of some tasks, whole and ended early. */
async function canonical(benchmark: Benchmark, ids: readonly string[]): Promise<void> {
  const tasks = benchmark.tasks.filter(({ id }) => ids.includes(id.split("/")[1]));
  assertEquals(tasks.length, ids.length);
  const some = { ...benchmark, tasks };
  for (const [tail, count] of [["", ids.length], ["\nraise SystemExit(0)\n", 0]] as const) {
    const samples = tasks.map(({ id, prompt, canonical }) => ({ task_id: id, solution: prompt + canonical + tail }));
    const { passed, verdicts } = await gradeSamples(some, samples);
    assertEquals(passed.base, count, JSON.stringify(verdicts));
    if (benchmark.hasPlus) assertEquals(passed.plus, count, JSON.stringify(verdicts));
  }
}

Deno.test({
  name: "HumanEval+: canonical solutions pass, and none that ends early",
  ignore: !humaneval,
  // 32: any root is right; 0: floats; 22: filters by type; 148: tuples.
  fn: async () => await canonical(await loadBenchmark(humaneval!, "humaneval"), ["0", "22", "32", "148"]),
});

Deno.test({
  name: "MBPP+: canonical solutions pass, and none that ends early",
  ignore: !mbpp,
  // 2: sets; 63: lists of tuples; 88: a Counter; 124 and 252: complex numbers; 737: a match.
  fn: async () => await canonical(await loadBenchmark(mbpp!, "mbpp"), ["2", "63", "88", "124", "252", "737"]),
});

Deno.test({
  name: "HumanEval's own tests, replayed: canonical solutions pass, and none that ends early",
  ignore: !original,
  // 32 and 50 use random numbers, 38 and 50 functions of the prompt.
  fn: async () => {
    const benchmark = await loadBenchmark(original!, "humaneval");
    assert(benchmark.tasks.length === 164 && !benchmark.hasPlus);
    await canonical(benchmark, ["0", "32", "38", "50"]);
  },
});
