/**
 * @file `deno task test:peers`: GGUF files that we write, loaded by llama.cpp (node-llama-cpp): the same tokens of a
 * text, and the same greedy continuation as ours of the same rounded weights.
 */
import { join } from "node:path";
import { assertEquals } from "@std/assert";
import { open } from "../../backend/open.ts";
import { loadTokenizer } from "../../backend/tokenizer.ts";
import { llamaFolder } from "../../bench/peers/environment.ts";
import { convert, type ConvertOptions } from "../../recipes/convert/mod.ts";
import { generate } from "../../recipes/generate/mod.ts";
import { initModel, loadModel, saveModel } from "../../recipes/model/parameters.ts";
import { checkout, sharedData, smollm2Gguf, withTempDir } from "../support.ts";
import { tinyDense } from "../fixtures/tiny.ts";
import { byteTokenizer } from "../fixtures/tiny_folder.ts";

/** What llama.cpp is asked, and what it answers. */
interface Case {
  readonly name: string;
  readonly model: string;
  /** A folder of the same weights; without one the file is converted back. */
  readonly folder?: string;
  readonly text: string;
  readonly count: number;
}
interface Answer {
  readonly tokens: readonly number[];
  readonly greedy: readonly number[];
}

const node = await llamaFolder().catch((error: Error) => {
  console.error(`SKIPPED, there is no llama.cpp: ${error.message}`);
  return undefined;
});

async function ask(cases: readonly Case[], folder: string): Promise<Answer[]> {
  const file = join(folder, "requests.json");
  Deno.writeTextFileSync(file, JSON.stringify(cases));
  const args = [checkout("tests/peers/llama_cpp_peer.mjs"), node!, file];
  const { code, stdout, stderr } = await new Deno.Command("node", { args }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** What we make of the same weights. */
async function ours({ name, model, folder, text, count }: Case, work: string): Promise<Answer> {
  const path = folder ?? join(work, `${name} again`);
  if (folder === undefined) await convert(model, path);
  using device = await open("cpu");
  using tokenizer = loadTokenizer(path);
  const tokens = tokenizer.encode(text);
  const options = { maxTokens: count, ignoreEnd: true };
  const [{ ids }] = await generate(loadModel(path, device), tokenizer, device, [tokens], options);
  return { tokens, greedy: ids };
}

const code = "def fibonacci(n):\n    # 1, 1, 2, 3, 5 …\n    if n < 2:\n        return n\n";
const sizes = { vocab_size: 260, hidden_size: 64, intermediate_size: 96, head_dim: 16, max_position_embeddings: 256 };
const scaled = (rope_scaling: object) => ({ ...sizes, rope_theta: 500, rope_scaling });
const tiny = {
  "plain": sizes,
  "linear": scaled({ type: "linear", factor: 4 }),
  "yarn": scaled({ type: "yarn", factor: 4, original_max_position_embeddings: 64 }),
  "llama3": scaled({
    rope_type: "llama3",
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    // Not Llama 3's own 8192: short texts show a difference.
    original_max_position_embeddings: 16,
  }),
  "qwen2": { ...sizes, model_type: "qwen2" },
  "biases": { ...sizes, attention_bias: true },
  "tied": { ...sizes, tie_word_embeddings: true },
};

Deno.test("GGUF files that we write are llama.cpp's models", { ignore: !node }, (t) =>
  withTempDir(async (folder) => {
    using device = await open("cpu");
    const cases: Case[] = [];
    const add = async (each: Omit<Case, "model">, from: string, dtype: ConvertOptions["dtype"]): Promise<void> => {
      const model = join(folder, `${each.name}.gguf`);
      await convert(from, model, { dtype, to: "gguf" });
      cases.push({ ...each, model });
    };
    for (const [name, fields] of Object.entries(tiny)) {
      const config = tinyDense({ ...fields, bos_token_id: 256, eos_token_id: 257 }),
        path = join(folder, `${name} folder`);
      await saveModel(path, initModel(config, 3, device, 12), device);
      Deno.writeTextFileSync(join(path, "tokenizer.json"), byteTokenizer());
      // Few tokens: its cache has 16 bits, and a random model's likeliest tokens are sometimes nearly equal.
      await add({ name, text: "x = 1", count: 12, ...(name === "llama3" && { folder: path }) }, path, "F32");
    }
    const gguf = smollm2Gguf(), story = sharedData("ckpt/stories260K.bin");
    if (gguf) {
      const path = join(folder, "smollm2 folder");
      await convert(gguf, path);
      for (const dtype of ["F16", "BF16", "Q8_0"] as const) {
        await add({ name: `SmolLM2, ${dtype}`, text: code, count: 24 }, path, dtype);
      }
    }
    if (story) {
      const path = join(folder, "story folder");
      await convert(story, path, { tokenizer: sharedData("ckpt/tok512.bin")! });
      await add({ name: "stories260K, F16", text: "Once upon a time, Lily", count: 48 }, path, "F16");
    }
    const answers = await ask(cases, folder);
    for (const [i, each] of cases.entries()) {
      await t.step(
        each.name,
        async () => assertEquals(await ours(each, folder), answers[i]),
      );
    }
  }));
