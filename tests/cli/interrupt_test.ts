/**
 * @file Stages that are stopped by Ctrl-C or fail, as a user meets it: what was interrupted goes on to the same bits, what
 * failed leaves nothing half-written, and nobody goes on with other files than those it was begun with.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { sha256Of } from "../../recipes/data/read/mod.ts";
import { softmaxOf } from "../../recipes/merge/weights.ts";
import { seeded } from "../../recipes/random.ts";
import { writeTinyData, writeTinyModel } from "../fixtures/tiny_folder.ts";
import { namesIn } from "../commands.ts";
import { checkout, type Ran, startXft, withTempDir, xft } from "../support.ts";

const ignore = Deno.build.os === "windows";
const text = (path: string): string => Deno.readTextFileSync(path);
const names = (folder: string): string[] => namesIn(folder).sort();
const stage = ["--data", "data.jsonl", "--batch", "2", "--seq", "288", "--validation", "3", "--device", "cpu"];
const tuning = ["train", "moe", "--out", "tuned", "--stage", "moe", ...stage, "--optimizer", "adamw", "--steps"];
const learning = ["learn", "moe", "--out", "c.json", ...stage, "--lr", "0.05", "--steps"];

/** A mixture whose experts are all different, and data. */
async function prepare(folder: string): Promise<void> {
  await writeTinyModel(join(folder, "moe"), "mixture");
  writeTinyData(join(folder, "data.jsonl"));
}

/** Lines of metrics without the time that they took. */
const told = (path: string): readonly Record<string, unknown>[] =>
  text(path).trim().split("\n").map((line) => {
    const { seconds: _, tokensPerSecond: __, ...rest } = JSON.parse(line);
    return rest;
  });

