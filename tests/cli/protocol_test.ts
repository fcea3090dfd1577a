/** @file What a result says of how its samples were made, and what compare makes of it, as a user types it. */
import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { writeTinyModel } from "../fixtures/tiny_folder.ts";
import { withTempDir, xft } from "../support.ts";

const tasks = [0, 1].map((index) => ({
  task_id: `HumanEval/${index}`,
  prompt: `def f${index}(x):\n`,
  entry_point: `f${index}`,
  canonical_solution: `    return x + ${index}\n`,
  base_input: [[1], [2]],
  plus_input: [[3]],
  atol: 0,
}));

type Protocol = Readonly<Record<string, unknown>>;

/** A folder with the tasks, and what the tests do in it. */
function workIn(folder: string) {
  const at = (name: string): string => join(folder, name);
  const write = (name: string, rows: readonly unknown[]): void =>
    Deno.writeTextFileSync(at(name), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  write("tasks.jsonl", tasks);
  write("good.jsonl", tasks.map(({ task_id, canonical_solution }) => ({ task_id, completion: canonical_solution })));
  const evaluate = ["--benchmark", "humaneval", "--data", "tasks.jsonl", "--device", "cpu", "--json"];
  return {
    at,
    /** The protocol of a result. */
    async graded(target: string, out: string, ...flags: string[]): Promise<Protocol> {
      const { code, stdout, stderr } = await xft(["evaluate", target, ...evaluate, "--out", out, ...flags], folder);
      assertEquals(code, 0, stderr);
      return JSON.parse(stdout.trim().split("\n").at(-1)!).protocol;
    },
    async refused(...args: string[]): Promise<string> {
      const { code, stderr } = await xft(args[0] === "evaluate" ? [...args, ...evaluate] : args, folder);
      assertEquals(code, 1, stderr);
      return stderr.trim().split("\n").at(-1)!;
    },
    async compared(...args: string[]): Promise<Readonly<Record<string, unknown>>> {
      const { code, stdout, stderr } = await xft(["compare", ...args, "--json"], folder);
      assertEquals(code, 0, stderr);
      return JSON.parse(stdout.trim().split("\n").at(-1)!);
    },
  };
}

/** How samples were made, of a protocol. */
const making = ({ prompt, stop, max_tokens, temperature, top_p, sanitizer }: Protocol) => ({
  ...{ prompt, stop, max_tokens, temperature, top_p, sanitizer },
});

Deno.test("samples graded again keep what their report says of how they were made, as long as they are the same", () =>
  withTempDir(async (folder) => {
    const { at, graded, refused, compared } = workIn(folder);
    await writeTinyModel(at("model"), "dense");
    const first = await graded("model", "first", "--prompt", "base", "--max-tokens", "4");
    assertEquals({ ...making(first), stop: (first.stop as string[]).includes("\ndef ") }, {
      ...{ prompt: "base", stop: true, max_tokens: 4, temperature: 0, top_p: 1, sanitizer: "evalplus 0.3.1" },
    });
    const again = await graded("first/samples.jsonl", "again");
    assertEquals([making(again), again.model], [making(first), first.model]);
    assertEquals((await compared("first", "again")).not_known, []);
    // Twice removed it is still known; the raw answers were sanitised by nothing.
    assertEquals(making(await graded("again/samples.jsonl", "thrice")), making(first));
    assertEquals(making(await graded("first/samples.raw.jsonl", "raw")), { ...making(first), sanitizer: "none" });
    assertMatch(
      await refused("compare", "first", "raw"),
      /measured differently: sanitizer is "evalplus 0\.3\.1" in one and "none" in the other/,
    );
    assertMatch(
      await refused("evaluate", "first/samples.jsonl", "--temperature", "0.8"),
      /^xft: --temperature: temperature is 0\.8 by this flag and 0 by report\.json beside samples\.jsonl\.$/,
    );
    // Another file under the same name is not what the report speaks of.
    Deno.copyFileSync(at("good.jsonl"), at("first/samples.jsonl"));
    assertEquals((await graded("first/samples.jsonl", "other")).prompt, "unknown");
  }));

Deno.test("compare refuses samples that nobody knows how were made, unless asked; flags say how", () =>
  withTempDir(async (folder) => {
    const { graded, refused, compared } = workIn(folder);
    const said = ["--prompt", "base", "--max-tokens", "768", "--top-p", "1", "--sanitizer", "evalplus"];
    const unknown = await graded("good.jsonl", "unknown"),
      known = await graded("good.jsonl", "known", ...said, "--greedy");
    const words = { prompt: "unknown", stop: "unknown", max_tokens: "unknown", temperature: "unknown" };
    assertEquals(making(unknown), { ...words, top_p: "unknown", sanitizer: "unknown" });
    const { stop, ...rest } = making(known);
    assertEquals(rest, { prompt: "base", max_tokens: 768, temperature: 0, top_p: 1, sanitizer: "evalplus 0.3.1" });
    assertEquals((stop as string[]).includes("\ndef "), true);

    const sentence = (which: string): RegExp =>
      new RegExp(
        `^xft: how the samples of ${which} were made is not known \\(prompt, stop, max_tokens, temperature, top_p, ` +
          "sanitizer\\): .*--allow-unknown to compare them all the same\\.$",
      );
    assertMatch(await refused("compare", "known", "unknown"), sentence("the second"));
    assertMatch(await refused("compare", "unknown", "known"), sentence("the first"));
    assertMatch(await refused("compare", "unknown", "unknown"), sentence("both"));
    const { not_known, tasks } = await compared("unknown", "known", "--allow-unknown");
    assertEquals([not_known, tasks], [Object.keys(making(unknown)), 2]);

    await graded("good.jsonl", "sampled", ...said, "--temperature", "0.8");
    assertMatch(
      await refused("compare", "known", "sampled"),
      /^xft: these .* differently: temperature is 0 in one and 0\.8 /,
    );
    // What is known of both must be equal even so.
    const half = await graded("good.jsonl", "half", "--temperature", "0.8");
    assertEquals([half.temperature, half.prompt], [0.8, "unknown"]);
    assertMatch(await refused("compare", "known", "half", "--allow-unknown"), /differently: temperature is 0 in one/);
  }));

Deno.test("a report without a word on its samples is one whose samples nobody knows; flags for files are no model's", () =>
  withTempDir(async (folder) => {
    const { at, graded, refused } = workIn(folder);
    await graded("good.jsonl", "a", "--greedy");
    const path = at("a/report.json"), report = JSON.parse(Deno.readTextFileSync(path));
    const { prompt: _, ...protocol } = report.protocol;
    Deno.writeTextFileSync(path, JSON.stringify({ ...report, protocol }));
    assertMatch(await refused("compare", "a", "a"), /not known \(prompt, stop, max_tokens, sanitizer\)/);
    await writeTinyModel(at("model"), "dense");
    assertMatch(await refused("evaluate", "model", "--sanitizer", "none"), /says what a file of samples went through/);
    const { code, stderr } = await xft(
      ["evaluate", "good.jsonl", "--benchmark", "humaneval", "--data", "tasks.jsonl", "--prompt", "data"],
      folder,
    );
    assertEquals(code, 2);
    assertMatch(stderr, /--prompt data: the data of humaneval have no prompts/);
  }));
