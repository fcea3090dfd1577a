/** @file `xft data` from outside, and that `train`, `learn` and `run` read data by the same flags. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import { withTempDir, xft } from "../support.ts";
import { writeTinyData, writeTinyModel } from "../fixtures/tiny_folder.ts";

const chat = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}\n{% endfor %}" +
  "{% if add_generation_prompt %}<assistant>{% endif %}";

/** What a command says under --json. */
async function object(args: string[], cwd: string): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await xft([...args, "--json"], cwd);
  assertEquals(code, 0, stderr);
  return JSON.parse(stdout.trim().split("\n").at(-1)!);
}

Deno.test("data shows what a model reads and learns, counts, and writes down what was left out", () =>
  withTempDir(async (folder) => {
    await writeTinyModel(join(folder, "dense"), "dense");
    Deno.writeTextFileSync(join(folder, "dense/tokenizer_config.json"), JSON.stringify({ chat_template: chat }));
    writeTinyData(join(folder, "data.jsonl"));
    const text = Deno.readTextFileSync(join(folder, "data.jsonl"));
    Deno.writeFileSync(join(folder, "data.jsonl.zst"), zstdCompressSync(`${text}\n${text.split("\n")[1]}\nno\n`));
    Deno.writeTextFileSync(
      join(folder, "tasks.jsonl"),
      '{"task_id": "T/1", "text": "a text about a bird of some kind"}',
    );

    const plain = await xft(["data", "data.jsonl", "--show", "1", "--validation", "2"], folder);
    assertEquals(plain.code, 0, plain.stderr);
    assertStringIncludes(plain.stdout, "@@ Instruction\nName: cat\n\n@@ Response\n⟦cat cat<end>⟧");
    assertStringIncludes(plain.stdout, "8 samples");
    assertStringIncludes(plain.stdout, "2 for validation");
    assert(!plain.stdout.includes("\x1b["), "colours where there is no terminal");

    const flags = [
      "--model",
      "dense",
      "--template",
      "model",
      "--show",
      "2",
      "--validation",
      "2",
      "--pack",
      "documents",
    ];
    const refused = await xft(["data", "data.jsonl.zst", ...flags], folder);
    assertEquals(refused.code, 1);
    assertMatch(refused.stderr, /data\.jsonl\.zst:12: this is not JSON/);
    const drops = ["--skip-malformed", "--drops", "drops.jsonl", "--decontaminate", "tasks.jsonl"];
    const { samples, removed, unit, rows } = await object(["data", "data.jsonl.zst", ...flags, ...drops], folder);
    assertEquals(unit, "tokens");
    assert(rows as number < 8);
    const [first] = samples as { where: string; parts: { text: string; scored: boolean }[] }[];
    assertStringIncludes(first.where, "data.jsonl.zst:1");
    assertEquals(first.parts.map((part) => [part.text, part.scored]), [
      ["<user>Name: cat<eos>\n<assistant>", false],
      ["cat cat<eos>", true],
    ]);
    const reasons = { "malformed": 1, "duplicate": 1, "near-duplicate": 0, "contaminated": 0 };
    assertEquals(removed, { ...reasons, "too long": 0, "in validation": 0 });
    const lines = Deno.readTextFileSync(join(folder, "drops.jsonl")).trim().split("\n").map((line) => JSON.parse(line));
    assertEquals(lines.map(({ reason }) => reason), ["duplicate", "malformed"]);
    assertMatch(lines[0].detail, /data\.jsonl\.zst:2$/);
  }));

