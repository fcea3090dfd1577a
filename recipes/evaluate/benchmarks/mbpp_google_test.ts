/** @file MBPP as its authors published it: the test split is read, its assertions accept what is right. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { UserError } from "../../../dsl/errors.ts";
import { sharedData, withTempDir } from "../../../tests/support.ts";
import { gradeSamples } from "../grading/grade.ts";
import { loadBenchmark } from "./load.ts";
import { promptOf } from "./prompts.ts";

/** Tasks of our own in its format, line ends and all; a function may be called as our own `check` is. */
const rows = [
  { task_id: 10, text: "A prompt's task.", code: "def f(): pass", test_setup_code: "", test_list: ["assert f()"] },
  {
    task_id: 11,
    text: "Write a function to add one to each.",
    code:
      "import math\r\ndef helper(x):\r\n  return x + 1\r\ndef check(values):\r\n  return [helper(x) for x in values]",
    test_setup_code: "base = [1, 2]",
    test_list: ["assert check(base) == [2, 3]", "assert math.isclose(sum(check([0.5])), 1.5)"],
  },
  {
    task_id: 367,
    text: "Write a function to count a tree's nodes.",
    code: "def count(root): return 1",
    test_setup_code: "root = Node(1)",
    test_list: ["assert count(root) == 1"],
  },
  { task_id: 511, text: "A task for tuning.", code: "def f(): pass", test_setup_code: "", test_list: ["assert f()"] },
];

