/** @file Pretraining batches: repeatable by step, full, and shifted by one. */
import { assert, assertEquals } from "@std/assert";
import { pretrainingBatches } from "./pretraining.ts";
import { special, vocabulary } from "./tokenizer.ts";

Deno.test("a batch depends on the seed and its step, not on those before it", () => {
  const batches = pretrainingBatches(3, { rows: 4, length: 48 });
  batches.at(0);
  assertEquals(batches.at(5), pretrainingBatches("3", { rows: 4, length: 48 }).at(5));
  assert(batches.at(5).tokens.join() !== batches.at(6).tokens.join());
});

Deno.test("rows are full and each label is the token that follows, across rows too", () => {
  const { rows, length, tokens, labels } = pretrainingBatches(3, { rows: 8, length: 64 }).at(1);
  assertEquals([tokens.length, labels.length], [rows * length, rows * length]);
  assertEquals(labels.slice(0, -1), tokens.slice(1));
  assertEquals(tokens[0], special.bos);
  for (const id of tokens) assert(id > special.unknown && id < vocabulary.length, `${id}`);
});
