/** @file The stream of a seed: fixed, within bounds, and apart from its children. */
import { assert, assertEquals } from "@std/assert";
import { hashText, seeded } from "./random.ts";

Deno.test("a seed's draws are pinned", () => {
  const random = seeded(1);
  assertEquals(Array.from({ length: 5 }, () => random.integer(0, 999)), [117, 25, 415, 573, 545]);
});

Deno.test("draws stay in their bounds and every value comes up", () => {
  const random = seeded("bounds");
  const seen = new Set<number>();
  for (let draw = 0; draw < 1000; draw++) {
    const value = random.integer(-2, 3);
    assert(value >= -2 && value <= 3);
    seen.add(value);
    assert(random.unit() < 1);
  }
  assertEquals(seen.size, 6);
});

Deno.test("weights decide, and a weight of 0 never comes up", () => {
  const random = seeded("weights");
  const counts = [0, 0, 0];
  for (let draw = 0; draw < 4000; draw++) counts[random.weighted([1, 0, 3])]++;
  assertEquals(counts[1], 0);
  assert(Math.abs(counts[0] / 4000 - 0.25) < 0.03, `${counts}`); // four standard deviations; the seed is fixed anyway
});

Deno.test("a sample has no item twice and stops at the list's end", () => {
  const random = seeded("sample");
  for (let draw = 0; draw < 100; draw++) assertEquals(new Set(random.sample([1, 2, 3, 4], 3)).size, 3);
  assertEquals(random.sample([1, 2], 5).sort(), [1, 2]);
});

Deno.test("a child depends on the seed and its label, not on what was drawn", () => {
  const parent = seeded(9);
  const before = parent.child("a").unit();
  parent.unit();
  assertEquals(parent.child("a").unit(), before);
  assert(parent.child("b").unit() !== before);
  assert(hashText("ab") !== hashText("ba"));
});
