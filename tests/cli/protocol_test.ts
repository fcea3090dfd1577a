/** @file What a result says of how its samples were made, and what compare makes of it, as a user types it. */
import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { writeTinyModel } from "../fixtures/tiny_folder.ts";
import { withTempDir } from "../support.ts";
import { additions, ran, refused, writeLines } from "./running.ts";

type Protocol = Readonly<Record<string, unknown>>;

/** A folder with two tasks and right samples of them, and what the tests do in it. */
function workIn(folder: string) {
  const tasks = additions(2), evaluate = ["--benchmark", "humaneval", "--data", "tasks.jsonl"];
  writeLines(folder, "tasks.jsonl", tasks);
  writeLines(
    folder,
    "good.jsonl",
    tasks.map(({ task_id, canonical_solution }) => ({ task_id, completion: canonical_solution })),
  );
  return {
    at: (name: string): string => join(folder, name),
    /** The protocol of a result. */
    graded: async (target: string, out: string, ...flags: string[]): Promise<Protocol> =>
      (await ran(["evaluate", target, ...evaluate, "--out", out, ...flags], folder)).protocol as Protocol,
    notGraded: (target: string, flags: readonly string[], exitCode = 1): Promise<string> =>
      refused(["evaluate", target, ...evaluate, ...flags], folder, {}, exitCode),
    compared: (...args: string[]) => ran(["compare", ...args], folder),
    notCompared: (...args: string[]): Promise<string> => refused(["compare", ...args], folder),
  };
}

/** How samples were made, of a protocol. */
const making = ({ prompt, stop, max_tokens, temperature, top_p, sanitizer }: Protocol) => ({
  ...{ prompt, stop, max_tokens, temperature, top_p, sanitizer },
});

Deno.test("samples graded again keep what their report says of how they were made, as long as they are the same", () =>
  withTempDir(async (folder) => {
    const { at, graded, notGraded, compared, notCompared } = workIn(folder);
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
      await notCompared("first", "raw"),
      /measured differently: sanitizer is "evalplus 0\.3\.1" in one and "none" in the other/,
    );
    assertMatch(
      await notGraded("first/samples.jsonl", ["--temperature", "0.8"]),
      /^xft: --temperature: temperature is 0\.8 by this flag and 0 by report\.json beside samples\.jsonl\.$/,
    );
    // Another file under the same name is not what the report speaks of.
    Deno.copyFileSync(at("good.jsonl"), at("first/samples.jsonl"));
    assertEquals((await graded("first/samples.jsonl", "other")).prompt, "unknown");
  }));

Deno.test("compare refuses samples that nobody knows how were made, unless asked; flags say how", () =>
  withTempDir(async (folder) => {
    const { graded, compared, notCompared } = workIn(folder);
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
    assertMatch(await notCompared("known", "unknown"), sentence("the second"));
    assertMatch(await notCompared("unknown", "known"), sentence("the first"));
    assertMatch(await notCompared("unknown", "unknown"), sentence("both"));
    const { not_known, tasks } = await compared("unknown", "known", "--allow-unknown");
    assertEquals([not_known, tasks], [Object.keys(making(unknown)), 2]);

    await graded("good.jsonl", "sampled", ...said, "--temperature", "0.8");
    assertMatch(
      await notCompared("known", "sampled"),
      /^xft: these .* differently: temperature is 0 in one and 0\.8 /,
    );
    // What is known of both must be equal even so.
    const half = await graded("good.jsonl", "half", "--temperature", "0.8");
    assertEquals([half.temperature, half.prompt], [0.8, "unknown"]);
    assertMatch(await notCompared("known", "half", "--allow-unknown"), /differently: temperature is 0 in one/);
  }));

Deno.test("a report without a word on its samples is one whose samples nobody knows; flags for files are no model's", () =>
  withTempDir(async (folder) => {
    const { at, graded, notGraded, notCompared } = workIn(folder);
    await graded("good.jsonl", "a", "--greedy");
    const path = at("a/report.json"), report = JSON.parse(Deno.readTextFileSync(path));
    const { prompt: _, ...protocol } = report.protocol;
    Deno.writeTextFileSync(path, JSON.stringify({ ...report, protocol }));
    assertMatch(await notCompared("a", "a"), /not known \(prompt, stop, max_tokens, sanitizer\)/);
    await writeTinyModel(at("model"), "dense");
    assertMatch(await notGraded("model", ["--sanitizer", "none"]), /says what a file of samples went through/);
    assertMatch(
      await notGraded("good.jsonl", ["--prompt", "data"], 2),
      /^xft: --prompt data: the data of humaneval have/,
    );
  }));
