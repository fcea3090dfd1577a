/** @file Estimates and comparisons, against enumeration and scipy. */
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { bootstrapInterval, exactInterval, passAt, passAtOverTasks } from "./estimate.ts";
import { comparePaired, mcnemar, tasksNeeded } from "./paired.ts";

Deno.test("pass@k is the share of k-subsets with a right sample", () => {
  assertEquals(passAt(1, 10, 3), 0.3);
  assertEquals(passAt(5, 5, 0), 0);
  assertEquals(passAt(3, 4, 2), 1);
  // By enumeration: of the 10 pairs out of 5 samples with 2 right ones, 3 have no right one.
  assertAlmostEquals(passAt(2, 5, 2), 0.7);
  assertThrows(() => passAt(6, 5, 1), RangeError);
});

Deno.test("a share's interval is the exact one", () => {
  // 67.1% of 164, as scipy's binomtest(110, 164).proportion_ci gives it.
  const got = exactInterval(110, 164);
  for (const [end, want] of [0.5931532, 0.7420102].entries()) assertAlmostEquals(got[end], want, 1e-6);
  assertEquals([exactInterval(0, 10)[0], exactInterval(10, 10)[1], exactInterval(0, 0)], [0, 1, [0, 1]]);
});

Deno.test("the exact interval holds the true share in at least 95% of all cases, by enumeration", () => {
  const trials = 12;
  for (const share of [0.01, 0.2, 0.5, 0.77]) {
    let covered = 0, chance = (1 - share) ** trials;
    for (let k = 0; k <= trials; k++) {
      const [low, high] = exactInterval(k, trials);
      if (low <= share && share <= high) covered += chance;
      chance *= (trials - k) / (k + 1) * share / (1 - share);
    }
    assert(covered >= 0.95, `${covered} at ${share}`);
  }
});

Deno.test("a bootstrap's interval is near the normal one, and the same each time", () => {
  const values = Array.from({ length: 400 }, (_, i) => i % 4 === 0 ? 1 : 0.25);
  const [low, high] = bootstrapInterval(values);
  const spread = 1.96 * Math.sqrt(0.75 * 0.25 * 0.75 ** 2 / 400);
  assertAlmostEquals(low, 0.4375 - spread, 0.004);
  assertAlmostEquals(high, 0.4375 + spread, 0.004);
  assertEquals(bootstrapInterval(values), [low, high]);
  const several = [{ samples: 2, right: 1 }, { samples: 2, right: 2 }];
  assertEquals([passAtOverTasks(1, several).value, passAtOverTasks(1, several).interval], [0.75, [0.5, 1]]);
  const one = [{ samples: 1, right: 1 }, { samples: 1, right: 0 }];
  assertEquals(passAtOverTasks(1, one).interval, exactInterval(1, 2));
});

Deno.test("McNemar's exact test is a fair coin's two tails", () => {
  // By enumeration of all ways in which n coins fall.
  for (const [won, lost] of [[0, 0], [3, 1], [1, 3], [4, 4], [7, 2]]) {
    const n = won + lost, far = Math.abs(won - lost);
    let extreme = 0;
    for (let bits = 0; bits < 2 ** n; bits++) {
      const heads = bits.toString(2).replaceAll("0", "").length;
      if (Math.abs(2 * heads - n) >= far) extreme++;
    }
    assertAlmostEquals(mcnemar(won, lost), extreme / 2 ** n, 1e-12);
  }
  assertAlmostEquals(mcnemar(1000, 1000), 1, 1e-9);
});

Deno.test("a paired comparison sees a difference that the tasks share, and none where wins and losses are even", () => {
  const score = (ones: number, length = 164): number[] => Array.from({ length }, (_, i) => Number(i < ones));
  const better = comparePaired(score(94), score(106));
  assertAlmostEquals(better.difference, 12 / 164, 1e-12);
  assertAlmostEquals(better.mcnemar!, 2 / 2 ** 12, 1e-12);
  assert(better.bootstrap < 0.001 && better.interval[0] > 0);
  assertEquals(comparePaired(score(94), score(106)), better);
  const even = comparePaired([...score(10, 20), ...score(10, 20)], [...score(10, 20), ...score(10, 20).reverse()]);
  assertEquals([even.difference, even.mcnemar, even.tasksNeeded], [0, 1, null]);
  assert(even.bootstrap > 0.9);
  // Half of all draws of these two tasks say that there is no difference: that speaks for neither side.
  assertEquals(comparePaired([0, 1], [1, 0]).bootstrap, 1);
  assertEquals(comparePaired([0.5, 1], [1, 1]).mcnemar, null);
  assertThrows(() => comparePaired([1], []), RangeError);
});

Deno.test("the tasks that a difference needs are McNemar's sample size", () => {
  // 20% won, 10% lost: ((1.96·√0.3 + 0.8416·√(0.3 − 0.1²)) / 0.1)² = 233.1.
  const differences = Array.from({ length: 10 }, (_, i) => i < 2 ? 1 : i < 3 ? -1 : 0);
  assertEquals(tasksNeeded(differences), 234);
});
