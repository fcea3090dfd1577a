/** @file From examples to batches: what is learned, what is lost, and that batches lose and repeat nothing. */
import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { join } from "node:path";
import { UserError } from "../../dsl/errors.ts";
import { withTempDir } from "../../tests/support.ts";
import { magicoder } from "./magicoder.ts";
import { makeBatch, type Sample } from "../model/batch.ts";
import { splitByKey, splitKey } from "./split.ts";
import {
  bucketLength,
  type Encoder,
  type Example,
  listed,
  prepareData,
  type PrepareOptions,
  type Removal,
  SampleStore,
  templateOf,
  tokenizeExamples,
  trainingBatches,
  validationBatches,
} from "./mod.ts";

/** One id per byte from 2 on, after BOS 0 and EOS 1, which is spelled "\x7f". */
const bytes: Encoder & { readonly bos: number; readonly eos: number } = {
  bos: 0,
  eos: 1,
  idToToken: (id) => id === 1 ? "\x7f" : "",
  encodeBatch: (texts) =>
    texts.map((text) => Array.from(new TextEncoder().encode(text), (byte) => byte === 0x7f ? 1 : byte + 2)),
};
const decode = (ids: ArrayLike<number>): string =>
  new TextDecoder().decode(Uint8Array.from(ids, (id) => id === 1 ? 0x7f : id - 2));

const asked = (question: string, answer: string, raw = false): Example => ({
  turns: [{ role: "user", content: question }, { role: "assistant", content: answer }],
  raw,
});

async function tokenized(
  examples: Example[],
  maxTokens = 1024,
  name: "magicoder" | "model" | "none" = "none",
  encoder: Encoder = bytes,
) {
  const template = await templateOf(name, encoder);
  const placed = examples.map((example, i) => ({ where: `f:${i + 1}`, example }));
  return tokenizeExamples(placed, encoder, { maxTokens, vocab: 258, template });
}

/** The parts of a sample's text that are learned. */
function learned({ ids, scoredFrom, unscored = [] }: Sample): string[] {
  const marks = Array.from(
    ids,
    (id, at) => at >= scoredFrom && !unscored.some(([from, to]) => from <= at && at < to) ? id : -1,
  );
  return decode(Array.from(marks, (id) => id < 0 ? 2 : id)).split("\0").filter((part) => part !== "");
}

Deno.test("labels are the response and the end token, each at the place before it", async () => {
  const [{ sample, tokens: count }] = await tokenized([asked("ab", "cd")]);
  const { tokens, labels } = makeBatch([sample!], 8);
  assertEquals([...tokens], [0, 99, 100, 101, 102, 1, -1, -1]);
  assertEquals([...labels], [-1, -1, 101, 102, 1, -1, -1, -1]);
  assertEquals(count, 6);
});

Deno.test("examples are cut on the right; what has nothing left to learn is no sample", async () => {
  const [long, short] = await tokenized([asked("abcdef", "x"), asked("a", "xyz")], 4);
  assertEquals([long.sample, long.tokens, short.tokens], [undefined, 9, 6]);
  assertEquals([...makeBatch([short.sample!], 4).labels], [-1, 122, 123, -1]);
});

Deno.test("an id without a row in the embedding, and a tokenizer without an end, are the user's errors", async () => {
  const template = await templateOf("none", bytes), placed = [{ where: "f:1", example: asked("z", "") }];
  const options = { maxTokens: 9, vocab: 100, template };
  assertThrows(() => tokenizeExamples(placed, bytes, options), UserError, "token id 124 is beyond the embedding's 100");
  assertThrows(() => tokenizeExamples(placed, { ...bytes, eos: undefined }, options), UserError, "names no end token");
});

