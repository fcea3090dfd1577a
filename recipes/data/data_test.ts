/** @file Instruction data: what is read, what is refused, and that batches lose and repeat nothing. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { UserError } from "../../dsl/errors.ts";
import { magicoder } from "../evaluate/prompts.ts";
import { makeBatch, type Sample } from "../model/batch.ts";
import { sharedData, withTempDir } from "../../tests/support.ts";
import {
  bucketLength,
  type Encoder,
  readInstructions,
  splitInstructions,
  tokenizeInstruction,
  tokenizeInstructions,
  trainingBatches,
} from "./mod.ts";

/** One id per byte, after BOS 0 and EOS 1. */
const bytes: Encoder = { bos: 0, eos: 1, encode: (text) => Array.from(new TextEncoder().encode(text), (b) => b + 2) };
const bare = { maxTokens: 64, vocab: 258, prompt: (text: string): string => text };

function fromText(text: string | Uint8Array, skipMalformed = false): Promise<ReturnType<typeof readInstructions>> {
  return withTempDir((folder) => {
    const path = join(folder, "data.jsonl");
    Deno.writeFileSync(path, typeof text === "string" ? new TextEncoder().encode(text) : text);
    return readInstructions([path], { skipMalformed });
  });
}

async function refusal(text: string | Uint8Array): Promise<string> {
  try {
    await fromText(text);
  } catch (error) {
    assert(error instanceof UserError, `expected a UserError, got ${error}`);
    return error.message;
  }
  throw new Error("the data was accepted");
}

Deno.test("every known set of fields is read, as lines, as an array and as gzip", async () => {
  const records = [
    { instruction: "a", response: "A" },
    { instruction: "b", input: "", output: "B" },
    { instruction: "c", input: "x = 1", output: "C" },
    { prompt: "d", completion: "D" },
    {
      messages: [{ role: "system", content: "s" }, { role: "user", content: "e" }, { role: "assistant", content: "E" }],
    },
  ];
  const lines = records.map((record) => JSON.stringify(record)).join("\r\n\r\n") + "\n";
  const read = await fromText(lines);
  assertEquals(read.examples.map(({ instruction, response, raw }) => [instruction, response, raw]), [
    ["a", "A", false],
    ["b", "B", false],
    ["c\n\nx = 1", "C", false],
    ["d", "D", true],
    ["s\n\ne", "E", false],
  ]);
  assertEquals((await fromText(JSON.stringify(records, null, 2))).examples, read.examples);
  assertEquals((await fromText(gzipSync(lines))).examples, read.examples);
});

Deno.test("a malformed record is an error naming its line, or is counted where that is allowed", async () => {
  const good = '{"instruction": "a", "response": "b"}';
  const cases: [string, string][] = [
    [`${good}\n{"instruction": `, "data.jsonl:2: this is not JSON"],
    [`${good}\n\n{"text": "x"}`, "data.jsonl:3: it has text; expected instruction and response"],
    [`{"instruction": "a", "response": 3}`, 'data.jsonl:1: field "response" is a number, expected a text.'],
    [`{"messages": [{"role": "user", "content": "a"}]}`, "must end with the assistant's"],
    [`[\n${good},\n{"a": }\n]`, "data.jsonl:3: this is not JSON"],
    [`[${good}, 4]`, "record 2: an object was expected, not a number."],
    ["", "no instruction in the data"],
  ];
  for (const [text, expected] of cases) assertStringIncludes(await refusal(text), expected);
  assertStringIncludes(await refusal(Uint8Array.of(0x1f, 0x8b, 1, 2, 3)), "damaged gzip data");
  assertStringIncludes(await refusal(Uint8Array.of(0x7b, 0xff, 0xfe)), "no UTF-8");
  const { examples, skipped } = await fromText(`${good}\nnot json\n{"a": 1}\n${good}`, true);
  assertEquals([examples.length, skipped], [2, 2]);
  const missing = assertThrows(() => readInstructions(["nowhere.jsonl"]), UserError);
  assertEquals(missing.message, "nowhere.jsonl: there is no such file.");
});

Deno.test("labels are the response and the end token, each at the place before it", () => {
  const sample = tokenizeInstruction({ instruction: "ab", response: "cd", raw: false }, bytes, bare);
  const { tokens, labels } = makeBatch([sample], 8);
  assertEquals([...tokens], [0, 99, 100, 101, 102, 1, -1, -1]);
  assertEquals([...labels], [-1, -1, 101, 102, 1, -1, -1, -1]);
  assertEquals(sample.truncated, false);
});