Deno.test("train, learn and run read data by the same flags, a recipe says them by the same names", () =>
  withTempDir(async (folder) => {
    await writeTinyModel(join(folder, "dense"), "dense");
    await writeTinyModel(join(folder, "moe"), "mixture");
    writeTinyData(join(folder, "plain.jsonl"));
    const renamed = Deno.readTextFileSync(join(folder, "plain.jsonl"))
      .replaceAll('"instruction"', '"ask"').replaceAll('"response"', '"say"');
    Deno.writeTextFileSync(join(folder, "data.jsonl"), `${renamed}\n{`);
    const settings = {
      fields: "instruction=ask,response=say",
      template: "none",
      pack: "documents",
      skipMalformed: true,
    };
    const flags = ["--fields", settings.fields, "--template", "none", "--pack", "documents", "--skip-malformed"];
    const stage = ["--data", "data.jsonl", "--validation", "3", "--batch", "2", "--seq", "64", "--steps", "2"];
    const device = ["--device", "cpu"];
    const train = await object(
      ["train", "dense", "--out", "sft", "--stage", "sft", ...stage, ...flags, ...device],
      folder,
    );
    const learn = await object(["learn", "moe", "--out", "c.json", ...stage, ...flags, ...device], folder);
    const recipe = { model: "dense", data: ["data.jsonl"], validation: 3, moe: { steps: 1 }, learn: { steps: 1 } };
    const sizes = { batch: 2, seq: 64 };
    const whole = { ...recipe, moe: { ...sizes, ...recipe.moe }, learn: { ...sizes, ...recipe.learn } };
    Deno.writeTextFileSync(join(folder, "said.json"), JSON.stringify({ ...whole, ...settings }));
    Deno.writeTextFileSync(join(folder, "bare.json"), JSON.stringify(whole));
    const said = await object(["run", "said.json", "--out", "said", ...device], folder);
    const bare = await object(["run", "bare.json", "--out", "bare", ...flags, ...device], folder);
    type Result = { data: { train: number; rows: number; removed: { malformed: number } } };
    const reports = [train, learn, said.moe, said.learn, bare.moe, bare.learn].map((one) => (one as Result).data);
    for (const report of reports) {
      assertEquals([report.train, report.removed.malformed], [7, 1]);
      assert(report.rows < report.train, "packed rows are fewer than samples");
    }
  }));

Deno.test("train and learn write what metrics.jsonl says as TensorBoard's events, where they are asked to", () =>
  withTempDir(async (folder) => {
    await writeTinyModel(join(folder, "moe"), "mixture");
    writeTinyData(join(folder, "data.jsonl"));
    const stage = ["--data", "data.jsonl", "--validation", "3", "--batch", "2", "--seq", "256", "--steps", "2"];
    const flags = [...stage, "--device", "cpu", "--tensorboard", "events"];
    await object(["train", "moe", "--out", "tuned", "--stage", "moe", ...flags], folder);
    await object(["learn", "moe", "--out", "c.json", ...flags], folder);
    const files = [...Deno.readDirSync(join(folder, "events"))].map(({ name }) => name).sort();
    assertEquals(files.length, 2);
    const [train, learn] = files.map((name) => Deno.readFileSync(join(folder, "events", name)));
    const count = (data: Uint8Array, tag: string): number =>
      new TextDecoder("latin1").decode(data).split(tag).length - 1;
    const lines = Deno.readTextFileSync(join(folder, "tuned/metrics.jsonl")).trim().split("\n").map((one) =>
      JSON.parse(one)
    );
    assertEquals(count(train, "moe/loss"), lines.filter(({ loss }) => loss !== undefined).length);
    assertEquals(count(train, "moe/validation"), lines.filter(({ validation }) => validation !== undefined).length);
    assertEquals(count(learn, "learn/loss"), 2);
    const learned = Deno.readTextFileSync(join(folder, "c.metrics.jsonl")).trim().split("\n").map((one) =>
      JSON.parse(one)
    );
    assertEquals(learned.filter(({ stage, loss }) => stage === "learn" && Number.isFinite(loss)).length, 2);
    assert(
      learned.some(({ step, validation }) => step === 0 && Number.isFinite(validation)),
      "the uniform merge's loss",
    );
  }));
