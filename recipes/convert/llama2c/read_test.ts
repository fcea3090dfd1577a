/** @file llama2.c → Hugging Face: its tokenizer against the algorithm of run.c, its weights in their places. */
import { join } from "node:path";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { openCheckpoint } from "../../../backend/checkpoint.ts";
import { loadTokenizer } from "../../../backend/tokenizer.ts";
import { UserError } from "../../../dsl/errors.ts";
import { sharedData, withTempDir } from "../../../tests/support.ts";
import { parseTokenizerBin } from "./read.ts";
import { convert } from "../mod.ts";
import { pairsToHalves } from "../rope.ts";

const model = sharedData("ckpt/stories260K.bin");
const pieces = sharedData("ckpt/tok512.bin");

/** run.c's encode: characters (or their bytes), then the best-scored neighbours joined until none is a piece. */
function encodeAsRunC(text: string, vocabulary: ReturnType<typeof parseTokenizerBin>): number[] {
  const find = (piece: string): number => vocabulary.pieces.indexOf(piece);
  let ids = text === "" ? [] : [find(" ")];
  for (const character of text) {
    const id = find(character);
    ids.push(...(id >= 0 ? [id] : Array.from(new TextEncoder().encode(character), (byte) => byte + 3)));
  }
  for (;;) {
    let best = { score: -1e10, at: -1, id: -1 };
    for (let at = 0; at + 1 < ids.length; at++) {
      const id = find(vocabulary.pieces[ids[at]] + vocabulary.pieces[ids[at + 1]]);
      if (id >= 0 && vocabulary.scores[id] > best.score) best = { score: vocabulary.scores[id], at, id };
    }
    if (best.at < 0) return [1, ...ids];
    ids = ids.toSpliced(best.at, 2, best.id);
  }
}

Deno.test(
  "stories260K becomes a Hugging Face folder",
  { ignore: !model || !pieces },
  () =>
    withTempDir(async (folder) => {
      const out = join(folder, "stories");
      await assertRejects(() => convert(model!, out), UserError, "--tokenizer");
      await assertRejects(() => convert(model!, out, { tokenizer: "none.bin" }), UserError, "no such file");
      const report = await convert(model!, out, { tokenizer: pieces! });
      assertEquals([report.from, report.parameters, report.tokens], ["llama2c", 260032, 512]);
      using tokenizer = loadTokenizer(out);
      const vocabulary = parseTokenizerBin(Deno.readFileSync(pieces!), 512, "tok512.bin");
      const story = Deno.readTextFileSync(sharedData("ckpt/stories260K.md")!);
      for (
        const text of ["", " ", "Once upon a time", "  two  spaces\n\n", "aaaaaaaaaaa", "é日🎉", ...story.split("\n")]
      ) {
        const ids = tokenizer.encode(text);
        assertEquals(ids, encodeAsRunC(text, vocabulary), JSON.stringify(text));
        assertEquals(tokenizer.decode(ids), text);
      }
      using before = openCheckpoint(model!);
      using after = openCheckpoint(out);
      const query = before.read("layers.4.attention.wq.weight");
      assertEquals(after.read("model.layers.4.self_attn.q_proj.weight"), pairsToHalves(query, 8, 64));
      assertEquals(after.read("model.layers.4.mlp.down_proj.weight"), before.read("layers.4.feed_forward.w2.weight"));
      assertEquals(after.tensors.has("lm_head.weight"), false);
    }),
);

Deno.test("a tokenizer.bin that is cut short or another model's is refused", { ignore: !pieces }, () => {
  const bytes = Deno.readFileSync(pieces!);
  assertThrows(() => parseTokenizerBin(bytes.slice(0, -1), 512, "t.bin"), UserError, "t.bin: piece 511 goes beyond");
  assertThrows(() => parseTokenizerBin(bytes, 511, "t.bin"), UserError, "they do not belong together");
  assertThrows(() => parseTokenizerBin(new Uint8Array(100).fill(255), 512, "t.bin"), UserError, "piece 0");
});

Deno.test("rows go from pairs to halves within each head", () => {
  const rows = pairsToHalves(Float32Array.from({ length: 16 }, (_, row) => row), 8, 1);
  assertEquals([...rows], [0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15]);
});