/** The steps that a command has made so far, as its metrics say. */
function stepsIn(metrics: string): readonly { readonly step: number; readonly seconds: number }[] {
  try {
    const lines = text(metrics).split("\n").slice(0, -1).map((line) => JSON.parse(line));
    return lines.filter(({ loss }) => loss !== undefined);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Starts a command, and presses Ctrl-C when it has made some steps more, and a part of the time of one. */
async function interrupted(args: readonly string[], folder: string, more: number, part: number): Promise<Ran> {
  const metrics = join(folder, `${args[args.indexOf("--out") + 1]}.unfinished`, "metrics.jsonl");
  const child = startXft(args, folder), before = args.includes("--resume") ? stepsIn(metrics).length : 0;
  let hasEnded = false;
  child.status.then(() => hasEnded = true);
  while (!hasEnded && stepsIn(metrics).length < before + more) await new Promise((later) => setTimeout(later, 2));
  await new Promise((later) => setTimeout(later, part * 1000 * (stepsIn(metrics).at(-1)?.seconds ?? 0)));
  if (!hasEnded) child.kill("SIGINT");
  const { code, stdout, stderr } = await child.output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

/** Interrupts a command some times, lets it end, and says what it printed last. */
async function inParts(args: readonly string[], folder: string, interrupts: number): Promise<string> {
  const { unit: random } = seeded(5);
  for (let i = 0; i < interrupts; i++) {
    const all = i === 0 ? args : [...args, "--resume"];
    const { code, stderr } = await interrupted(all, folder, 1 + Math.floor(random() * 3), random());
    assertEquals(code, 130, `${stderr}\nit ended after ${i} interrupts`);
    assertStringIncludes(stderr, "--resume goes on");
  }
  const { code, stderr } = await xft([...args, "--resume"], folder);
  assertEquals(code, 0, stderr);
  assertMatch(stderr, /Going on after step \d+\./);
  return stderr;
}

Deno.test(
  "train: stopped by Ctrl-C in the middle of steps, it ends with the weights of one that never was",
  { ignore },
  () =>
    withTempDir(async (folder) => {
      await writeTinyModel(join(folder, "moe"), "mixture", {
        hidden_size: 64,
        intermediate_size: 128,
        router_noise: true,
      });
      writeTinyData(join(folder, "data.jsonl"));
      const args = [...tuning, "40", "--lr", "0.003"];
      const whole = await xft(args, folder);
      assertEquals(whole.code, 0, whole.stderr);
      Deno.renameSync(join(folder, "tuned"), join(folder, "whole"));
      await inParts(args, folder, 5);
      const weights = (name: string): string => sha256Of([join(folder, name, "model.safetensors")]);
      assertEquals(weights("tuned"), weights("whole"));
      assertEquals(told(join(folder, "tuned/metrics.jsonl")), told(join(folder, "whole/metrics.jsonl")));
      assertEquals(names(folder), ["data.jsonl", "moe", "tuned", "whole"]);
    }),
);

Deno.test(
  "learn: stopped by Ctrl-C, it ends with the coefficients of one that never was",
  { ignore },
  () =>
    withTempDir(async (folder) => {
      await prepare(folder);
      const args = [...learning, "120", "--objective", "xft-lambda"];
      const whole = await xft([...args, "--json"], folder);
      assertEquals(whole.code, 0, whole.stderr);
      for (const name of ["c.json", "c.metrics.jsonl"]) {
        Deno.renameSync(join(folder, name), join(folder, `whole.${name}`));
      }
      // They are worth comparing: far from uniform, and different in each layer.
      const { alpha, lambda } = JSON.parse(text(join(folder, "whole.c.json")));
      const weights: number[][] = alpha.map(softmaxOf);
      assert(
        weights.every((layer) => Math.max(...layer) > 0.4),
        `${weights}`,
      );
      assert(new Set([...weights.flat(), ...lambda]).size === 8, `${weights}, λ ${lambda}`);
      assert(JSON.parse(whole.stdout).kept_step > 0);
      await inParts(args, folder, 4);
      assertEquals(text(join(folder, "c.json")), text(join(folder, "whole.c.json")));
      assertEquals(told(join(folder, "c.metrics.jsonl")), told(join(folder, "whole.c.metrics.jsonl")));
      assertEquals(names(folder), [
        "c.json",
        "c.metrics.jsonl",
        "data.jsonl",
        "moe",
        "whole.c.json",
        "whole.c.metrics.jsonl",
      ]);
    }),
);

Deno.test("train and learn that fail before anything is kept leave what was there, and nothing else", () =>
  withTempDir(async (folder) => {
    await prepare(folder);
    Deno.writeTextFileSync(join(folder, "c.json"), "coefficients of an earlier day");
    Deno.writeTextFileSync(join(folder, "c.metrics.jsonl"), "its metrics");
    Deno.mkdirSync(join(folder, "tuned"));
    Deno.writeTextFileSync(join(folder, "tuned/config.json"), "a model of an earlier day");
    Deno.writeTextFileSync(join(folder, "mine.ts"), 'export default () => {\n  throw new Error("not today");\n};\n');
    await writeTinyModel(join(folder, "dense"), "dense");
    const before = names(folder);
    const fails = async (args: readonly string[], why: RegExp): Promise<void> => {
      const { code, stderr } = await xft([...args, "--overwrite"], folder);
      assertEquals(code, 1, stderr);
      assertMatch(stderr.trim().split("\n").at(-1)!, why);
      assertEquals(names(folder), before);
      assertEquals(text(join(folder, "c.json")), "coefficients of an earlier day");
      assertEquals(text(join(folder, "c.metrics.jsonl")), "its metrics");
      assertEquals([names(join(folder, "tuned")), text(join(folder, "tuned/config.json"))], [
        ["config.json"],
        "a model of an earlier day",
      ]);
    };
    await fails([...learning, "4", "--objective", "mine.ts"], /mine\.ts: not today/);
    await fails([...learning.with(learning.indexOf("0.05"), "1e39"), "4"], /step \d of 4: the objective is NaN/);
    await fails(learning.with(1, "dense").concat("4"), /dense: this is a dense model, a mixture was expected/);
    await fails([...tuning.with(-2, "sgd"), "6", "--lr", "1e30"], /the loss is (NaN|Infinity), training has diverged/);
    await fails([...tuning.with(1, "dense"), "6"], /dense: this is a dense model, a mixture was expected/);
  }));

/** XFT's own objective, in two files of a user's. */
const mine = `import { crossEntropy, llama, merged, mul, swiglu } from "${pathToFileURL(checkout("mod.ts"))}";
import { scale } from "./scale.ts";
export default (coefficients, model, { tokens, labels }, config) =>
  mul(crossEntropy(llama(config, merged(model, coefficients), tokens, swiglu).logits, labels), scale);
`;

Deno.test(
  "--resume goes on with files of the same content only, wherever they lie now",
  { ignore },
  () =>
    withTempDir(async (folder) => {
      await prepare(folder);
      Deno.mkdirSync(join(folder, "objectives"));
      Deno.writeTextFileSync(join(folder, "objectives/mine.ts"), mine);
      Deno.writeTextFileSync(join(folder, "objectives/scale.ts"), "export const scale = 2;");
      const refused = async (args: readonly string[], why: RegExp): Promise<void> => {
        const { code, stderr } = await xft([...args, "--resume"], folder), last = stderr.trim().split("\n").at(-1)!;
        assertEquals(code, 1, stderr);
        assertMatch(last, why);
        assertMatch(last, /: give the same, or begin again with --overwrite\.$/);
      };
      const changed = async (path: string, change: (content: Uint8Array) => Uint8Array, run: () => Promise<void>) => {
        const content = Deno.readFileSync(join(folder, path));
        Deno.writeFileSync(join(folder, path), change(content.slice()));
        await run();
        Deno.writeFileSync(join(folder, path), content);
      };
      const lineMore = (content: Uint8Array): Uint8Array => new Uint8Array([...content, 10]);
      const otherWeight = (content: Uint8Array): Uint8Array => content.with(-3, content.at(-3)! ^ 1);
      const objective = ["--objective", "objectives/mine.ts"];
      for (const args of [[...tuning, "60"], [...learning, "200", ...objective]]) {
        assertEquals((await interrupted(args, folder, 2, 0)).code, 130);
        assertStringIncludes((await xft(args, folder)).stderr, "go on with --resume, or forget it with --overwrite");
        const model = /another content of "model" \(.*moe had the SHA-256 \w{12}…, .*moe has \w{12}…\)/;
        await changed("moe/model.safetensors", otherWeight, () => refused(args, model));
        await changed("moe/tokenizer.json", lineMore, () => refused(args, model));
        await changed("data.jsonl", lineMore, () => refused(args, /another content of "data" \(.*data\.jsonl had/));
        if (args.includes("--objective")) {
          const of = /another content of "objective" \(.*mine\.ts, .*scale\.ts had/;
          for (const name of ["mine.ts", "scale.ts"]) {
            await changed(`objectives/${name}`, lineMore, () => refused(args, of));
          }
        }
        await refused([...args, "--seed", "1"], /another "seed" \(it was 0 and is 1\)/);
        await refused([...args, "--warmup", "1"], /another "schedule\.warmup" \(it was \d+ and is 1\)/);
        const places = [["moe", "elsewhere"], ["data.jsonl", "records.jsonl"], ["objectives", "own"]] as const;
        for (const [from, to] of places) Deno.renameSync(join(folder, from), join(folder, to));
        const moved = args.map((word) =>
          places.reduce((now, [from, to]) => now.replace(RegExp(`^${from}(?=$|/)`), to), word)
        )
          .map((word, i) => args[i - 1] === "--stage" ? args[i] : word);
        const ran = await xft([...moved, "--resume"], folder);
        assertEquals(ran.code, 0, ran.stderr);
        assertMatch(ran.stderr, /Going on after step [1-9]/);
        assert(!names(folder).some((name) => name.endsWith(".unfinished")));
        for (const [from, to] of places) Deno.renameSync(join(folder, to), join(folder, from));
      }
    }),
);