Deno.test("the default prompt is Magicoder's, and raw prompts stay as they are", async () => {
  const [one, raw] = await tokenized([asked("Do.", "Done."), asked("def f():", " pass", true)], 1024, "magicoder");
  assertEquals(decode(Array.from(one.sample!.ids).slice(1)), `${magicoder("Do.")}Done.\x7f`);
  assertEquals(
    magicoder("Do."),
    "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable responses " +
      "to user instructions.\n\n@@ Instruction\nDo.\n\n@@ Response\n",
  );
  assertEquals(decode(Array.from(raw.sample!.ids).slice(1)), "def f(): pass\x7f");
});

/** ChatML, as SmolLM2 and Qwen have it. */
const chatml = "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<system>Be good." +
  "{{ eos_token }}\n{% endif %}<{{ m['role'] }}>{{ m['content'] }}{{ eos_token }}\n{% endfor %}" +
  "{% if add_generation_prompt %}<assistant>{% endif %}";

Deno.test("with the model's template every answer is learned with its end token, and nothing else", async () => {
  const talk: Example = {
    raw: false,
    turns: [["user", "hi"], ["assistant", "ho"], ["user", "he"], ["assistant", "ha"]].map(([role, content]) => ({
      role,
      content,
    })),
  };
  const encoder = { ...bytes, chatTemplate: chatml };
  const [{ sample }] = await tokenized([talk], 1024, "model", encoder);
  assertEquals(
    decode(sample!.ids),
    "<system>Be good.\x7f\n<user>hi\x7f\n<assistant>ho\x7f\n<user>he\x7f\n<assistant>ha\x7f",
  );
  assertEquals(learned(sample!), ["ho\x7f", "ha\x7f"]);
  const [cut] = await tokenized([talk], 50, "model", encoder);
  assertEquals(learned(cut.sample!), ["ho\x7f"]);
  // A template that writes no end token: the model must learn to stop all the same.
  const open =
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
  const [plain] = await tokenized([asked("a", "b")], 1024, "model", { ...bytes, chatTemplate: open });
  assertEquals([decode(plain.sample!.ids), learned(plain.sample!)], ["[user]a[assistant]b\x7f", ["b\x7f"]]);
});

Deno.test("a chat template that is absent, wrong, or refuses a conversation is told in words", async () => {
  const attempt = async (chatTemplate?: string): Promise<string> =>
    (await assertRejects(() => tokenized([asked("a", "b")], 99, "model", { ...bytes, chatTemplate }), UserError))
      .message;
  assertStringIncludes(await attempt(), "no chat template");
  assertStringIncludes(await attempt("{% for %}"), "cannot be read");
  assertStringIncludes(
    await attempt("{{ raise_exception('No users here') }}"),
    "f:1: the model's chat template refuses it",
  );
  assertStringIncludes(await attempt("{{ messages | length }}"), "f:1: the model's chat template writes");
});

Deno.test("no question is both trained on and validated, and more data moves nothing from side to side", () => {
  const questions = fc.array(fc.integer({ min: 0, max: 60 }), { minLength: 80, maxLength: 160 });
  fc.assert(fc.property(questions, fc.integer({ min: 0, max: 5 }), fc.nat(), (list, validation, seed) => {
    const key = (question: number): number => splitKey(` Question  ${question}`, seed);
    const keys = list.map(key), split = splitByKey(keys, validation);
    const of = (numbers: Uint32Array): Set<number> => new Set(Array.from(numbers, (i) => list[i]));
    assertEquals(of(split.validation).size, validation);
    assertEquals(split.train.length + split.validation.length + split.repeats.length, list.length);
    assert(of(split.train).isDisjointFrom(of(split.validation)));
    assert(of(split.repeats).isSubsetOf(of(split.validation)));
    assertEquals([...split.train], [...split.train].toSorted((a, b) => a - b));
    // What was trained on may become validation only by being pushed out of nothing: new questions can but take places.
    const more = [...list, 61, 62], larger = splitByKey(more.map(key), validation);
    const before = of(split.train), after = new Set(Array.from(larger.validation, (i) => more[i]));
    assert([...after].every((question) => question > 60 || !before.has(question)));
  }));
  assertEquals(splitKey("Sort it.", 1), splitKey("  sort\nit. ", 1));
  assertThrows(() => splitByKey([1, 2], 2), UserError, "leave none to train on");
});

