/** @file Hugging Face → GGUF: bytes as the gguf package rounds them, and files that are read back as they were. */
import { join } from "node:path";
import { assertEquals, assertRejects } from "@std/assert";
import { openCheckpoint } from "../../../backend/checkpoint.ts";
import { openInterpreter } from "../../../backend/interpreter.ts";
import { loadTokenizer } from "../../../backend/tokenizer.ts";
import { UserError } from "../../../dsl/errors.ts";
import { golden, sharedData, smollm2Gguf, withTempDir } from "../../../tests/support.ts";
import { tinyDense, tinyModel } from "../../../tests/fixtures/tiny.ts";
import { writeTinyModel } from "../../../tests/fixtures/tiny_folder.ts";
import { saveModel } from "../../model/parameters.ts";
import { readConfig } from "../huggingface.ts";
import { convert } from "../mod.ts";
import { nameOfCut } from "../tokenizers/pre_tokenizers.ts";
import { readVocabulary } from "../tokenizers/read_vocabulary.ts";
import { tokenType } from "../tokenizers/tokenizer_json.ts";
import { ggufBytes, type GgufType } from "./encode.ts";
import { fromGguf } from "./read.ts";

Deno.test("numbers are rounded to the gguf package's bytes", () => {
  const { values, ...expected } = JSON.parse(Deno.readTextFileSync(golden("gguf/encoded.json")));
  const floats = new Float32Array(Uint32Array.from(values).buffer);
  for (const [type, bytes] of Object.entries(expected)) {
    assertEquals(ggufBytes(floats, type as GgufType), Uint8Array.fromHex(bytes as string), type);
  }
});

const llama3 = {
  rope_type: "llama3",
  factor: 32,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 8192,
};
const yarn = {
  type: "yarn",
  factor: 4,
  original_max_position_embeddings: 16,
  beta_fast: 16,
  beta_slow: 2,
  attention_factor: 1.5,
};
const fields = { vocab_size: 260, bos_token_id: 256, eos_token_id: [257, 256], rms_norm_eps: 1e-5 };

for (
  const [name, more] of Object.entries({
    "tied": { tie_word_embeddings: true },
    "linear": { rope_scaling: { type: "linear", factor: 4 } },
    "llama3": { rope_scaling: llama3, rope_theta: 500000 },
    "yarn": { rope_scaling: yarn },
    "qwen2": { model_type: "qwen2" },
    "biases": { attention_bias: true },
  })
) {
  Deno.test(`GGUF, ${name}: what is written is read back as it was`, () =>
    withTempDir(async (folder) => {
      using device = openInterpreter();
      const [from, file, to] = ["from", "model.gguf", "to"].map((name) => join(folder, name));
      await writeTinyModel(from, "dense");
      await saveModel(from, tinyModel(tinyDense({ ...fields, ...more }), device), device, {
        overwrite: true,
        tokenizerFrom: from,
      });
      const report = await convert(from, file, { to: "gguf", dtype: "F32" });
      assertEquals([report.wrote, report.tokens, report.spareRows], ["gguf", 258, 2]);
      await convert(file, to);
      const [was, is] = [readConfig(from), readConfig(to)];
      const rounded = (x: number): number => Number(x.toPrecision(6));
      const scale = (config: typeof was) =>
        config.ropeScaling?.type === "yarn"
          ? { ...config.ropeScaling, attentionFactor: rounded(config.ropeScaling.attentionFactor) }
          : config.ropeScaling;
      assertEquals({ ...is, ropeScaling: scale(is) }, { ...was, ropeScaling: scale(was) });
      using before = openCheckpoint(from);
      using after = openCheckpoint(to);
      assertEquals([...after.tensors.keys()].sort(), [...before.tensors.keys()].sort());
      for (const name of before.tensors.keys()) assertEquals(after.read(name), before.read(name), name);
      using ours = loadTokenizer(from);
      using again = loadTokenizer(to);
      assertEquals(again.encode("def f(é):\n  🎉"), ours.encode("def f(é):\n  🎉"));
    }));
}

