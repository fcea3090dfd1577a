/** @file Benchmarks of programs: answers that are right pass, others fail, and what cannot be run is not counted. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { UserError } from "../../../dsl/errors.ts";
import { sharedData, withTempDir } from "../../../tests/support.ts";
import { loadDs1000 } from "./ds1000.ts";
import { runJavaScript } from "./javascript.ts";
import { type Language, languages, missingTools } from "./languages.ts";
import { gradePrograms } from "./mod.ts";
import { loadMultiplE } from "./multipl_e.ts";

/** Languages that can be run on this machine; the others' tests count as skipped. */
const runnable = new Set<string>();
for (const language of Object.keys(languages)) {
  if (await missingTools(language as Language) === undefined) runnable.add(language);
}

async function write(folder: string, rows: readonly unknown[]): Promise<string> {
  const path = `${folder}/tasks.jsonl`;
  await Deno.writeTextFile(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return path;
}

/** A task in each language, answers that pass and fail with the reason. */
const doubled: Partial<
  Record<Language, { prompt: string; tests: string; stop: string[]; answers: [string, RegExp][] }>
> = {
  js: {
    prompt: "function double(x){\n",
    tests: "const assert = require('node:assert');\nassert.deepEqual(double(2), 4);",
    stop: ["\nfunction "],
    answers: [
      ["  return 2 * x;\n}\nfunction more() {", /^$/],
      ["  y = x; return y + x;\n}", /^$/],
      ["  return x;\n}", /AssertionError/],
      ["  return 4;\n}\nprocess.exit(0);", /ended/],
      ["  return 4;\n}\nreturn;", /ended before/],
      ["  return require('fs').readFileSync('/etc/passwd').length;\n}", /NotCapable|Requires read access/],
      ["  Deno.listen({ port: 0 });\n  return 4;\n}", /NotCapable: Requires net access/],
    ],
  },
  ts: {
    prompt: "function double(x: number): number {\n",
    tests: "declare var require: any;\nconst assert = require('node:assert');\nassert.deepEqual(double(2), 4);",
    stop: ["\nclass"],
    answers: [["  return 2 * x;\n}", /^$/], ["  return x;\n}", /AssertionError/], [
      "  return 'a' + x;\n}",
      /TypeScript: .*assignable/,
    ]],
  },
  sh: {
    prompt: "double() {\n",
    tests: "}\n\nset -e\nrun_test() {\n    [[ $(double 2) = 4 ]]\n}\n\nrun_test",
    stop: ["\n}"],
    answers: [
      ["    echo $((2 * $1))\n}\nexit 0", /^$/],
      ["    echo $1", /exit code 1/],
      ["    :\n  }\nexit 0\nf() {", /ended before/],
      ["    [ -e /root ] || [ -e /home ] && echo 4", /exit code 1/],
      ["    cat < /dev/tcp/127.0.0.1/22", /exit code 1/],
    ],
  },
  cpp: {
    prompt: "#include<assert.h>\n#include<bits/stdc++.h>\nlong twice(long x) {\n",
    tests: "}\nint main() {\n    auto candidate = twice;\n    assert(candidate((2)) == (4));\n}\n",
    stop: ["\n}"],
    answers: [
      ["    return 2 * x;\n}\nlong more() {", /^$/],
      ["    return x;", /exit code .*Assertion/],
      ["    return y;", /exit code 1: .*error: .*not declared/],
      ['    std::ifstream file("/root"); return file ? 0 : std::filesystem::exists("/root") ? 4 : 5;', /Assertion/],
    ],
  },
  java: {
    prompt:
      "import java.util.*;\nimport org.javatuples.*;\nclass Problem {\n    public static Pair<Long, Long> twice(long x) {\n",
    tests:
      "    }\n    public static void main(String[] args) {\n    assert(twice((2l)).equals((Pair.with(2l, 4l))));\n    }\n\n}\n",
    stop: ["\n    }\n"],
    answers: [
      ["        return new Pair<>(x, 2 * x);\n    }\n    static void more() {", /^$/],
      ["        return Pair.with(x, x);", /exit code 1: .*AssertionError/],
      ["        return x;", /exit code 1: .*error: incompatible types/],
    ],
  },
  php: {
    prompt: "<?php\nfunction twice($x) {\n",
    tests: "function candidate(...$args) {\n    return twice(...$args);\n}\n\n" +
      'if (candidate(2) !== 4) { throw new Exception("Test failed!"); }\n',
    stop: ["\nfunction", "\n?>", "\n//", "\n#"],
    answers: [
      ["    return 2 * $x;\n}\nfunction more() {", /^$/],
      ["    return $x;\n}", /exit code 255: .*Test failed!/],
      ["    exit(0);\n}", /ended before/],
      ["    return @fsockopen('127.0.0.1', 22) || file_exists('/root') ? 4 : 5;\n}", /Test failed!/],
    ],
  },
  rs: {
    prompt: "fn twice(x: isize) -> isize {\n",
    tests: "}\n\nfn main() {\n    let candidate = twice;\n    assert_eq!(candidate(2), 4);\n}\n",
    stop: ["\n}"],
    answers: [
      ["    2 * x", /^$/],
      ["    x", /exit code 101: .*panicked/],
      ["    2.0 * x", /exit code 1: error/],
    ],
  },
};

for (const [name, { prompt, tests, stop, answers }] of Object.entries(doubled)) {
  const language = name as Language;
  Deno.test({
    name: `MultiPL-E in ${language}: what is right passes, what is wrong, ends early or reaches out fails`,
    ignore: !runnable.has(language),
    fn: () =>
      withTempDir(async (folder) => {
        const path = await write(folder, [{ name: "double", language, prompt, tests, stop_tokens: stop }]);
        const benchmark = await loadMultiplE(path, language);
        const samples = answers.map(([completion]) => ({ task_id: "double", completion }));
        const report = await gradePrograms(benchmark, samples, { k: [1, 2] });
        for (const [i, [text, reason]] of answers.entries()) assertMatch(report.verdicts[i].reason, reason, text);
        const right = answers.filter(([, reason]) => reason.test("")).length;
        assertEquals(report.passed, { base: right, plus: null });
        assertEquals(report.pass_at["1"].base, right / answers.length);
        await assertRejects(() => gradePrograms(benchmark, []), UserError, "double");
      }),
  });
}

Deno.test("JavaScript that does not end is ended, whatever it prints", async () => {
  assertMatch(await runJavaScript("for (;;) console.log('passed');", false, 3) ?? "", /more than 3 s/);
});

Deno.test("a language whose compiler is missing is not run: counted, and no zero", () =>
  withTempDir(async (folder) => {
    const task = { name: "f", language: "swift", prompt: "", tests: "", stop_tokens: [] };
    const benchmark = await loadMultiplE(await write(folder, [task, { ...task, name: "g" }]), "swift");
    const missing = () => Promise.resolve(new Map([["swift", "swiftc is not installed"]]));
    const report = await gradePrograms({ ...benchmark, missing }, [{ task_id: "f", completion: "" }]);
    assertEquals([report.tasks, report.passed.base, report.pass_at, report.verdicts], [0, null, {}, []]);
    assertEquals(report.not_run, { swift: { tasks: 2, reason: "swiftc is not installed" } });
    await assertRejects(() => loadMultiplE(`${folder}/tasks.jsonl`, "js"), UserError, 'not of "js"');
  }));

const multiplE = sharedData("evals/multipl-e/humaneval-js.jsonl");

Deno.test({
  name: "MultiPL-E's own files are read whole, stop tokens and all",
  ignore: !multiplE,
  fn: async () => {
    const counts = { js: 161, ts: 159, cpp: 161, java: 158, php: 161, rs: 156, sh: 158 } as const;
    for (const [language, count] of Object.entries(counts)) {
      const path = multiplE!.replace("-js.", `-${language}.`);
      const { tasks } = await loadMultiplE(path, language as Language);
      assertEquals([tasks.length, tasks.every(({ stop }) => stop.length > 0)], [count, true], language);
    }
  },
});

/** Three tasks of our own in DS-1000's format; the first two need Python's own library alone. */
function ownTasks(): unknown[] {
  const context = (library: string, tests: string): string =>
    `import ${library}
def generate_test_case(number):
    given = [3, 1, 2] if number == 1 else []
    return given, sorted(given)
def exec_test(result, answer):
    assert result == answer
    return 1
exec_context = "import ${library}\\nvalues = given\\n[insert]\\n"
def test_execution(solution):
    code = exec_context.replace("[insert]", solution)
    for number in range(1, 3):
        given, answer = generate_test_case(number)
        environment = {"given": given}
        exec(code, environment)
        assert exec_test(environment["result"], answer)
${tests}`;
  const noLoop = "def test_string(solution):\n    import tokenize, io\n" +
    "    assert 'for' not in [token.string for token in tokenize.tokenize(io.BytesIO(solution.encode()).readline)]\n";
  return [["statistics", ""], ["math", noLoop], ["xft_no_such_library", ""]].map(([library, tests], id) => ({
    prompt:
      "Sort values.\n<code>\nimport x\n</code>\nresult = ... # put solution in this variable\nBEGIN SOLUTION\n<code>\n",
    reference_code: "result = sorted(values)",
    metadata: { problem_id: id, library, test_case_cnt: 2 },
    code_context: context(library, tests),
  }));
}

Deno.test({
  name: "DS-1000: answers are executed and looked at; tasks of a missing library are not run",
  ignore: !runnable.has("sh"),
  fn: () =>
    withTempDir(async (folder) => {
      const benchmark = await loadDs1000(await write(folder, ownTasks()));
      const answers: [id: number, completion: string, reason: RegExp][] = [
        [0, "```python\nresult = sorted(values)\n```\nDone.", /^$/],
        [0, "result = sorted(values)\n</code>\nEND SOLUTION", /^$/],
        [0, "result = []", /AssertionError/],
        [0, "import sys; sys.exit(0)", /ended before/],
        [1, "result = sorted(values)", /^$/],
        [1, "result = sorted([v for v in values])", /AssertionError/],
        [2, "result = sorted(values)", /unused/],
      ];
      const samples = answers.map(([id, completion]) => ({ task_id: `DS-1000/${id}`, completion }));
      const report = await gradePrograms(benchmark, samples);
      for (const [i, { reason }] of report.verdicts.entries()) assertMatch(reason, answers[i][2], answers[i][1]);
      assertEquals([report.tasks, report.verdicts.length, report.passed.base], [2, 6, 3]);
      const reason = "Python's module xft_no_such_library is not installed";
      assertEquals(report.not_run, { xft_no_such_library: { tasks: 1, reason } });
      for (const none of ["null\n", "[]\n", "{\n"]) {
        await Deno.writeTextFile(`${folder}/bad`, none);
        await assertRejects(() => loadDs1000(`${folder}/bad`), UserError, "bad:1: not a JSON object");
      }
      await Deno.writeTextFile(`${folder}/bad`, '{"prompt": ""}');
      await assertRejects(() => loadDs1000(`${folder}/bad`), UserError, "bad:1: not a task of DS-1000");
    }),
});