async function write(folder: string, tasks: readonly unknown[]): Promise<string> {
  await Deno.writeTextFile(`${folder}/mbpp.jsonl`, tasks.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return `${folder}/mbpp.jsonl`;
}

Deno.test("mbpp-google grades the test split by its own assertions; what no program can pass fails with the reason", () =>
  withTempDir(async (folder) => {
    const benchmark = await loadBenchmark(await write(folder, rows), "mbpp-google");
    assertEquals(benchmark.tasks.map(({ id, entry }) => [id, entry]), [["Mbpp/11", "check"], ["Mbpp/367", "count"]]);
    const [task] = benchmark.tasks;
    assertEquals(
      promptOf(task, "base").text,
      '"""\nWrite a function to add one to each.\nassert check(base) == [2, 3]\n"""\n',
    );
    const answers: [solution: string, reason: RegExp][] = [
      [task.prompt + task.canonical, /^$/],
      ["def check(values): return [1 + value for value in values]", /^$/],
      ["def check(values): return tuple(1 + value for value in values)", /AssertionError/],
      ["def check(values): return values", /AssertionError/],
      ["def other(values): return values", /KeyError/],
      ["class Equal:\n  __eq__ = lambda a, b: True\ndef check(values): return Equal()", /./],
    ];
    const samples = answers.map(([solution]) => ({ task_id: task.id, solution }));
    const report = await gradeSamples(benchmark, [...samples, { task_id: "Mbpp/367", solution: rows[2].code! }]);
    for (const [i, [solution, reason]] of answers.entries()) {
      assertMatch(report.verdicts[i].reason, reason, solution);
      assertEquals(report.verdicts[i].base, reason.test(""), solution);
    }
    assertEquals([report.verdicts.at(-1)!.base, report.passed], [false, { base: 2, plus: null }]);
    assertMatch(report.verdicts.at(-1)!.reason, /need a class Node/);
    await assertRejects(async () => loadBenchmark(await write(folder, [rows[0]]), "mbpp-google"), UserError, "no task");
    const unnamed = { ...rows[1], test_list: ["assert 1"] };
    await assertRejects(async () => loadBenchmark(await write(folder, [unnamed]), "mbpp-google"), UserError, ":1: its");
  }));

Deno.test("mbpp-google: objects of a class that solutions define are given to the sample's own class", () =>
  withTempDir(async (folder) => {
    const pair = "class Pair:\n  def __init__(self, a, b):\n    self.a, self.b = a, b\n";
    const row = {
      task_id: 12,
      text: "Write a function to add up products.",
      code: `${pair}def total(pairs, kind=int): return kind(sum(pair.a * pair.b for pair in pairs))`,
      test_setup_code: "",
      test_list: ["assert total([Pair(1, 2), Pair(3, 4)]) == 14", "assert total((Pair(2, 2),), str) == '4'"],
    };
    const benchmark = await loadBenchmark(await write(folder, [row]), "mbpp-google"), [{ id }] = benchmark.tasks;
    const answers: [solution: string, passes: boolean][] = [
      [row.code, true],
      [
        "class Pair:\n  area = property(lambda p: p.a * p.b)\ndef total(pairs, t=int): return t(sum(p.area for p in pairs))",
        true,
      ],
      [`${pair}def total(pairs, t=int): return t(sum(pair.a + pair.b for pair in pairs))`, false],
      ["def total(pairs, t=int): return t(sum(pair.a * pair.b for pair in pairs))", false],
    ];
    const samples = answers.map(([solution]) => ({ task_id: id, solution }));
    const { verdicts } = await gradeSamples(benchmark, samples);
    assertEquals(verdicts.map(({ base }) => base), answers.map(([, passes]) => passes));
  }));

Deno.test("mbpp-google: objects in sets, dictionaries and their keys are given to the sample's own class, too", () =>
  withTempDir(async (folder) => {
    const pair = "class Pair:\n  def __init__(self, a, b):\n    self.a, self.b = a, b\n";
    const total = "def total(pairs): return sum(pair.a * pair.b for pair in pairs)\n";
    const row = {
      task_id: 13,
      text: "Write a function to add up products.",
      code: pair + total,
      test_setup_code: "nested = [frozenset([Pair(5, 6)])]",
      test_list: [
        "assert total({Pair(1, 2), Pair(3, 4)}) == 14",
        "assert total({Pair(2, 2): int}) == 4",
        "assert total(nested[0]) == 30",
        "assert total({}) == 0",
      ],
    };
    const values = {
      ...row,
      task_id: 14,
      code: `${pair}def total(pairs): return sum(pair.a * pair.b for pair in pairs[0]['pairs'].values())`,
      test_setup_code: "",
      test_list: ["assert total([{'pairs': {'one': Pair(1, 2), 'two': Pair(2, 3)}, 'kinds': {int, str}}]) == 8"],
    };
    const benchmark = await loadBenchmark(await write(folder, [row, values]), "mbpp-google");
    const answers: [task: string, solution: string, passes: boolean][] = [
      ["Mbpp/13", pair + total, true],
      [
        "Mbpp/13",
        `${pair}def total(pairs): return sum(p.a * p.b for p in pairs if type(pairs) is not frozenset)`,
        false,
      ],
      ["Mbpp/13", `${pair}def total(pairs): return sum(p.a * p.b for p in pairs if type(pairs) is not dict)`, false],
      ["Mbpp/13", total, false],
      ["Mbpp/14", values.code, true],
      ["Mbpp/14", `${values.code} if pairs[0]['kinds'] == {int, str} else 0`, true],
      ["Mbpp/14", `${values.code} if type(pairs[0]) is not dict else 0`, false],
    ];
    const samples = answers.map(([task_id, solution]) => ({ task_id, solution }));
    const { verdicts } = await gradeSamples(benchmark, samples);
    assertEquals(verdicts.map(({ base }) => base), answers.map(([, , passes]) => passes), JSON.stringify(verdicts));
  }));

const mbpp = sharedData("evals/mbpp.jsonl");

Deno.test({
  name: "MBPP's own file has the 500 tasks of the test split, of which one has tests that do not run",
  ignore: !mbpp,
  fn: async () => {
    const { tasks } = await loadBenchmark(mbpp!, "mbpp-google");
    assertEquals([tasks.length, tasks[0].id, tasks.at(-1)!.id], [500, "Mbpp/11", "Mbpp/510"]);
    assertEquals(tasks.filter(({ unrunnable }) => unrunnable !== undefined).map(({ id }) => id), ["Mbpp/367"]);
  },
});