Deno.test("types of a GGUF file: vectors stay F32, rows that make no whole blocks become F16", () =>
  withTempDir(async (folder) => {
    const [from, file] = [join(folder, "from"), join(folder, "model.gguf")];
    await writeTinyModel(from, "dense");
    await convert(from, file, { to: "gguf", dtype: "Q8_0" });
    using checkpoint = openCheckpoint(file);
    assertEquals(checkpoint.tensors.get("blk.0.attn_norm.weight")?.dtype, "F32");
    assertEquals(checkpoint.tensors.get("blk.0.ffn_gate.weight")?.dtype, "F16");
    await assertRejects(() => convert(from, file, { to: "gguf" }), UserError, "this file exists");
  }));

Deno.test("what llama.cpp cannot compute is refused by name, and nothing is written", () =>
  withTempDir(async (folder) => {
    const path = (name: string): string => join(folder, name), out = path("out.gguf");
    await writeTinyModel(path("dense"), "dense");
    await writeTinyModel(path("moe"), "mixture");
    const json = JSON.parse(Deno.readTextFileSync(path("dense/config.json")));
    const dynamic = { ...json, rope_scaling: { type: "dynamic", factor: 2 } };
    await assertRejects(() => convert(path("moe"), out, { to: "gguf" }), UserError, "no such mixture");
    await assertRejects(() => convert(path("dense"), out, { dtype: "Q8_0" }), UserError, "it is for --to gguf");
    await convert(path("dense"), out, { to: "gguf" });
    await assertRejects(() => convert(out, path("x"), { to: "gguf" }), UserError, "takes a Hugging Face folder");
    Deno.removeSync(out);
    Deno.writeTextFileSync(path("dense/config.json"), JSON.stringify(dynamic));
    await assertRejects(() => convert(path("dense"), out, { to: "gguf" }), UserError, '"dynamic"');
    const tokenizer = JSON.parse(Deno.readTextFileSync(path("dense/tokenizer.json")));
    tokenizer.model = { type: "Unigram", vocab: [] };
    Deno.writeTextFileSync(path("dense/config.json"), JSON.stringify(json));
    Deno.writeTextFileSync(path("dense/tokenizer.json"), JSON.stringify(tokenizer));
    await assertRejects(() => convert(path("dense"), out, { to: "gguf" }), UserError, 'its model is "Unigram"');
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), ["dense", "moe"]);
  }));

const smollm2 = smollm2Gguf(), deepseek = sharedData("tok/ggml-vocab-deepseek-coder.gguf");

for (const [name, place] of Object.entries({ SmolLM2: smollm2, "DeepSeek-Coder": deepseek })) {
  Deno.test(
    `${name}'s vocabulary, made a tokenizer.json, is its GGUF's again`,
    { ignore: !place },
    () =>
      withTempDir((folder) => {
        using checkpoint = openCheckpoint(place!);
        const { files, config } = fromGguf(checkpoint), { metadata } = checkpoint;
        for (const [name, text] of Object.entries(files)) Deno.writeTextFileSync(join(folder, name), text);
        const tokenizer = readVocabulary(folder, config), { vocabulary } = tokenizer;
        if (tokenizer.kind !== "byte-level") throw new Error("it is byte-level");
        const key = (name: string): unknown => metadata[`tokenizer.ggml.${name}`];
        assertEquals([tokenizer.merges, tokenizer.pre], [key("merges"), key("pre")] as unknown[]);
        assertEquals(vocabulary.tokens, key("tokens"));
        // What no token uses may be of any type there.
        const types = (key("token_type") as number[]).map((type, id) =>
          vocabulary.tokens[id] === `[PAD${id}]` ? tokenType.unused : type
        );
        assertEquals(vocabulary.types, types);
        const { bos, eos, pad } = vocabulary;
        assertEquals([bos, eos, pad], ["bos", "eos", "padding"].map((name) => key(`${name}_token_id`)) as number[]);
        assertEquals(vocabulary.chatTemplate, metadata["tokenizer.chat_template"]);
      }),
  );
}

const gpt2 = sharedData("tok/gpt2_tokenizer.json");

Deno.test("GPT-2's own tokenizer.json cuts as llama.cpp's gpt-2", { ignore: !gpt2 }, () => {
  assertEquals(nameOfCut(JSON.parse(Deno.readTextFileSync(gpt2!)).pre_tokenizer), "gpt-2");
});
