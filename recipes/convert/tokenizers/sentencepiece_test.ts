/** @file SentencePiece's models, made a tokenizer.json: its own ids and texts. */
import { join } from "node:path";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { loadTokenizer, parseTokenizer } from "../../../backend/tokenizer.ts";
import { UserError } from "../../../dsl/errors.ts";
import { golden, sharedData, withTempDir } from "../../../tests/support.ts";
import { writeTinyModel } from "../../../tests/fixtures/tiny_folder.ts";
import { tinyDense } from "../../../tests/fixtures/tiny.ts";
import { kindOf } from "../files.ts";
import { convert } from "../mod.ts";
import { readVocabulary } from "./read_vocabulary.ts";
import { sentencePieceModelFiles } from "./sentencepiece.ts";
import { sentencePieceFiles } from "./tokenizer_json.ts";

type Case = { text: string; ids: number[]; decoded: string };
const cases: Record<string, Case[]> = JSON.parse(Deno.readTextFileSync(golden("sentencepiece/cases.json")));
const model = (name: string): Uint8Array<ArrayBuffer> => Deno.readFileSync(golden(`sentencepiece/${name}.model`));

for (const [name, texts] of Object.entries(cases)) {
  Deno.test(`a SentencePiece model (${name}) gives its own ids as a tokenizer.json`, () => {
    using tokenizer = parseTokenizer(sentencePieceModelFiles(model(name), name)["tokenizer.json"]);
    for (const { text, ids, decoded } of texts) {
      assertEquals(tokenizer.encode(text, { special: false }), ids, JSON.stringify(text));
      assertEquals(tokenizer.encode(text), [1, ...ids]);
      assertEquals(tokenizer.decode(ids), decoded);
    }
  });
}

Deno.test("a folder with a tokenizer.model alone gets its tokenizer.json", () =>
  withTempDir(async (folder) => {
    const [from, to] = [join(folder, "from"), join(folder, "to")];
    await writeTinyModel(from, "dense");
    Deno.removeSync(join(from, "tokenizer.json"));
    Deno.writeFileSync(join(from, "tokenizer.model"), model("prefixed"));
    Deno.writeTextFileSync(join(from, "tokenizer_config.json"), '{"add_bos_token": false, "chat_template": "x"}');
    assertThrows(() => loadTokenizer(from), UserError, "`convert`");
    await assertRejects(() => convert(from, to), UserError, "embedding has only 260 rows");
    assertEquals(kindOf(to), "nothing");
    const wide = join(folder, "wide");
    await writeTinyModel(wide, "dense", { vocab_size: 420 });
    for (const name of ["tokenizer.model", "tokenizer_config.json"]) {
      Deno.copyFileSync(join(from, name), join(wide, name));
    }
    Deno.removeSync(join(wide, "tokenizer.json"));
    await convert(wide, to);
    using tokenizer = loadTokenizer(to);
    const { text, ids } = cases.prefixed[4];
    assertEquals([tokenizer.encode(text), tokenizer.bos, tokenizer.chatTemplate], [ids, 1, "x"] as unknown[]);
  }));

Deno.test("SentencePiece models of other kinds, and damaged ones, are refused in a sentence", () => {
  const bytes = model("prefixed"), appended = (...more: number[]) => Uint8Array.of(...bytes, ...more);
  const refused: [Uint8Array, string][] = [
    [model("unigram"), "of kind unigram"],
    [bytes.subarray(0, 1000), "cut short"],
    [new TextEncoder().encode("hello"), "no SentencePiece model"],
    [Uint8Array.of(8, 1), "no SentencePiece model"],
    // A later field wins: normalizer_spec { precompiled_charsmap: "x" }, { remove_extra_whitespaces: true }.
    [appended(0x1a, 3, 0x12, 1, 0x78), "by a table"],
    [appended(0x1a, 2, 0x20, 1), "removes spaces"],
    // trainer_spec { byte_fallback: false }
    [appended(0x12, 3, 0x98, 2, 0), "no byte fallback"],
  ];
  for (const [given, expected] of refused) {
    assertThrows(() => sentencePieceModelFiles(given, "tokenizer.model"), UserError, expected);
  }
});

Deno.test("tokens that tokenizer_config.json adds to a SentencePiece model are found in texts", () => {
  const made = (id: number) =>
    sentencePieceModelFiles(model("prefixed"), "tokenizer.model", {
      addBos: false,
      added: [{ id, content: "<|end|>", special: true }, { id: 2, content: "</s>", special: true }],
    });
  using tokenizer = parseTokenizer(made(420)["tokenizer.json"]);
  const { text, ids } = cases.prefixed[4];
  assertEquals(tokenizer.encode(`<|end|>${text}</s>`), [420, ...ids, 2]);
  assertEquals(tokenizer.decode([420, ...ids]), text);
  for (const id of [419, 422]) assertThrows(() => made(id), UserError, "fits no place");
});

const llama2 = sharedData("tok/llama2_tokenizer.json");

Deno.test(
  "Llama 2's tokenizer, by way of a plain vocabulary, gives its own ids",
  { ignore: !llama2 },
  () =>
    withTempDir((folder) => {
      Deno.copyFileSync(llama2!, join(folder, "tokenizer.json"));
      const config = tinyDense({ vocab_size: 32000, bos_token_id: 1, eos_token_id: 2 });
      const plain = readVocabulary(folder, config);
      if (plain.kind !== "sentencepiece") throw new Error("it is SentencePiece's");
      const { vocabulary, scores, spacePrefix } = plain;
      using again = parseTokenizer(sentencePieceFiles(vocabulary, scores, spacePrefix, "again")["tokenizer.json"]);
      const golden = Deno.readTextFileSync(sharedData("tok/golden/small_tokens_llama2.txt")!).trimEnd().split("\n");
      const lines = Deno.readTextFileSync(sharedData("tok/golden/small_input.txt")!).trimEnd().split("\n");
      lines.forEach((line, i) => {
        const text = line.replaceAll("\\n", "\n").replace(/\\s$/, " ");
        if (text.includes("<|endoftext|>")) return;
        assertEquals(again.encode(text, { special: false }), golden[i].split(",").map(Number), text);
      });
    }),
);