const lengths = fc.array(fc.integer({ min: 2, max: 60 }), { minLength: 1, maxLength: 40 });
const shapes = fc.record({
  batch: fc.integer({ min: 1, max: 5 }),
  window: fc.integer({ min: 1, max: 4 }),
  seed: fc.nat(),
});

/** Samples that can be told apart: all ids of sample i are i. */
function numbered(sizes: readonly number[]): Sample[] {
  return sizes.map((size, index) => ({ ids: new Array<number>(size).fill(index), scoredFrom: 0 }));
}

Deno.test("training batches hold every sample once per epoch, whole, in a repeatable order, packed or not", () => {
  const packs = fc.constantFrom("none" as const, "documents" as const, "joined" as const);
  fc.assert(
    fc.property(lengths, shapes, packs, (sizes, shape, pack) => {
      const options = { ...shape, pack, seq: 60 };
      const batches = trainingBatches(numbered(sizes), options);
      // As many whole windows as make whole epochs.
      const steps = batches.rows * shape.window;
      const seen = new Map<number, number>();
      for (let step = 0; step < steps; step++) {
        const { tokens, rows, packing } = batches.at(step);
        assertEquals([rows, packing !== undefined], [shape.batch, pack === "documents"]);
        for (const token of tokens) if (token >= 0) seen.set(token, (seen.get(token) ?? 0) + 1);
      }
      const epochs = steps * shape.batch / batches.rows;
      assertEquals(sizes.map((_, id) => seen.get(id)), sizes.map((size) => size * epochs));
      assertEquals(trainingBatches(numbered(sizes), options).at(steps - 1), batches.at(steps - 1));
      if (pack === "none") assertEquals(batches.rows, sizes.length);
      // Best fit leaves no two rows that would fit into one, but for rounding to few.
      const total = sizes.reduce((sum, size) => sum + size, 0);
      if (pack !== "none") assert(batches.rows <= 1 + Math.floor(2 * total / 61), `${batches.rows} rows of ${total}`);
      // A validation set is gone through once, in the same rows, and its documents are always apart.
      const fixed = validationBatches(numbered(sizes), options);
      const found = fixed.flatMap(({ tokens }) => [...tokens]).filter((token) => token >= 0);
      assertEquals(found.toSorted((a, b) => a - b), sizes.flatMap((size, id) => Array<number>(size).fill(id)));
      assertEquals(fixed.reduce((sum, { rows }) => sum + rows, 0), batches.rows);
      assert(fixed.every(({ packing }) => (packing !== undefined) === (pack !== "none")));
    }),
    { numRuns: 50 },
  );
});

Deno.test("padded lengths are few, long enough and never beyond the limit", () => {
  const all = new Set(Array.from({ length: 1024 }, (_, index) => bucketLength(index + 1, 1024)));
  assertEquals([...all], [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]);
  assertEquals(bucketLength(500, 500), 500);
});

