/** @file Retrieval finds what is there, and ties do not depend on anything but order. */
import { assertEquals, assertThrows } from "@std/assert";
import { tasks } from "./family/mod.ts";
import { retrieve, retriever } from "./retrieve.ts";

Deno.test("an instruction that is in the training set finds its own task", () => {
  const train = tasks("retrieval", "train", 300);
  const nearest = retriever(train);
  for (const task of train.slice(0, 100)) assertEquals(nearest(task.instruction).instruction, task.instruction);
});

Deno.test("a rare word counts for more than common ones, and the first of equals wins", () => {
  const [one, two, three] = tasks("retrieval", "train", 3);
  const train = [
    { ...one, instruction: "Given a list, reverse the list and return the list." },
    { ...two, instruction: "Given a list, sort the list and return the list." },
    { ...three, instruction: "Given a list, sort the list and return the list." },
  ];
  assertEquals(retrieve("Given a list, first return it and then sort", train), train[1]);
  assertEquals(retrieve("nothing alike", train), train[0]);
});

Deno.test("retrieval without training tasks is an error", () => {
  assertThrows(() => retriever([]), Error, "at least one");
});
