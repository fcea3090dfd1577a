/** @file Reading data: every format gives the same examples, and what is malformed is named. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { parquetWriteBuffer } from "npm:hyparquet-writer@0.17.0";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { UserError } from "../../../dsl/errors.ts";
import { checkout, golden, sharedData, withTempDir } from "../../../tests/support.ts";
import { answerOf, type Example, parseFields, questionOf, readExamples, recordsOf, sha256Of } from "./mod.ts";

/** What came of a file with this content. */
function fromContent(content: string | Uint8Array, options: { fields?: string; skip?: boolean } = {}): Promise<
  { readonly examples: Example[]; readonly skipped: string[] }
> {
  return withTempDir(async (folder) => {
    const path = join(folder, "data.jsonl"), examples: Example[] = [], skipped: string[] = [];
    Deno.writeFileSync(path, typeof content === "string" ? new TextEncoder().encode(content) : content);
    const fields = options.fields === undefined ? undefined : parseFields(options.fields);
    const onMalformed = options.skip
      ? (where: string): void => void skipped.push(where.slice(folder.length + 1))
      : undefined;
    for await (const { example } of readExamples([path], { fields, onMalformed })) examples.push(example);
    return { examples, skipped };
  });
}

async function refusal(content: string | Uint8Array, options: { fields?: string } = {}): Promise<string> {
  try {
    await fromContent(content, options);
  } catch (error) {
    assert(error instanceof UserError, `expected a UserError, got ${error}`);
    return error.message;
  }
  throw new Error("the data was accepted");
}

const records = [
  { instruction: "a", response: "A" },
  { instruction: "b", input: "", output: "B" },
  { instruction: "c", input: "x = 1", output: "C" },
  { prompt: "d", completion: "D" },
  { messages: [{ role: "system", content: "s" }, { role: "user", content: "e" }, { role: "assistant", content: "E" }] },
  { conversations: [{ from: "human", value: "f" }, { from: "gpt", value: "F" }] },
];

Deno.test("every known set of fields is read, as lines and as an array, plain, as gzip and as zstd", async () => {
  const lines = records.map((record) => JSON.stringify(record)).join("\r\n\r\n") + "\n";
  const { examples } = await fromContent(lines);
  assertEquals(examples.map((example) => [questionOf(example), answerOf(example), example.raw]), [
    ["a", "A", false],
    ["b", "B", false],
    ["c\n\nx = 1", "C", false],
    ["d", "D", true],
    ["s\n\ne", "E", false],
    ["f", "F", false],
  ]);
  assertEquals(examples[5].turns.map(({ role }) => role), ["user", "assistant"]);
  const half = Math.floor(lines.length / 2);
  const same = [
    JSON.stringify(records, null, 2),
    "\ufeff" + lines,
    gzipSync(lines),
    // Several members, as `cat a.gz b.gz` makes them.
    Uint8Array.from([...gzipSync(lines.slice(0, half)), ...gzipSync(lines.slice(half))]),
    zstdCompressSync(lines),
    Uint8Array.from([...zstdCompressSync(lines.slice(0, half)), ...zstdCompressSync(lines.slice(half))]),
    zstdCompressSync(JSON.stringify(records)),
  ];
  for (const content of same) assertEquals((await fromContent(content)).examples, examples);
});

Deno.test("Parquet's rows are records, group by group, texts and lists of messages alike", async () => {
  const columns = (names: Record<string, unknown[]>) =>
    Object.entries(names).map(([name, data]) => ({ name, data: data as string[] }));
  const texts = columns({ instruction: ["a", "b", "c"], response: ["A", "B", "C"] });
  const compressors = {
    GZIP: (bytes: Uint8Array): Uint8Array => gzipSync(bytes),
    ZSTD: (bytes: Uint8Array): Uint8Array => zstdCompressSync(bytes),
  };
  for (const codec of ["SNAPPY", "UNCOMPRESSED", "GZIP", "ZSTD"] as const) {
    const bytes = new Uint8Array(parquetWriteBuffer({ columnData: texts, codec, compressors, rowGroupSize: 2 }));
    const { examples } = await fromContent(bytes);
    assertEquals(examples.map((example) => questionOf(example) + answerOf(example)), ["aA", "bB", "cC"]);
    assertStringIncludes(await refusal(bytes.subarray(0, bytes.length - 9)), "this Parquet file cannot be read");
  }
  const gap = parquetWriteBuffer({ columnData: columns({ instruction: ["a", "b"], response: ["A", null] }) });
  assertStringIncludes(await refusal(new Uint8Array(gap)), 'data.jsonl, row 2: field "response" is null');
  const messages = [[{ role: "user", content: "q" }, { role: "assistant", content: "Q" }]];
  const listed = parquetWriteBuffer({ columnData: [{ name: "messages", data: messages, type: "JSON" }] });
  assertEquals((await fromContent(new Uint8Array(listed))).examples, [{ turns: messages[0], raw: false }]);
});