Deno.test("a store gives back what was put in, from memory and from its file", () => {
  const spans = fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 5 });
  const sample = fc.tuple(fc.integer({ min: 1, max: 30_000 }), spans, fc.nat(1000)).map(
    ([size, parts, first]): Sample => {
      const ids = Int32Array.from({ length: size }, (_, i) => first + i), unscored: [number, number][] = [];
      let at = Math.min(2, size);
      for (const part of parts) {
        // Scored and unscored parts in turn, the first one scored, none of them empty.
        if (at + 2 * part < size) unscored.push([at + part, at + 2 * part]);
        at += 2 * part;
      }
      const source = first % 2 === 0 ? { source: "ü".repeat(first % 7 + 1) } : {};
      return { ids, scoredFrom: Math.min(2, size), ...(unscored.length > 0 && { unscored }), ...source };
    },
  );
  fc.assert(
    fc.property(fc.array(sample, { minLength: 20, maxLength: 40 }), fc.constantFrom(0, 1e9), (samples, memory) => {
      using store = new SampleStore(memory);
      for (const one of samples) store.add(one);
      const total = samples.reduce((sum, { ids }) => sum + ids.length, 0);
      assertEquals([store.length, store.spilled], [samples.length, memory === 0 && total >= 2 ** 18]);
      for (const index of samples.keys()) {
        const { ids, ...marks } = store.at(samples.length - 1 - index),
          { ids: own, ...wanted } = samples[samples.length - 1 - index];
        assert(ids.length === own.length && Array.from(ids).every((id, i) => id === own[i]));
        assertEquals(marks, wanted);
      }
    }),
    { numRuns: 12 },
  );
  assertEquals(listed(numbered([3, 5])).tokens(1), 5);
});

Deno.test("files become batches and a report: nothing is lost without being counted, in memory or in a file", () =>
  withTempDir(async (folder) => {
    const path = join(folder, "data.jsonl"),
      record = (question: string, answer: string) => JSON.stringify({ question, answer });
    const lines = Array.from({ length: 40 }, (_, i) => record(`question number ${i}`, `answer ${i}`));
    const odd = [
      lines[3],
      "{",
      record("long ".repeat(90), "x"),
      record("cut", "y".repeat(300)),
      record("question number 3", "z"),
    ];
    Deno.writeTextFileSync(path, [...lines, ...odd].join("\n"));
    const removals: Removal[] = [];
    const options: PrepareOptions = {
      batch: 4,
      seq: 200,
      vocab: 258,
      validation: 8,
      seed: 3,
      fields: "instruction=question,response=answer",
      template: "none",
      skipMalformed: true,
      onRemoved: (one) => void removals.push(one),
    };
    const { report, batches, validation } = await prepareData([path], bytes, options);
    assertEquals(removals.map(({ where, reason }) => [where.slice(folder.length + 1), reason]), [
      ["data.jsonl:41", "duplicate"],
      ["data.jsonl:42", "malformed"],
      ["data.jsonl:43", "too long"],
    ]);
    const all = Object.values(report.removed).reduce((sum, count) => sum + count, report.train + report.validation);
    assertEquals([all, report.validation, report.truncated, report.rows], [
      lines.length + odd.length,
      8,
      2,
      report.train,
    ]);
    assertEquals(report.lengths.most, 453);
    assertEquals(validation.reduce((sum, { rows }) => sum + rows, 0), 8);
    using spilled = await prepareData([path], bytes, { ...options, memory: 0, pack: "documents" });
    assertEquals([spilled.report.sha256, spilled.report.train], [report.sha256, report.train]);
    assert(spilled.report.rows < report.rows && spilled.batches.at(0).packing !== undefined);
    assert(spilled.validation.every(({ packing }) => packing !== undefined));
    const idsOf = (batches: typeof validation): number[] =>
      batches.flatMap(({ tokens }) => [...tokens]).filter((token) => token >= 0).toSorted((a, b) => a - b);
    assertEquals(idsOf(spilled.validation), idsOf(validation));
    assertEquals((await prepareData([path], bytes, options)).batches.at(5), batches.at(5));
    for (const { sources = [] } of [batches.at(0), spilled.batches.at(0)]) {
      assert(sources.length >= 4 && sources.every((source) => /data\.jsonl:\d+$/.test(source)), `${sources}`);
    }
    const { skipMalformed: _, ...strict } = options;
    await assertRejects(() => prepareData([path], bytes, strict), UserError, "data.jsonl:42: this is not JSON");
    await assertRejects(() => prepareData([path], bytes, { ...options, seq: 2 }), UserError, "nothing to learn from");
  }));
