/** @file XFT's steps as a user types them, on a model of a few thousand weights; and what each refuses. */
import { assert, assertEquals, assertLess, assertLessOrEqual, assertMatch, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { openModel } from "../../recipes/convert/huggingface.ts";
import { sha256 } from "../../recipes/evaluate/bytes.ts";
import { ran, refused } from "./running.ts";
import { withTempDir } from "../support.ts";
import { EOS, writeTinyData, writeTinyModel } from "../fixtures/tiny_folder.ts";

/** A dense model and data to tune it on. */
async function prepare(folder: string): Promise<void> {
  await writeTinyModel(join(folder, "dense"), "dense");
  writeTinyData(join(folder, "data.jsonl"));
}

/** Runs a command on the CPU and gives its JSON object. */
const stage = ["--data", "data.jsonl", "--batch", "2", "--seq", "288", "--validation", "3"];

Deno.test("upcycle, train, learn, merge, generate, evaluate: each takes what the one before wrote", () =>
  withTempDir(async (folder) => {
    await prepare(folder);
    const run = (...args: string[]): Promise<Record<string, unknown>> => ran(args, folder);

    const upcycled = await run(
      "upcycle",
      "dense",
      "--out",
      "moe",
      "--experts",
      "4",
      "--active",
      "3",
      "--data",
      "data.jsonl",
    );
    assertLessOrEqual((upcycled.step_zero as { largest: number }).largest, 1e-4);

    const tuning = ["--stage", "moe", ...stage, "--steps", "4", "--lr", "0.01", "--optimizer", "adamw"];
    const planned = await run("train", "moe", "--out", "tuned", ...tuning, "--decay", "wsd", "--dry-run");
    assertEquals((planned.schedule as { kind: string }).kind, "wsd");
    const trained = await run("train", "moe", "--out", "tuned", ...tuning);
    assertEquals((trained.schedule as { kind: string }).kind, "linear");
    assertLess(trained.after as number, trained.before as number);
    const lines = Deno.readTextFileSync(join(folder, "tuned/metrics.jsonl")).trim().split("\n");
    assertEquals(lines.map((line) => JSON.parse(line)).filter(({ loss }) => loss !== undefined).length, 4);

    const learning = ["tuned", ...stage, "--steps", "3", "--lr", "0.1"];
    const learned = await run("learn", ...learning, "--out", "c.json");
    assertLessOrEqual(learned.learned_loss as number, learned.uniform_loss as number);
    // Where α may go is measured beside where it went: one loss for each routed expert.
    assertEquals((learned.vertex_losses as number[]).map(Number.isFinite), [true, true, true]);
    assertEquals((await run("learn", ...learning, "--no-vertices", "--out", "again.json")).vertex_losses, undefined);
    assertEquals(Deno.readTextFileSync(join(folder, "again.json")), Deno.readTextFileSync(join(folder, "c.json")));

    const merged = await run("merge", "tuned", "--out", "merged", "--coefficients", "c.json");
    assertEquals([merged.method, merged.lambda], ["xft", 0.25]);
    // Benchmarks ask the merged model as its mixture was trained.
    assertEquals(JSON.parse(Deno.readTextFileSync(join(folder, "merged/xft_prompt.json"))).prompt, "magicoder");
    const inspected = await run("inspect", "merged");
    assertEquals([inspected.spare_rows, (inspected.config as { kind: string }).kind], [2, "llama"]);

    const generated = await run(
      "generate",
      "merged",
      "--prompt",
      "a",
      "--prompt",
      "bc",
      "--max-tokens",
      "5",
      "--top",
      "3",
    );
    const results = generated.results as { prompt_ids: number[]; ids: number[]; top: [number, number][] }[];
    assertEquals(results.map(({ top }) => top.length), [3, 3]);
    assertEquals(results[0].ids[0] ?? EOS, results[0].top[0][0]);
    assert(results.every(({ ids }) => ids.length <= 5 && ids.every((id) => id < 258)), "a spare row was generated");

    Deno.writeTextFileSync(join(folder, "text"), "cat cat");
    const loss = await run("evaluate", "merged", "--benchmark", "perplexity", "--data", "text");
    assertEquals(loss.tokens, 6);
    assert((loss.nll as number) > 0);
    const { dataset_sha256 } = loss.protocol as { dataset_sha256: string };
    assertEquals(dataset_sha256, await sha256(Deno.readFileSync(join(folder, "text"))));

    const questions = [{ prompt: "cat ", choices: ["cat", "dog"], answer: 0 }, {
      question: "b",
      choices: ["c", "d"],
      answer: 1,
    }];
    Deno.writeTextFileSync(join(folder, "questions.jsonl"), questions.map((each) => JSON.stringify(each)).join("\n"));
    const choices = ["--benchmark", "choices", "--data", "questions.jsonl"];
    const both = await run("evaluate", "merged", ...choices);
    const first = await run("evaluate", "merged", ...choices, "--limit", "1");
    const { value, interval } = both.accuracy as { value: number; interval: [number, number] };
    assert([0, 0.5, 1].includes(value) && interval[0] <= value && value <= interval[1]);
    assertEquals([both.questions, first.questions], [2, 1]);
    Deno.writeTextFileSync(join(folder, "questions.jsonl"), '{"prompt": "a", "choices": ["b", "c"], "answer": 2}');
    assertMatch(await refused(["evaluate", "merged", ...choices], folder), /questions\.jsonl:1: "answer" is 2/);

    const dry = await run("merge", "tuned", "--out", "elsewhere", "--method", "shared", "--dry-run");
    assertEquals([dry.dry_run, dry.lambda], [true, 1]);
    const differs = await refused(
      ["merge", "tuned", "--out", "x", "--coefficients", "c.json", "--lambda", "0.5"],
      folder,
      {},
      2,
    );
    assertMatch(differs, /--lambda 0\.5: .*learned with λ 0\.25/);
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
    assertEquals(names, [
      "again.json",
      "again.metrics.jsonl",
      "c.json",
      "c.metrics.jsonl",
      "data.jsonl",
      "dense",
      "merged",
      "moe",
      "questions.jsonl",
      "text",
      "tuned",
    ]);
  }));

Deno.test("run: the stages of a recipe once each, all in metrics.jsonl; it resumes, and refuses another recipe", () =>
  withTempDir(async (folder) => {
    await prepare(folder);
    const small = { steps: 2, batch: 2, seq: 288 };
    const recipe = {
      model: "dense",
      data: ["data.jsonl"],
      validation: 3,
      mixture: { experts: 3, active: 2 },
      moe: { ...small, rates: { "layers.0": 0 } },
    };
    const write = (more: object): void =>
      Deno.writeTextFileSync(join(folder, "recipe.json"), JSON.stringify({ ...recipe, ...more }));
    write({ learn: { ...small, lr: 0.1 } });
    const args = ["run", "recipe.json", "--out", "runs/one", "--tensorboard", "events"];
    const report = await ran(args, folder);
    assertEquals((report.merge as { method: string }).method, "xft");
    const metrics = join(folder, "runs/one/metrics.jsonl"), text = Deno.readTextFileSync(metrics);
    const stages = new Set(text.trim().split("\n").map((line) => JSON.parse(line).stage));
    assertEquals([...stages], ["convert", "upcycle", "moe", "learn", "merge uniform", "merge"]);
    const [mixed, tuned] = ["moe", "tuned"].map((name) => {
      using opened = openModel(join(folder, "runs/one/models", name));
      return [0, 1].map((layer) => opened.checkpoint.read(`model.layers.${layer}.self_attn.q_proj.weight`));
    });
    assertEquals(tuned[0], mixed[0], "what the recipe freezes keeps still");
    assertNotEquals(tuned[1], mixed[1]);
    // Both stages that have steps write their own file, and no other stage does.
    const events = [...Deno.readDirSync(join(folder, "events"))].map(({ name }) => join(folder, "events", name)).sort();
    const tags = events.map((path) => new TextDecoder("latin1").decode(Deno.readFileSync(path)));
    assertEquals(tags.map((text) => ["moe/loss", "learn/loss"].filter((tag) => text.includes(tag))), [["moe/loss"], [
      "learn/loss",
    ]]);
    assertMatch(await refused(args, folder), /runs\/one: this folder is not empty/);
    assertEquals((await ran([...args, "--resume"], folder)).learn, report.learn);
    assertEquals(Deno.readTextFileSync(metrics), text);
    const data = join(folder, "data.jsonl"), records = Deno.readTextFileSync(data);
    Deno.writeTextFileSync(data, records.replace("cat", "cod"));
    assertMatch(
      await refused([...args, "--resume"], folder),
      /begun with another content of "data" \(.*data\.jsonl had/,
    );
    Deno.writeTextFileSync(data, records);
    write({ learn: { ...small, lr: 0.2 } });
    assertMatch(await refused([...args, "--resume"], folder), /a run of another recipe/);
    write({ lern: {} });
    assertMatch(
      await refused(["run", "recipe.json", "--out", "runs/two"], folder),
      /"lern" is no field of a recipe/,
    );
  }));

Deno.test("evaluate: samples are run and judged; counts, intervals and protocol come out", () =>
  withTempDir(async (folder) => {
    const write = (name: string, rows: readonly unknown[]): void =>
      Deno.writeTextFileSync(join(folder, name), rows.map((row) => JSON.stringify(row)).join("\n"));
    const head = (index: number): string => `def f${index}(x):\n    """Adds ${index}."""\n`;
    write(
      "tasks.jsonl",
      [0, 1, 2].map((index) => ({
        task_id: `HumanEval/${index}`,
        prompt: head(index),
        entry_point: `f${index}`,
        canonical_solution: `    return x + ${index}\n`,
        base_input: [[1], [2]],
        plus_input: [[3]],
        atol: 0,
      })),
    );
    const bodies = ["    return x\n", "    return x + 1 if x < 3 else 0\n", "    while True: pass\n"];
    write(
      "samples.jsonl",
      bodies.map((body, index) => ({ task_id: `HumanEval/${index}`, solution: head(index) + body })),
    );
    const args = ["evaluate", "samples.jsonl", "--benchmark", "humaneval", "--data", "tasks.jsonl", "--limit", "2"];
    const report = await ran([...args, "--out", "graded"], folder);
    assertEquals([report.tasks, report.passed], [2, { base: 2, plus: 1 }]);
    const { "1": first } = report.pass_at as Record<
      string,
      { base: number; plus: number; interval: { base: number[] } }
    >;
    assertEquals([first.base, first.plus, first.interval.base.length], [1, 0.5, 2]);
    assertMatch((report.protocol as { sandbox: string }).sandbox, /pyodide/);
    assertEquals([...Deno.readDirSync(join(folder, "graded"))].map(({ name }) => name).sort(), [
      "report.json",
      "samples.jsonl",
      "verdicts.jsonl",
    ]);
    Deno.writeTextFileSync(join(folder, "samples.jsonl"), '{"task_id": "HumanEval/0", "solution": ""}\nnot json');
    assertMatch(await refused(args, folder), /samples\.jsonl:2: not JSON/);
    assertMatch(
      await refused(["evaluate", "none.jsonl", ...args.slice(2)], folder),
      /there is no such model or file/,
    );
  }));

Deno.test("bad data and models of the wrong kind are refused in one sentence, before anything is computed", () =>
  withTempDir(async (folder) => {
    await prepare(folder);
    const train = ["train", "dense", "--out", "out", "--stage", "sft", ...stage, "--steps", "1"];
    Deno.writeTextFileSync(
      join(folder, "data.jsonl"),
      '{"instruction": "a", "response": "b"}\n{"instruction": "a", \n',
    );
    assertMatch(await refused(train, folder), /data\.jsonl:2: this is not JSON/);
    assertMatch(
      await refused(["learn", "dense", "--out", "c.json", ...stage], folder),
      /data\.jsonl:2: this is not JSON/,
    );
    assertMatch(await refused([...train, "--data", "none.jsonl"], folder), /data\.jsonl:2/);
    assertMatch(await refused(["merge", "dense", "--out", "out"], folder), /dense: this model is dense already/);
    assertMatch(await refused(["generate", "dense", "--prompt", "a".repeat(600)], folder), /512/);
    assertMatch(await refused(["tokenize", "dense", "--ids", "1,9999"], folder), /9999 is no token id/);
    const path = join(folder, "dense/tokenizer.json");
    Deno.writeTextFileSync(path, Deno.readTextFileSync(path).replace('"vocab":{', '"vocab":{"extra":300,'));
    assertMatch(await refused(["inspect", "dense"], folder), /token ids up to 300, the embedding has only 260 rows/);
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), ["data.jsonl", "dense"]);
  }));
