/** @file Choosing tokens: laws of the filters, transformers' numbers, and random numbers that are the devices' own. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { bits, read, tensor } from "../../../dsl/mod.ts";
import { checkout } from "../../../tests/support.ts";
import { draw, sampleKey, threefry } from "./draws.ts";
import { type Logits, minP, probabilitiesOf, repetitionPenalty, topK, topP } from "./filters.ts";
import { choose, filtered, type Sampling } from "./mod.ts";

// Eighths: what differs, differs by more than rounding.
const numbers = fc.array(fc.integer({ min: -160, max: 160 }).map((x) => x / 8), { minLength: 1, maxLength: 60 });
const logitsOf = (values: readonly number[]): Logits => Float64Array.from(values);
const kept = (logits: Logits): number[] => [...logits.keys()].filter((id) => logits[id] > -Infinity);
const massOf = (logits: Logits, ids: readonly number[]): number =>
  ids.reduce((sum, id) => sum + probabilitiesOf(logits)[id], 0);

Deno.test("filters: top-k keeps k, the largest, of equal ones the first, and changes none of them", () => {
  // Few different values: equal ones stand at the border.
  const few = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 60 });
  fc.assert(fc.property(fc.oneof(numbers, few), fc.integer({ min: 1, max: 70 }), (values, k) => {
    const logits = logitsOf(values), out = topK(logits, k), ids = kept(out);
    assertEquals(ids.length, Math.min(k, values.length));
    assert(ids.every((id) => out[id] === logits[id]));
    const least = Math.min(...ids.map((id) => logits[id]));
    const lastOfLeast = Math.max(...ids.filter((id) => logits[id] === least));
    assert(values.every((value, id) => out[id] > -Infinity || value < least || value === least && id > lastOfLeast));
  }));
});

Deno.test("filters: top-p keeps the smallest set of likeliest tokens that has the mass", () => {
  fc.assert(fc.property(numbers, fc.double({ min: 0, max: 0.999, noNaN: true }), (values, p) => {
    const logits = logitsOf(values), ids = kept(topP(logits, p)).sort((a, b) => logits[a] - logits[b]);
    assert(massOf(logits, ids) >= p - 1e-12);
    assert(ids.length === 1 || massOf(logits, ids.slice(1)) < p + 1e-12);
    assert(values.every((value, id) => ids.includes(id) || value <= logits[ids[0]]));
  }));
});

Deno.test("filters: min-p keeps what is likely enough beside the likeliest", () => {
  fc.assert(fc.property(numbers, fc.double({ min: 0.001, max: 0.999, noNaN: true }), (values, p) => {
    const logits = logitsOf(values), probabilities = probabilitiesOf(logits), out = minP(logits, p);
    const top = Math.max(...probabilities);
    probabilities.forEach((probability, id) => {
      if (Math.abs(probability - p * top) > 1e-9 * top) assertEquals(out[id] > -Infinity, probability > p * top);
    });
  }));
});

Deno.test("filters: a penalty makes what occurred less likely, and leaves the rest", () => {
  fc.assert(fc.property(numbers, fc.double({ min: 1.01, max: 3, noNaN: true }), (values, penalty) => {
    const out = repetitionPenalty(logitsOf(values), new Set([0, 99]), penalty);
    assert(out[0] < values[0] || values[0] === 0);
    assertEquals([...out.slice(1)], values.slice(1));
  }));
});

Deno.test("filters: every mixture of them gives transformers' logits", () => {
  const golden = JSON.parse(Deno.readTextFileSync(checkout("tests/golden/generation/logits_processors.json")));
  assert(golden.cases.length > 5);
  for (const { sampling, logits } of golden.cases as { sampling: Sampling; logits: (number | null)[] }[]) {
    const got = filtered(golden.logits, sampling, new Set<number>(golden.seen));
    logits.forEach((expected, id) => {
      const close = expected === null ? got[id] === -Infinity : Math.abs(got[id] - expected) < 1e-9;
      assert(close, `${JSON.stringify(sampling)}: token ${id} has ${got[id]}, expected ${expected}`);
    });
  }
});

Deno.test("draws: blocks are those of the tensor language, and differ by seed, prompt, sample and position", () => {
  for (const key of [[0, 0], [7, 9], [0xffffffff, 0x80000000]] as const) {
    const expected = read(bits(tensor({ word: 2 }, [...key], "u32"), { seq: 5 }));
    expected.forEach((word, position) => {
      const [x, y] = threefry(key, [0, position]);
      assertEquals((x ^ y) >>> 0, word);
      // 53 bits: the upper ones of both words.
      const [high, low] = [x, y].map((each) => each.toString(2).padStart(32, "0"));
      assertEquals(draw(key, position), Number(`0b${high.slice(0, 27)}${low.slice(0, 26)}`) / 2 ** 53);
    });
  }
  const seen = new Set<number>();
  for (const seed of [0, 1, 2 ** 40]) {
    for (const prompt of [[1], [1, 2], [2, 1]]) {
      for (const sample of [0, 1]) for (const at of [0, 1, 2]) seen.add(draw(sampleKey(seed, prompt, sample), at));
    }
  }
  assertEquals(seen.size, 54);
});

Deno.test("choose: frequencies are the probabilities, and filters leave the tail out", () => {
  const logits = [Math.log(0.5), Math.log(0.3), Math.log(0.2)], counts = [0, 0, 0], key = sampleKey(3, [1], 0);
  for (let i = 0; i < 4000; i++) counts[choose(logits, { temperature: 1 }, new Set(), draw(key, i))]++;
  counts.forEach((count, i) => assert(Math.abs(count / 4000 - [0.5, 0.3, 0.2][i]) < 0.03, `${counts}`));
  for (let i = 0; i < 200; i++) {
    assert(choose(logits, { temperature: 1, topP: 0.6 }, new Set(), draw(key, i)) < 2);
    assertEquals(choose(logits, { temperature: 1, topK: 1 }, new Set(), draw(key, i)), 0);
  }
  assertEquals(choose([2, 1.5], { repetitionPenalty: 2 }, new Set([0]), 0), 1);
});
