/** @file GGUF → Hugging Face: exact tokenizers, weights in their places, and what is missing said by name. */
import { join } from "node:path";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { type Checkpoint, openCheckpoint } from "../../../backend/checkpoint.ts";
import { loadTokenizer, parseTokenizer } from "../../../backend/tokenizer.ts";
import { UserError } from "../../../dsl/errors.ts";
import { golden, sharedData, smollm2Gguf, withTempDir } from "../../../tests/support.ts";
import { fromGguf } from "./read.ts";
import { convert } from "../mod.ts";
import { mergesFromScores, sentencePieceFiles, tokenType } from "../tokenizers/tokenizer_json.ts";

const smollm2 = smollm2Gguf();

Deno.test("SmolLM2's tokenizer gives llama.cpp's and transformers' ids", { ignore: !smollm2 }, () => {
  using checkpoint = openCheckpoint(smollm2!);
  using tokenizer = parseTokenizer(fromGguf(checkpoint).files["tokenizer.json"]);
  const { cases } = JSON.parse(Deno.readTextFileSync(golden("smollm2/smollm2_tokenizer.json")));
  for (const { text, ids } of cases) {
    assertEquals(tokenizer.encode(text), ids, JSON.stringify(text));
    assertEquals(tokenizer.decode(ids, { skipSpecial: false }), text);
  }
  const { texts } = JSON.parse(Deno.readTextFileSync(golden("smollm2/smollm2_logits.json")));
  for (const { text, ids, name } of texts) assertEquals(tokenizer.encode(text), ids, name);
});

Deno.test("SmolLM2's config and weights are Hugging Face's", { ignore: !smollm2 }, async () => {
  using checkpoint = openCheckpoint(smollm2!);
  const { config, tensors } = fromGguf(checkpoint);
  assertEquals(config, {
    kind: "llama",
    vocabSize: 49152,
    hiddenSize: 576,
    ffnSize: 1536,
    layers: 30,
    heads: 9,
    kvHeads: 3,
    headDim: 64,
    maxPositions: 8192,
    normEps: 1e-5,
    ropeTheta: 100000,
    ropeScaling: null,
    tied: true,
    bos: 1,
    eos: [2],
    pad: 2,
  });
  assertEquals(tensors.length, 30 * 9 + 2);
  const values = async (name: string): Promise<Float32Array> => {
    const data = tensors.find((tensor) => tensor.name === name)!.data;
    const values = await (typeof data === "function" ? data() : data);
    if (values instanceof Float32Array) return values;
    throw new Error(`${name} is computed from others`);
  };
  // Row 32 + i of a head in halves is row 2i + 1 in pairs.
  const pairs = checkpoint.read("blk.3.attn_k.weight");
  const halves = await values("model.layers.3.self_attn.k_proj.weight");
  const row = (matrix: Float32Array, index: number): Float32Array => matrix.slice(index * 576, (index + 1) * 576);
  assertEquals(row(halves, 64 + 32 + 5), row(pairs, 64 + 2 * 5 + 1));
  assertEquals(row(halves, 128 + 5), row(pairs, 128 + 2 * 5));
  assertEquals(await values("model.layers.3.mlp.up_proj.weight"), checkpoint.read("blk.3.ffn_up.weight"));
});

const deepseek = sharedData("tok/ggml-vocab-deepseek-coder.gguf");

Deno.test(
  "DeepSeek-Coder's vocabulary alone becomes an exact tokenizer",
  { ignore: !deepseek },
  () =>
    withTempDir(async (folder) => {
      const out = join(folder, "vocabulary");
      const report = await convert(deepseek!, out);
      assertEquals([report.wrote, report.config?.ropeScaling], ["vocabulary", { type: "linear", factor: 4 }]);
      using tokenizer = loadTokenizer(out);
      const texts = Deno.readTextFileSync(`${deepseek}.inp`).split("\n__ggml_vocab_test__\n");
      const lines = Deno.readTextFileSync(`${deepseek}.out`).trimEnd().split("\n");
      assertEquals(lines.length, 46);
      lines.forEach((line, index) => {
        const ids = line.trim().split(/\s+/).filter(Boolean).map(Number);
        assertEquals(tokenizer.encode(texts[index], { special: false }), ids, JSON.stringify(texts[index]));
      });
      // 32,022 tokens; the rows up to 32,256 have names that no text may reach.
      assertEquals([tokenizer.vocabSize, report.config?.vocabSize], [32022, 32256]);
      assertEquals(tokenizer.encode("x"), [32013, 87]);
      assertEquals([tokenizer.bos, tokenizer.eos], [32013, 32014]);
      assertEquals(tokenizer.encode("[PAD32022]", { special: false }).includes(32022), false);
    }),
);

