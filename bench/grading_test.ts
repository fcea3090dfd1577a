/** @file Grading is timed cold and warm, in turns, and what passed is told beside the times. */
import { assert, assertEquals } from "@std/assert";
import { whyNotConfined } from "../recipes/evaluate/sandbox/bwrap.ts";
import { checkout, withTempDir } from "../tests/support.ts";
import type { Grading } from "./grading.ts";

const tasks = [1, 2].map((index) => ({
  task_id: `HumanEval/${index}`,
  prompt: `def f${index}(x):\n`,
  entry_point: `f${index}`,
  canonical_solution: `    return x + ${index}\n`,
  base_input: [[1]],
  plus_input: [[2]],
  atol: 0,
}));

Deno.test("grading is timed by everyone, first without and then with what is expected", () =>
  withTempDir(async (folder) => {
    const data = `${folder}/tasks.jsonl`, reason = await whyNotConfined();
    Deno.writeTextFileSync(data, tasks.map((task) => `${JSON.stringify(task)}\n`).join(""));
    const words = ["run", "--quiet", "--allow-all", checkout("bench/grading.ts"), "--data", data, "--json"];
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args: words }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    const all: Grading[] = JSON.parse(new TextDecoder().decode(stdout).trim());
    const graders = ["xft, Pyodide", ...(reason === undefined ? ["xft, bubblewrap"] : [])];
    assertEquals(
      all.map(({ by, references }) => [references, by]),
      ["cold", "warm"].flatMap((references) => graders.map((by) => [references, by])),
    );
    for (const { seconds, threads, passed } of all) {
      assertEquals(passed, { base: 2, plus: 2 });
      assert(seconds > 0 && threads > 0);
    }
    const { success } = await new Deno.Command(Deno.execPath(), { args: [...words, "--python", "none"] }).output();
    assert(!success, "a Python without evalplus is refused");
  }));
