/** @file An evaluation that was ended goes on where it stood: nothing is generated or graded twice. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { open } from "../../../backend/open.ts";
import { loadTokenizer } from "../../../backend/tokenizer.ts";
import { startXft, withTempDir, xft } from "../../../tests/support.ts";
import { writeTinyModel } from "../../../tests/fixtures/tiny_folder.ts";
import { solve } from "../../cli/commands/evaluate/solve.ts";
import { loadModel } from "../../model/parameters.ts";
import { loadBenchmark } from "../benchmarks/load.ts";

/** Tasks of HumanEval's form; every canonical solution takes a while. */
const tasks = Array.from({ length: 8 }, (_, index) => ({
  task_id: `HumanEval/${index}`,
  prompt: `def f${index}(x):\n`,
  entry_point: `f${index}`,
  canonical_solution: `    import time\n    time.sleep(0.2)\n    return x + ${index}\n`,
  base_input: [[1], [2]],
  plus_input: [[3]],
  atol: 0,
}));

const lines = (rows: readonly unknown[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
const names = (folder: string): string[] => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();

/** A file's lines that are whole; none while there is no file. */
function linesOf(path: string): string[] {
  try {
    return Deno.readTextFileSync(path).split("\n").slice(0, -1);
  } catch {
    return [];
  }
}

async function ran(args: readonly string[], cwd: string): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await xft([...args, "--device", "cpu", "--json"], cwd);
  assertEquals(code, 0, stderr);
  return JSON.parse(stdout.trim().split("\n").at(-1)!);
}

Deno.test({
  name: "grading goes on after kill -9: what was found is kept, a line cut short is not, and the result is the same",
  ignore: Deno.build.os === "windows",
  fn: () =>
    withTempDir(async (folder) => {
      Deno.writeTextFileSync(join(folder, "tasks.jsonl"), lines(tasks));
      const samples = tasks.map(({ task_id, prompt, canonical_solution }, i) => ({
        task_id,
        solution: prompt + (i % 3 === 1 ? "    return x\n" : canonical_solution),
      }));
      Deno.writeTextFileSync(join(folder, "samples.jsonl"), lines(samples));
      const args = ["evaluate", "samples.jsonl", "--benchmark", "humaneval", "--data", "tasks.jsonl", "--jobs", "1"];
      const whole = await ran([...args, "--out", "whole"], folder);

      const child = startXft([...args, "--out", "out", "--device", "cpu"], folder);
      const kept = join(folder, "out.unfinished", "graded.jsonl");
      while (linesOf(kept).length < 3) await new Promise((later) => setTimeout(later, 20));
      child.kill("SIGKILL");
      await child.output();
      const before = linesOf(kept);
      assert(before.length < tasks.length, "it was ended in the middle");
      // A verdict that grading would not give: whoever grades it again loses it.
      const [place, found] = JSON.parse(before[0]);
      found.verdict.reason = "kept";
      Deno.writeTextFileSync(kept, `${JSON.stringify([place, found])}\n${before.slice(1).join("\n")}\n[7,{"verd`);

      const again = (flags: readonly string[]) => xft([...args, "--out", "out", "--device", "cpu", ...flags], folder);
      assertMatch((await again([])).stderr, /out\.unfinished: an unfinished evaluation .*--resume.*--overwrite/);
      assertMatch((await again(["--resume", "--limit", "2"])).stderr, /begun with another "limit"/);
      assertEquals(await ran([...args, "--out", "out", "--resume"], folder), whole);
      const verdicts = linesOf(join(folder, "out", "verdicts.jsonl")).map((line) => JSON.parse(line));
      assertEquals(verdicts[place].reason, "kept");
      assertEquals(verdicts.map(({ base }) => base), samples.map((_, i) => i % 3 !== 1));
      assertEquals(names(folder), ["out", "samples.jsonl", "tasks.jsonl", "whole"]);
      assertMatch((await again(["--resume"])).stderr, /there is no unfinished evaluation of .*out/);
      assertStringIncludes((await xft([...args, "--resume"], folder)).stderr, "give --out, too");
    }),
});

Deno.test("answers that were generated are not generated again, and the others come out as without a break", () =>
  withTempDir(async (folder) => {
    await writeTinyModel(join(folder, "model"), "dense");
    Deno.writeTextFileSync(join(folder, "tasks.jsonl"), lines(tasks.slice(0, 3)));
    const benchmark = await loadBenchmark(join(folder, "tasks.jsonl"), "humaneval");
    using tokenizer = loadTokenizer(join(folder, "model"));
    using device = await open("cpu");
    const loaded = loadModel(join(folder, "model"), device);
    const solutions = async (texts?: ReadonlyMap<number, string>): Promise<[string[], number[]]> => {
      const made: number[] = [];
      const { samples } = await solve(loaded, tokenizer, device, benchmark, {
        ...{ style: "magicoder", samplesPerTask: 2, maxTokens: 6, temperature: 1, seed: 3, texts },
        addText: (place) => made.push(place),
      });
      return [samples.map(({ solution }) => solution), made.sort()];
    };
    const [whole, all] = await solutions();
    assert(new Set(whole).size > 3, "a random model answers in many ways");
    assertEquals(all, [0, 1, 2, 3, 4, 5]);
    const [resumed, made] = await solutions(new Map([[1, "kept"], [5, "last"]]));
    assertEquals(made, [0, 2, 3, 4]);
    assertEquals(resumed, whole.with(1, resumed[1]).with(5, resumed[5]));
    assertMatch(resumed[1], /kept$/);
    assertMatch(resumed[5], /last$/);
  }));