Deno.test("Parquet files as Arrow writes them are read, whatever their compression and pages", async () => {
  for (const name of ["none", "snappy", "gzip", "zstd", "brotli", "lz4", "pages-of-2"]) {
    const { examples } = await fromContent(Deno.readFileSync(golden(`parquet/texts-${name}.parquet`)));
    assertEquals(examples.map(questionOf), ["Add two numbers.", "Say “häh”.", "Add two numbers."], name);
    assertEquals(answerOf(examples[0]), "def add(a, b):\n    return a + b", name);
  }
  const { examples } = await fromContent(Deno.readFileSync(golden("parquet/chats.parquet")));
  assertEquals(examples.map(({ turns }) => turns.map(({ role, content }) => `${role}: ${content}`)), [
    ["user: q", "assistant: Q"],
    ["system: Be brief.", "user: r", "assistant: R"],
  ]);
});

Deno.test("fields are taken by another name where one is given, and then no others", async () => {
  const line = JSON.stringify({
    question: "q",
    answer: "a",
    instruction: "no",
    response: "no",
    prompt: "p",
    tail: "t",
  });
  const taken = async (fields: string): Promise<unknown> => {
    const [{ turns, raw }] = (await fromContent(line, { fields })).examples;
    return [...turns.map(({ content }) => content), raw];
  };
  assertEquals(await taken("instruction=question,response=answer"), ["q", "a", false]);
  assertEquals(await taken("prompt=prompt, completion=tail"), ["p", "t", true]);
  assertEquals(await taken("instruction=question,input=prompt,output=tail"), ["q\n\np", "t", false]);
  assertStringIncludes(
    await refusal(line, { fields: "instruction=nothing,response=answer" }),
    "--fields names nothing",
  );
  for (
    const [fields, complaint] of [["question", "expected OURS=THEIRS"], ["a=b", '"a" is none of'], ["input=b", "left"]]
  ) {
    assertStringIncludes(assertThrows(() => parseFields(fields), UserError).message, complaint);
  }
});

Deno.test("a malformed record is an error naming its line, or is left out where that is allowed", async () => {
  const good = '{"instruction": "a", "response": "b"}';
  const cases: [string, string][] = [
    [`${good}\n{"instruction": `, "data.jsonl:2: this is not JSON"],
    [`${good}\n\n{"text": "x"}`, "data.jsonl:3: it has text; expected instruction and response"],
    [`{"instruction": "a", "response": 3}`, 'data.jsonl:1: field "response" is a number, expected a text.'],
    [`{"messages": [{"role": "user", "content": "a"}]}`, "must end with the assistant's"],
    [`[\n${good},\n{"a": }\n]`, "data.jsonl:3, record 2: this is not JSON"],
    [`[${good}, 4]`, "data.jsonl:1, record 2: an object was expected, not a number."],
    [`[${good} ${good}]`, "record 1: this is not JSON"],
    [`[${good},]`, "record 2: this is not JSON"],
    [`[${good},\n${good}`, "data.jsonl:2: the list does not end."],
    [`[${good}]\n]`, "data.jsonl:2: something follows the end of the list."],
    ["", "no instruction in the data"],
    [" [ ] ", "no instruction in the data"],
  ];
  for (const [text, expected] of cases) assertStringIncludes(await refusal(text), expected);
  assertStringIncludes(await refusal(Uint8Array.of(0x1f, 0x8b, 1, 2, 3)), "damaged gzip data");
  assertStringIncludes(await refusal(gzipSync(good.repeat(99)).subarray(0, 40)), "damaged gzip data");
  const zstd = zstdCompressSync(`${good}\n`.repeat(9));
  for (let end = 5; end < zstd.length; end++) {
    assertStringIncludes(await refusal(zstd.subarray(0, end)), "damaged zstd data");
  }
  assertStringIncludes(await refusal(zstd.map((byte, i) => i > 9 ? byte ^ 255 : byte)), "damaged zstd data");
  assertStringIncludes(await refusal(Uint8Array.of(0x7b, 0xff, 0xfe)), "data.jsonl:1: this is no UTF-8");
  const { examples, skipped } = await fromContent(`${good}\nnot json\n{"a": 1}\n${good}`, { skip: true });
  assertEquals([examples.length, skipped], [2, ["data.jsonl:2", "data.jsonl:3"]]);
  await withTempDir((folder) => {
    assertThrows(() => sha256Of([join(folder, "nowhere")]), UserError, "there is no such file.");
    assertThrows(() => sha256Of([folder]), UserError, "this is a folder");
  });
});

