/** @file Means and deviations over seeds are the textbook's; differences are taken within a seed. */
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { seedsTable, spreadOf } from "./seeds.ts";

Deno.test("mean and deviation over seeds, one seed has no deviation, none has no mean", () => {
  assertEquals(spreadOf([2, 4, 9]), { mean: 5, deviation: Math.sqrt((9 + 1 + 16) / 2) });
  assertEquals(spreadOf([7]), { mean: 7 });
  assertThrows(() => spreadOf([]), RangeError);
});

Deno.test("a row's difference to SFT is taken within each seed before it is averaged", () => {
  const report = (seed: number, sft: number, xft: number) => ({
    seed,
    rows: [{ name: "SFT", pass_at_1: sft, loss: 0.5 }, { name: "XFT", pass_at_1: xft }],
  });
  // Seeds differ by 20 points, the rows within a seed by 1: the deviation of the difference is 0.
  const table = seedsTable([report(1, 0.3, 0.31), report(2, 0.5, 0.51)]);
  assertStringIncludes(table, "| XFT | 41.0 ± 14.1 | 1.0 ± 0.0 |  | 31.0 51.0 |");
  assertStringIncludes(table, "| SFT | 40.0 ± 14.1 |  | 0.5000 ± 0.0000 | 30.0 50.0 |");
});
