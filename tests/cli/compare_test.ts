/** @file Results that are compared, and published folders that are checked, as a user types it. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { withTempDir, xft } from "../support.ts";
import { writeTinyModel } from "../fixtures/tiny_folder.ts";
import { additions, ran, refused, writeLines } from "./running.ts";

const tasks = additions(4);

Deno.test("compare lists tasks won and lost with both programs, and refuses unlike results; verify grades again", () =>
  withTempDir(async (folder) => {
    const write = (name: string, rows: readonly unknown[]): void => writeLines(folder, name, rows);
    write("tasks.jsonl", tasks);
    // Right programs of A: 0, 2 (its 2 fails in the plus tests); of B: 0, 1, 2.
    const added = { a: [0, 5, 2, 5], b: [0, 1, 2, 6] };
    for (const name of ["a", "b"] as const) {
      const solution = (index: number): string =>
        `def f${index}(x):\n    return x + ${added[name][index]}` +
        (name === "a" && index === 2 ? " if x < 3 else 0" : "");
      write(`${name}.jsonl`, tasks.map(({ task_id }, index) => ({ task_id, solution: solution(index) })));
      const evaluate = ["evaluate", `${name}.jsonl`, "--benchmark", "humaneval", "--data", "tasks.jsonl"];
      const made = ["--prompt", "base", "--greedy", "--max-tokens", "768", "--sanitizer", "evalplus"];
      await ran([...evaluate, ...made, "--out", name], folder);
    }
    const json = await ran(["compare", "a", "b"], folder), { stdout: text } = await xft(["compare", "a", "b"], folder);
    const won = json.won as { task_id: string; a: { program: string; passed: number }; b: { program: string } }[];
    assertEquals(won.map(({ task_id }) => task_id), ["HumanEval/1", "HumanEval/2"]);
    assertEquals([won[0].a.passed, won[0].a.program, won[0].b.program], [
      0,
      "def f1(x):\n    return x + 5",
      "def f1(x):\n    return x + 1",
    ]);
    assertEquals([json.lost, json.tasks, json.difference], [[], 4, 0.5]);
    // Two wins out of two: 2 · 1/4.
    assertEquals((json.p_value as { mcnemar: number }).mcnemar.toFixed(6), "0.500000");
    assertMatch(text, /^ {4}return x \+ 5 +│ {5}return x \+ 1$/m);
    assertMatch(text, /B wins 2 of 4 tasks and loses 0/);

    assertEquals((await ran(["verify", "a", "--data", "tasks.jsonl"], folder)).verified, true);
    assertMatch(await refused(["verify", "a"], folder), /graded with a file of SHA-256 [0-9a-f]{64}/);
    const verdicts = join(folder, "a/verdicts.jsonl"), kept = Deno.readTextFileSync(verdicts);
    Deno.writeTextFileSync(verdicts, kept.replace('"base":false', '"base":true'));
    assertMatch(await refused(["verify", "a", "--data", "tasks.jsonl"], folder), /HumanEval\/1\) was base true/);

    const path = join(folder, "a/report.json"), report = JSON.parse(Deno.readTextFileSync(path));
    Deno.writeTextFileSync(path, JSON.stringify({ ...report, protocol: { ...report.protocol, prompt: "chat" } }));
    assertMatch(
      await refused(["compare", "a", "b"], folder),
      /measured differently: prompt is "chat" in one and "base" in the other/,
    );
    assertMatch(await refused(["compare", "a", "."], folder), /this is no result .* xft evaluate SAMPLES/);
  }));

Deno.test("compare always says how many tasks a difference needs: what is no chance, what may be one, and none", () =>
  withTempDir(async (folder) => {
    /** A result of ten tasks; which of them passed. */
    const write = (name: string, passed: (task: number) => boolean): void => {
      const ids = Array.from({ length: 10 }, (_, i) => i);
      const lines = (row: (id: number) => unknown): string => ids.map((id) => `${JSON.stringify(row(id))}\n`).join("");
      const file = (path: string, content: string): void => Deno.writeTextFileSync(join(folder, name, path), content);
      Deno.mkdirSync(join(folder, name));
      const made = { prompt: "base", stop: [], max_tokens: 1, temperature: 0, top_p: 1, sanitizer: "none" };
      file("report.json", JSON.stringify({ benchmark: "humaneval", protocol: made }));
      file("samples.jsonl", lines((id) => ({ task_id: `HumanEval/${id}`, solution: "" })));
      file("verdicts.jsonl", lines((id) => ({ task_id: `HumanEval/${id}`, base: passed(id), plus: null, reason: "" })));
    };
    write("none", () => false);
    write("six", (task) => task < 6);
    write("two", (task) => task < 2);
    // With a share w of tasks won and none lost: ((1.96·√w + 0.8416·√(w − w²)) / w)².
    const cases: [b: string, p: string, needed: number | null, words: RegExp][] = [
      ["six", "0.0313", 11, /call it real\. Were it measured anew, about 11 tasks like these would show it/],
      ["two", "0.5000", 37, /in 50% of such comparisons; were the difference real, about 37 tasks like these would/],
      ["none", "1.0000", null, /There is no difference that more tasks would show\./],
    ];
    for (const [b, p, needed, words] of cases) {
      const json = await ran(["compare", "none", b], folder);
      const { mcnemar } = json.p_value as { mcnemar: number };
      assertEquals([mcnemar.toFixed(4), json.tasks_needed], [p, needed], b);
      assertMatch((await xft(["compare", "none", b, "--brief"], folder)).stdout, words);
    }
  }));

Deno.test("verify runs programs in other languages again", () =>
  withTempDir(async (folder) => {
    const write = (name: string, rows: readonly unknown[]): void => writeLines(folder, name, rows);
    const tests = "const assert = require('node:assert');\nassert.deepEqual(double(2), 4);";
    write("js.jsonl", [
      { name: "double", language: "js", prompt: "function double(x){\n", tests, stop_tokens: ["\nfunction "] },
    ]);
    write(
      "answers.jsonl",
      ["  return 2 * x;\n}", "  return x;\n}"].map((completion) => ({ task_id: "double", completion })),
    );
    await ran(
      ["evaluate", "answers.jsonl", "--benchmark", "multipl-e:js", "--data", "js.jsonl", "--out", "js"],
      folder,
    );
    const verify = ["verify", "js", "--data", "js.jsonl"];
    const { results } = await ran(verify, folder) as { results: { samples: number; different: string[] }[] };
    assertEquals(results.map(({ samples, different }) => [samples, different]), [[2, []]]);
    const path = join(folder, "js/samples.jsonl");
    Deno.writeTextFileSync(path, Deno.readTextFileSync(path).replace("return x;", "return 4;"));
    assertMatch(await refused(verify, folder), /sample 2 \(double\) was base false/);
  }));

Deno.test("verify repeats a merge bit for bit, and sees one bit that is another", () =>
  withTempDir(async (folder) => {
    await writeTinyModel(join(folder, "moe"), "mixture");
    await ran(["merge", "moe", "--out", "merged", "--method", "uniform", "--lambda", "0.7"], folder);
    assertEquals((await ran(["verify", "merged", "--moe", "moe"], folder)).merge, { equal: true });
    const path = join(folder, "merged/model.safetensors"), bytes = Deno.readFileSync(path);
    bytes[bytes.length - 3] ^= 1;
    Deno.writeFileSync(path, bytes);
    assert(
      /model\.safetensors is not what the merge gives/.test(
        await refused(["verify", "merged", "--moe", "moe"], folder),
      ),
    );
  }));
