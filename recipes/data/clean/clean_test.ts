/** @file Cleaning: repeats and parts of benchmarks are found, and what only looks like them stays. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { UserError } from "../../../dsl/errors.ts";
import { sharedData, withTempDir } from "../../../tests/support.ts";
import { seeded } from "../../random.ts";
import { recordsOf } from "../read/mod.ts";
import { cleaner, contaminationFinder, exactDuplicates, NEAR, nearDuplicates } from "./mod.ts";

/** A text of random words; the same number gives the same text. */
function words(seed: number, count: number): string[] {
  const random = seeded(seed);
  return Array.from({ length: count }, () => `w${random.integer(0, 5000)}`);
}

/** Share of three-word runs that two texts have in common, counted. */
function jaccard(a: readonly string[], b: readonly string[]): number {
  const runs = (text: readonly string[]): Set<string> =>
    new Set(text.slice(2).map((_, i) => text.slice(i, i + 3).join(" ")));
  const [one, two] = [runs(a), runs(b)];
  return one.intersection(two).size / one.union(two).size;
}

Deno.test("equal texts are found, and the first of them is named", () => {
  const finder = exactDuplicates();
  assertEquals(["a", "b", "A", "a", "c", "b"].map((text) => finder.find(text)), [
    undefined,
    undefined,
    undefined,
    0,
    undefined,
    1,
  ]);
});

Deno.test("texts well above the threshold are near-duplicates, texts well below it are not", () => {
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 0, max: 60 }), (seed, changes) => {
      const original = words(seed, 300), changed = original.slice(), random = seeded(`changes ${seed}`);
      for (let i = 0; i < changes; i++) changed[random.integer(0, 299)] = `changed${i}`;
      const alike = jaccard(original, changed), finder = nearDuplicates();
      finder.find(words(seed + 1, 300).join(" "));
      finder.find(original.join(" "));
      const found = finder.find(changed.join(", ").toUpperCase());
      // Four standard errors of the estimate on either side.
      if (alike > NEAR + 0.15) assertEquals(found, 1);
      if (alike < NEAR - 0.15) assertEquals(found, undefined);
    }),
    { numRuns: 60 },
  );
});

Deno.test("an example with a run of a task's words is contaminated, whatever stands between the words", () =>
  withTempDir(async (folder) => {
    const path = join(folder, "tasks.jsonl.gz");
    const tasks = [
      { task_id: "T/0", prompt: "def f(x):\n  " + words(1, 30).join(" "), canonical_solution: "return x" },
      { task_id: "T/1", text: "Write a function to count vowels quickly.", code: words(2, 40).join("\n") },
    ];
    Deno.writeFileSync(path, gzipSync(tasks.map((task) => JSON.stringify(task)).join("\n")));
    const find = await contaminationFinder([path], 8);
    const part = words(1, 30).slice(10, 18);
    assertEquals(find(`before, ${part.join("; ").toUpperCase()}.`), { task: `${path} T/0`, words: part.join(" ") });
    assertEquals(find(`before ${part.slice(1).join(" ")} after`), undefined);
    assertEquals(find("Please write a function to count vowels (quickly)!")?.task, `${path} T/1`);
    assertEquals(find("def f(x): return x"), undefined);
    Deno.writeTextFileSync(join(folder, "other.jsonl"), '{"question": "?"}');
    const error = await assertRejects(() => contaminationFinder([join(folder, "other.jsonl")]), UserError);
    assertStringIncludes(error.message, "other.jsonl:1: no task of a benchmark");
  }));

Deno.test("the cleaner says which example goes, why, and what it repeats", async () => {
  const example = (text: string) => ({
    raw: false,
    turns: [{ role: "user", content: text }, { role: "assistant", content: "yes" }],
  });
  const texts = ["one", "two", "one", "ONE"];
  const removed = async (duplicates?: "keep" | "exact" | "near") => {
    const clean = await cleaner({ duplicates });
    return texts.map((text, i) => clean({ where: `f:${i + 1}`, example: example(text) })).filter((one) => one);
  };
  assertEquals(await removed(), [{ where: "f:3", reason: "duplicate", detail: "f:1" }]);
  assertEquals(await removed("keep"), []);
  assertEquals(await removed("near"), [
    { where: "f:3", reason: "near-duplicate", detail: "f:1" },
    { where: "f:4", reason: "near-duplicate", detail: "f:1" },
  ]);
});

const humanEval = sharedData("evals/HumanEval.jsonl.gz"), mbpp = sharedData("evals/mbpp.jsonl");
Deno.test({
  name: "every task of HumanEval and MBPP that says enough is found in a text that quotes it",
  ignore: !humanEval || !mbpp,
  async fn() {
    const find = await contaminationFinder([humanEval!, mbpp!]);
    let tasks = 0, found = 0;
    for (const path of [humanEval!, mbpp!]) {
      for await (const record of recordsOf(path)) {
        const { prompt, text } = record.read() as { prompt?: string; text?: string };
        tasks++;
        if (find(`Solve this: ${prompt ?? text} Thank you.`)) found++;
      }
    }
    assertEquals(tasks, 164 + 974);
    assert(found >= tasks - 12, `${found} of ${tasks}`);
    assertEquals(find("Write a Python function that adds two numbers and returns the sum."), undefined);
  },
});
