/** @file Model folders: written ones are read back equal, and every mismatch is one sentence. */
import { join } from "node:path";
import { assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { openCheckpoint, type TensorOut, writeSafetensors } from "../../backend/checkpoint.ts";
import { UserError } from "../../dsl/errors.ts";
import { withTempDir } from "../../tests/support.ts";
import { type ModelConfig, parseConfig } from "./config.ts";
import { checkModel, openModel, readConfig, writeModelFolder } from "./huggingface.ts";
import { convert } from "./mod.ts";
import { expectedTensors } from "./names.ts";
import { byteLevelFiles, tokenType } from "./tokenizers/tokenizer_json.ts";

const config: ModelConfig = parseConfig({
  model_type: "xft_moe",
  vocab_size: 9,
  hidden_size: 4,
  intermediate_size: 6,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_experts: 3,
  num_selects: 2,
  bos_token_id: 0,
  eos_token_id: 1,
}, "config.json");

/** Tensors with a number of their own in every element. */
function tensors(of: ModelConfig): TensorOut[] {
  let next = 0;
  return expectedTensors(of).map(({ name, shape }) => {
    const size = shape.reduce((product, n) => product * n, 1);
    return { name, shape, data: Float32Array.from({ length: size }, () => next++ / 8) };
  });
}

/** A tokenizer of `count` single bytes. */
function tokenizer(count: number): Record<string, string> {
  const tokens = [..."abcdefghijkl"].slice(0, count);
  const types = tokens.map(() => tokenType.normal);
  return { ...byteLevelFiles({ tokens, types, addBos: false, addEos: false }, [], "gpt-2", "test") };
}

/** Names in a folder. */
function names(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

Deno.test("a model is read back as it was written, in one file or in shards", () =>
  withTempDir(async (folder) => {
    const given = tensors(config);
    for (const [name, shardBytes] of [["one", undefined], ["many", 200]] as const) {
      const out = join(folder, name);
      let done = 0;
      const progress = (count: number, total: number): void => {
        done = count;
        assertEquals(total, given.length);
      };
      const model = { config, tensors: given.toReversed(), files: tokenizer(7), readme: "# Mine\n" };
      await writeModelFolder(out, model, { shardBytes, progress });
      assertEquals(done, given.length);
      using opened = openModel(out);
      assertEquals(opened.config, config);
      for (const { name, data } of given) assertEquals(opened.checkpoint.read(name), data);
      const report = checkModel(out);
      assertEquals([report.tokens, report.spareRows, report.dtypes], [7, 2, ["F32"]]);
      assertEquals(report.bytes, report.parameters * 4);
    }
    assertEquals(names(join(folder, "one")), [
      "README.md",
      "config.json",
      "configuration_xft_moe.py",
      "generation_config.json",
      "model.safetensors",
      "modeling_xft_moe.py",
      "special_tokens_map.json",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    assertEquals(names(join(folder, "many")).includes("model.safetensors.index.json"), true);
    // transformers finds the code beside the weights by these names.
    const { auto_map } = JSON.parse(Deno.readTextFileSync(join(folder, "one", "config.json")));
    for (const place of Object.values<string>(auto_map)) {
      const [file, name] = place.split(".");
      assertMatch(Deno.readTextFileSync(join(folder, "one", `${file}.py`)), new RegExp(`^class ${name}\\(`, "m"));
    }
  }));

Deno.test("Hugging Face → Hugging Face keeps weights and tokenizer, and changes the dtype", () =>
  withTempDir(async (folder) => {
    const [from, to] = [join(folder, "from"), join(folder, "to")];
    await writeModelFolder(from, { config, tensors: tensors(config), files: tokenizer(9) });
    const report = await convert(from, to, { dtype: "BF16" });
    assertEquals([report.from, report.tokens, report.spareRows], ["huggingface", 9, 0]);
    assertEquals(checkModel(to).dtypes, ["BF16"]);
    assertEquals(
      Deno.readTextFileSync(join(to, "tokenizer.json")),
      Deno.readTextFileSync(join(from, "tokenizer.json")),
    );
    using a = openCheckpoint(from);
    using b = openCheckpoint(to);
    // Eighths below 32 are exact in bf16.
    assertEquals(a.read("model.embed_tokens.weight"), b.read("model.embed_tokens.weight"));
  }));

Deno.test("tensors that are not the config's are not written", () =>
  withTempDir(async (folder) => {
    const given = tensors(config);
    const write = (list: TensorOut[]) => () => writeModelFolder(join(folder, "m"), { config, tensors: list });
    await assertRejects(write(given.slice(1)), Error, '"model.embed_tokens.weight" is missing');
    await assertRejects(write([{ ...given[0], shape: [3, 12] }, ...given.slice(1)]), Error, "has shape [3,12]");
    await assertRejects(write([...given, { ...given[0], name: "more" }]), Error, '"more" is no part');
    const failing = {
      ...given[3],
      data: () => {
        throw new Error("device lost");
      },
    };
    await assertRejects(write(given.toSpliced(3, 1, failing)), Error, "device lost");
    assertEquals(names(folder), []);
  }));

Deno.test("every folder that is no sound model is refused in a sentence", () =>
  withTempDir(async (folder) => {
    assertThrows(() => readConfig(join(folder, "nothing")), UserError, "no such folder");
    assertThrows(() => readConfig(folder), UserError, "no config.json");
    const out = join(folder, "model");
    await writeModelFolder(out, { config, tensors: tensors(config) });
    assertEquals(checkModel(out).tokens, undefined);
    assertThrows(() => readConfig(join(out, "config.json")), UserError, "this is a file");
    const rewrite = (list: TensorOut[]): Promise<void> => writeSafetensors(join(out, "model.safetensors"), list);
    const given = tensors(config);
    await rewrite(given.slice(2));
    assertThrows(() => openModel(out), UserError, 'tensor "model.embed_tokens.weight" is missing (and 1 more)');
    await rewrite([...given, { name: "model.layers.0.self_attn.q_proj.bias", shape: [1], data: new Float32Array(1) }]);
    assertThrows(() => openModel(out), UserError, "q_proj.bias");
    await rewrite(given.map((tensor, i) => i > 0 ? tensor : { ...tensor, shape: [4, 9] }));
    assertThrows(() => openModel(out), UserError, "has shape [4, 9], config.json asks for [9, 4]");
    await rewrite([...given, {
      name: "model.layers.0.self_attn.rotary_emb.inv_freq",
      shape: [1],
      data: new Float32Array(1),
    }]);
    openModel(out)[Symbol.dispose]();
    for (const [name, text] of Object.entries(tokenizer(11))) Deno.writeTextFileSync(join(out, name), text);
    assertThrows(() => checkModel(out), UserError, "token ids up to 10, the embedding has only 9 rows");
    Deno.writeTextFileSync(join(out, "generation_config.json"), `{"eos_token_id": [1, 9]}`);
    assertEquals(readConfig(out).eos, [1, 9]);
    assertThrows(() => checkModel(out), UserError, "names token 9");
    Deno.writeTextFileSync(join(out, "config.json"), "{");
    assertThrows(() => readConfig(out), UserError, "not valid JSON");
  }));