Deno.test("records are what JSON.parse sees, wherever the pieces of a file are cut", () =>
  withTempDir(async (folder) => {
    const path = join(folder, "data.json");
    const values = fc.array(fc.record({ text: fc.string({ unit: "binary" }), more: fc.jsonValue() }), {
      minLength: 1,
      maxLength: 20,
    });
    await fc.assert(
      fc.asyncProperty(values, fc.constantFrom(0, 2), fc.integer({ min: 1, max: 64 }), async (list, indent, shift) => {
        // So many spaces first that a record lies on the border of two pieces.
        const array = " ".repeat((1 << 18) - shift) + JSON.stringify(list, null, indent);
        const lines = " ".repeat((1 << 18) - shift) + "\n" + list.map((each) => JSON.stringify(each)).join("\n");
        for (const text of [array, lines]) {
          Deno.writeTextFileSync(path, text);
          const read: unknown[] = [];
          for await (const record of recordsOf(path)) read.push(record.read());
          assertEquals(read, JSON.parse(JSON.stringify(list)));
        }
      }),
      { numRuns: 12 },
    );
  }));

Deno.test("a file much larger than the heap is read, and its samples kept, in bounded memory", () =>
  withTempDir(async (folder) => {
    const path = join(folder, "large.jsonl"), megabytes = 96;
    {
      using file = Deno.openSync(path, { write: true, create: true });
      const response = "x".repeat(8000), lines: string[] = [];
      for (let i = 0; i < 128; i++) lines.push(JSON.stringify({ instruction: `${i}`, response }));
      const bytes = new TextEncoder().encode(lines.join("\n") + "\n");
      for (let i = 0; i < megabytes; i++) file.writeSync(bytes);
    }
    const program = `
      import { readExamples } from "${new URL("./mod.ts", import.meta.url)}";
      import { SampleStore } from "${new URL("../samples.ts", import.meta.url)}";
      using store = new SampleStore(1 << 20);
      const encoder = new TextEncoder();
      for await (const { example: { turns } } of readExamples([${JSON.stringify(path)}])) {
        store.add({ ids: encoder.encode(turns[1].content.slice(0, 500) + turns[0].content), scoredFrom: 1 });
      }
      const last = store.at(store.length - 1).ids;
      console.log(store.length, store.spilled, String.fromCharCode(...last.slice(-3)));`;
    const file = join(folder, "program.ts");
    Deno.writeTextFileSync(file, program);
    const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-check", "--allow-all", "--v8-flags=--max-old-space-size=40", file],
      cwd: checkout("."),
    }).output();
    assert(success, new TextDecoder().decode(stderr));
    assertEquals(new TextDecoder().decode(stdout).trim(), `${128 * megabytes} true 127`);
  }));

const alpaca = sharedData("sft/code_alpaca_2k.json");
Deno.test({
  name: "code_alpaca_2k: every record is read, inputs appended",
  ignore: !alpaca,
  async fn() {
    const examples: Example[] = [];
    for await (const { example } of readExamples([alpaca!])) examples.push(example);
    assertEquals(examples.length, 2017);
    assert(examples.filter((example) => questionOf(example).includes("\n\n")).length >= 1006);
    assert(questionOf(examples[0]).endsWith("\n\ndataList = [3, 9, 3, 5, 7, 9, 5]"));
    assertEquals(sha256Of([alpaca!]).slice(0, 16), "9cb7352683bd2f53");
  },
});