Deno.test("examples are cut on the right and counted; what has nothing left to learn is dropped", () => {
  const texts = [{ instruction: "abcdef", response: "x", raw: false }, {
    instruction: "a",
    response: "xyz",
    raw: false,
  }];
  const cut = tokenizeInstructions(texts, bytes, { ...bare, maxTokens: 4 });
  assertEquals([cut.truncated, cut.dropped, cut.samples.length], [2, 1, 1]);
  assertEquals([...makeBatch(cut.samples, 4).labels], [-1, 122, 123, -1]);
  assertThrows(() => tokenizeInstructions(texts, bytes, { ...bare, maxTokens: 2 }), UserError, "nothing to learn from");
});

Deno.test("an id without a row in the embedding is the user's error", () => {
  const example = { instruction: "z", response: "", raw: false };
  assertThrows(
    () => tokenizeInstruction(example, bytes, { ...bare, vocab: 100 }),
    UserError,
    "token id 124 is beyond the embedding's 100 rows",
  );
});

Deno.test("the default prompt is Magicoder's, and raw prompts stay as they are", () => {
  const decode = (ids: ArrayLike<number>): string =>
    new TextDecoder().decode(Uint8Array.from(Array.from(ids).slice(1, -1), (id) => id - 2));
  const options = { maxTokens: 1024, vocab: 258 };
  const { ids } = tokenizeInstruction({ instruction: "Do.", response: "Done.", raw: false }, bytes, options);
  assertEquals(decode(ids), `${magicoder("Do.")}Done.`);
  assertEquals(
    magicoder("Do."),
    "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable responses " +
      "to user instructions.\n\n@@ Instruction\nDo.\n\n@@ Response\n",
  );
  const raw = tokenizeInstruction({ instruction: "def f():", response: " pass", raw: true }, bytes, options);
  assertEquals(decode(raw.ids), "def f(): pass");
});

Deno.test("no instruction is both trained on and validated", () => {
  const names = fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 40, maxLength: 80 });
  fc.assert(fc.property(names, fc.integer({ min: 0, max: 5 }), fc.nat(), (keys, validation, seed) => {
    const all = keys.map((key, index) => ({ instruction: `i${key}`, response: `r${index}`, raw: false }));
    const split = splitInstructions(all, validation, seed);
    assertEquals(split.validation.length, validation);
    assertEquals(split.train.length + split.validation.length + split.duplicates, all.length);
    const held = new Set(split.validation.map(({ instruction }) => instruction));
    assert(split.train.every(({ instruction }) => !held.has(instruction)));
    assertEquals(splitInstructions(all, validation, seed), split);
  }));
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

Deno.test("training batches hold every sample once per epoch, whole, in a repeatable order", () => {
  fc.assert(
    fc.property(lengths, shapes, (sizes, shape) => {
      const options = { ...shape, seq: 60 };
      const batches = trainingBatches(numbered(sizes), options);
      // As many whole windows as make whole epochs.
      const steps = sizes.length * shape.window;
      const seen = new Map<number, number>();
      for (let step = 0; step < steps; step++) {
        const { tokens, rows, length } = batches.at(step);
        assertEquals(rows, shape.batch);
        for (let row = 0; row < rows; row++) {
          const id = tokens[row * length];
          const real = tokens.subarray(row * length, (row + 1) * length).filter((token) => token === id);
          assertEquals(real.length, sizes[id]);
          seen.set(id, (seen.get(id) ?? 0) + 1);
        }
      }
      const epochs = steps * shape.batch / sizes.length;
      assertEquals([...seen.values()], sizes.map(() => epochs));
      assertEquals(trainingBatches(numbered(sizes), options).at(steps - 1), batches.at(steps - 1));
    }),
    { numRuns: 50 },
  );
});

Deno.test("padded lengths are few, long enough and never beyond the limit", () => {
  const all = new Set(Array.from({ length: 1024 }, (_, index) => bucketLength(index + 1, 1024)));
  assertEquals([...all], [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]);
  assertEquals(bucketLength(500, 500), 500);
});

const alpaca = sharedData("sft/code_alpaca_2k.json");
Deno.test({
  name: "code_alpaca_2k: every record is read, inputs appended",
  ignore: !alpaca,
  fn() {
    const { examples, sha256 } = readInstructions([alpaca!]);
    assertEquals([examples.length, examples.filter(({ instruction }) => instruction.includes("\n\n")).length >= 1006], [
      2017,
      true,
    ]);
    assertEquals(sha256.slice(0, 16), "9cb7352683bd2f53");
    assert(examples[0].instruction.endsWith("\n\ndataList = [3, 9, 3, 5, 7, 9, 5]"));
  },
});
