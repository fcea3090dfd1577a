/** @file What passes and what fails: Python's equality, all outputs, none missing. */
import { assert, assertEquals } from "@std/assert";
import { equal, judge } from "./judge.ts";

Deno.test("values are equal as in Python", () => {
  assert(equal(true, 1) && equal(2n, 2.0) && equal(1n, true) && equal([1n, ["a"]], [1, ["a"]]) && equal(null, null));
  for (const [a, b] of [["1", 1], [[1], 1], [[1, 2], [1]], [null, 0], ["a", "b"], [[], ""], [{}, {}]]) {
    assertEquals(equal(a, b), false);
    assertEquals(equal(b, a), false);
  }
});

Deno.test("a sample passes with every output right and fails otherwise", () => {
  assert(judge([1, [2], "c"], [1, [2], "c"]));
  assert(!judge([1, [2]], [1, [2], "c"]));
  assert(!judge([1, [3], "c"], [1, [2], "c"]));
  assert(!judge(undefined, []));
});
