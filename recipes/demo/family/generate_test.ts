/** @file Laws of the family: the same from the same seed, splits that share nothing, tests that tell something. */
import { assert, assertEquals } from "@std/assert";
import { seeded } from "../../random.ts";
import { pretrainingDocument } from "./documents.ts";
import { compositions, domains, type Split, splitOf, tasks } from "./generate.ts";
import { normalisedSyntax, shape } from "./syntax.ts";

const splits: Split[] = ["train", "validation", "test"];

Deno.test("a seed gives the same tasks and documents, another seed others, and a longer draw begins as a shorter one", () => {
  for (const split of splits) {
    assertEquals(tasks(5, split, 40), tasks("5", split, 40));
    assertEquals(tasks(5, split, 60).slice(0, 40), tasks(5, split, 40));
    assert(JSON.stringify(tasks(5, split, 40)) !== JSON.stringify(tasks(6, split, 40)));
  }
  const documents = (seed: number) => {
    const random = seeded(seed);
    return Array.from({ length: 50 }, () => pretrainingDocument(random));
  };
  assertEquals(documents(1), documents(1));
});

Deno.test("the family stays what measurements were made on", () => {
  // One task pinned: a change of the generator, the tables or the hash moves every number reported about the demo.
  const [task] = tasks(1, "test", 1);
  assertEquals(
    task.instruction,
    "You get a number n: first limit it to at most 7, next replace it with its distance from zero, finally give back the text of it.",
  );
  assertEquals(task.expected, ["7", "7", "52", "9", "2", "7", "7", "0"]);
});

Deno.test("no held-out syntax occurs in training or pretraining, names erased, constants kept or erased", () => {
  const erased = (solutions: string[], erase: (source: string) => string) =>
    new Set(solutions.map((solution) => erase(solution)));
  const random = seeded("pretraining");
  const seen = [
    ...tasks(1, "train", 2000).map((task) => task.solution),
    ...Array.from({ length: 8000 }, () => pretrainingDocument(random).solution),
  ];
  const test = tasks(1, "test", 800).map((task) => task.solution);
  const validation = tasks(1, "validation", 800).map((task) => task.solution);
  for (const erase of [normalisedSyntax, shape]) {
    const [trained, tuned, held] = [seen, validation, test].map((solutions) => erased(solutions, erase));
    assert(held.isDisjointFrom(trained), "test and training share a syntax tree");
    assert(tuned.isDisjointFrom(trained), "validation and training share a syntax tree");
    assert(held.isDisjointFrom(tuned), "test and validation share a syntax tree");
  }
});

Deno.test("splits are disjoint as compositions and together the whole family, and training knows every step", () => {
  const name = (c: { domain: string; transforms: readonly string[]; reducer: string }) => JSON.stringify(c);
  const parts = splits.map((split) => new Set([...compositions(split)].map(name)));
  const whole = [...compositions()].map(name);
  assertEquals(parts.reduce((sum, part) => sum + part.size, 0), whole.length);
  assertEquals(new Set(whole).size, whole.length);
  for (const [index, part] of parts.entries()) {
    assert(part.size > 4000, `${splits[index]} has ${part.size} compositions`);
    assert(part.isDisjointFrom(parts[(index + 1) % 3]));
  }
  const known = new Set(
    [...compositions("train")].flatMap((c) => [...c.transforms, c.reducer].map((step) => c.domain + step)),
  );
  for (const { name, transforms, reducers } of domains) {
    for (const step of [...transforms, ...reducers]) assert(known.has(name + step.name), `${name} ${step.name}`);
  }
});

Deno.test("the split of a program does not depend on the order of its transforms", () => {
  const [{ transforms: [a, b, c], reducers: [end] }] = domains;
  assertEquals(splitOf([a, b, c, end]), splitOf([c, a, b, end]));
});

Deno.test("tasks differ in their solutions, their outputs vary, and their instructions are whole", () => {
  for (const split of splits) {
    const drawn = tasks(2, split, 300);
    assertEquals(new Set(drawn.map((task) => task.solution)).size, 300);
    for (const task of drawn) {
      assertEquals(task.inputs.length, 8);
      assertEquals(task.expected.length, 8);
      assert(new Set(task.expected.map((output) => JSON.stringify(output))).size > 1, task.solution);
      assert(!/[{}]/.test(task.instruction + task.solution), task.instruction);
      assert(task.instruction.endsWith("."), task.instruction);
    }
  }
});

Deno.test("names of steps are unique and phrasings of a domain name one step each", () => {
  for (const { name, transforms, reducers } of domains) {
    for (const table of [transforms, reducers]) {
      assertEquals(new Set(table.map((step) => step.name)).size, table.length, name);
      const phrases = table.flatMap((step) => step.phrases);
      assertEquals(new Set(phrases).size, phrases.length, name);
    }
  }
});