const llama2 = sharedData("tok/llama2_tokenizer.json");

Deno.test("merges made from scores are SentencePiece's", { ignore: !llama2 }, () => {
  const { model } = JSON.parse(Deno.readTextFileSync(llama2!));
  const tokens: string[] = [];
  for (const [token, id] of Object.entries<number>(model.vocab)) tokens[id] = token;
  // The file has no scores, but they order the merges: a piece's is minus the rank of the first merge that makes it.
  const scores = tokens.map(() => 0);
  model.merges.forEach((merge: string, rank: number) => {
    const id = model.vocab[merge.replace(" ", "")];
    if (scores[id] === 0) scores[id] = -1 - rank;
  });
  const types = tokens.map((_, id) =>
    id === 0 ? tokenType.unknown : id < 3 ? tokenType.control : id < 259 ? tokenType.byte : tokenType.normal
  );
  assertEquals(mergesFromScores(tokens, scores, types).map((pair) => pair.join(" ")), model.merges);
  const vocabulary = { tokens, types, unknown: 0, bos: 1, eos: 2, addBos: true, addEos: false };
  using ours = parseTokenizer(sentencePieceFiles(vocabulary, scores, true, "test")["tokenizer.json"]);
  using theirs = loadTokenizer(llama2!);
  const lines = Deno.readTextFileSync(sharedData("tok/golden/small_input.txt")!).split("\n");
  for (const text of [...lines, "", " ", "  two", "tab\t", "</s> <s>x"]) {
    const ids = theirs.encode(text);
    assertEquals(ours.encode(text), ids, JSON.stringify(text));
    assertEquals(ours.decode(ids), theirs.decode(ids));
  }
});

/** A GGUF's metadata that was changed. */
function changed(checkpoint: Checkpoint, metadata: Record<string, unknown>): Checkpoint {
  const { path, handle, format, tensors } = checkpoint;
  return {
    path,
    handle,
    format,
    tensors,
    metadata: { ...checkpoint.metadata, ...metadata },
    read: (name) => checkpoint.read(name),
    readPart: checkpoint.readPart.bind(checkpoint),
    upload: () => {},
    [Symbol.dispose]: () => {},
  };
}

Deno.test("a GGUF that we cannot read is refused by name", { ignore: !deepseek }, () => {
  using checkpoint = openCheckpoint(deepseek!);
  const cases: [Record<string, unknown>, string][] = [
    [{ "general.architecture": "mamba" }, 'architecture "mamba" is not supported'],
    [{ "llama.expert_count": 8 }, "mixture of experts"],
    [{ "llama.block_count": undefined }, 'no "llama.block_count"'],
    [{ "llama.block_count": 1.5 }, "a whole number"],
    [{ "llama.rope.scaling.type": "yarn" }, "original_context_length"],
    [{ "llama.rope.scaling.type": "longrope" }, 'RoPE scaling "longrope"'],
    [{ "llama.rope.dimension_count": 64 }, "only 64 of a head's 128"],
    [{ "tokenizer.ggml.tokens": undefined }, "no vocabulary"],
    [{ "tokenizer.ggml.tokens": ["a", 3] }, "not a list of texts"],
    [{ "tokenizer.ggml.token_type": [1] }, "have 1 types"],
    [{ "tokenizer.ggml.merges": undefined }, "no merges"],
    [{ "tokenizer.ggml.merges": ["qq zz"] }, "does not join"],
    [{ "tokenizer.ggml.pre": "brand-new" }, 'pre-tokenizer "brand-new"'],
    [{ "tokenizer.ggml.model": "t5" }, 'tokenizer "t5"'],
    [{ "tokenizer.ggml.eos_token_id": 99999 }, "the eos token's id is 99999"],
  ];
  for (const [metadata, expected] of cases) {
    assertThrows(() => fromGguf(changed(checkpoint, metadata)), UserError, expected);
  }
});

Deno.test("a GGUF without a Llama's metadata is refused, and nothing is written", () =>
  withTempDir(async (folder) => {
    const out = join(folder, "out");
    await assertRejects(() => convert(golden("gguf/blocks.gguf"), out), UserError, "no vocabulary");
    await assertRejects(() => convert(join(folder, "none"), out), UserError, "no such file or folder");
    assertEquals([...Deno.readDirSync(folder)], []);
  }));
