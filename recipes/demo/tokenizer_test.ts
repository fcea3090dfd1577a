/** @file Laws of the tokenizer: text of the family survives it, and whatever a model generates is text. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { pretrainingDocument, tasks } from "./family/mod.ts";
import { seeded } from "../random.ts";
import {
  decode,
  encode,
  encodeDocument,
  encodePrompt,
  encodeTask,
  sourceOf,
  special,
  tokenizerFiles,
  vocabulary,
} from "./tokenizer.ts";

Deno.test("thousands of instructions, solutions and documents survive encoding, without an unknown piece", () => {
  const random = seeded("tokenizer");
  const texts = [
    ...(["train", "validation", "test"] as const).flatMap((split) =>
      tasks("tokenizer", split, 800).flatMap((task) => [task.instruction, task.solution])
    ),
    ...Array.from({ length: 2000 }, () => pretrainingDocument(random).solution),
  ];
  for (const text of texts) {
    const ids = encode(text);
    assert(!ids.includes(special.unknown), text);
    assertEquals(decode(ids), text);
  }
});

Deno.test("every line, phrase and argument of the family is in the vocabulary, once", () => {
  assertEquals(new Set(vocabulary).size, vocabulary.length);
  assertEquals(decode(encode("return 7 in xs[:9]")), "return 7 in xs[:9]");
});

Deno.test("a task's loss starts after the response mark and its solution ends before the end", () => {
  const [task] = tasks(1, "train", 1);
  const { ids, scoredFrom } = encodeTask(task);
  assertEquals(ids.slice(0, scoredFrom), encodePrompt(task.instruction));
  assertEquals(ids[scoredFrom - 1], special.response);
  assertEquals(ids.at(-1), special.eos);
  assertEquals(sourceOf(ids.slice(scoredFrom)), task.solution);
  assertEquals(sourceOf([...ids.slice(scoredFrom), 9, 9]), task.solution);
});

Deno.test("a bare document is predicted from its first token on", () => {
  const { ids, scoredFrom } = encodeDocument({ solution: "def f(n):\n    return n" });
  assertEquals([ids[0], ids.at(-1), scoredFrom], [special.bos, special.eos, 1]);
});

Deno.test("pieces outside the vocabulary are unknown, ids outside it an error", () => {
  assertEquals(encode(" perplexity"), [special.unknown]);
  assertEquals(encode("<eos>").includes(special.eos), false);
  assertEquals(decode([special.bos, ...encode("Given"), special.unknown]), "Given");
  assertThrows(() => decode([vocabulary.length]), RangeError, "outside the vocabulary");
});

Deno.test("the files give every piece its id and mark the special ones", () => {
  const { model, added_tokens } = JSON.parse(tokenizerFiles()["tokenizer.json"]);
  assertEquals(Object.keys(model.vocab).length, vocabulary.length);
  for (const [id, piece] of vocabulary.entries()) assertEquals(model.vocab[piece], id);
  for (const { id, content } of added_tokens) assertEquals(vocabulary[id], content);
});
