/** @file evalplus' rules of what is right, and MBPP+'s inputs. */
import { assert, assertEquals } from "@std/assert";
import { allClose, equal } from "../python/compare.ts";
import { mbppInput } from "../benchmarks/mbpp_inputs.ts";
import { isRight, type Rules } from "./oracle.ts";
import { Opaque, PyBytes, PyComplex, PyDict, PySet, type PythonValue, Tuple } from "../python/values.ts";

Deno.test("equality is Python's ==", () => {
  const same: [PythonValue, PythonValue][] = [
    [1n, 1],
    [1n, true],
    [0, false],
    [-0, 0],
    [2n ** 53n, 2 ** 53],
    [new PyComplex(2, 0), 2n],
    [[1n, [2]], [1, [2n]]],
    [new PySet([1n, new Tuple([2n])]), new PySet([new Tuple([2]), true], true)],
    [new PyDict([["a", 1n], ["b", 2n]]), new PyDict([["b", 2], ["a", 1]])],
    [new PyBytes(new Uint8Array([1])), new PyBytes(new Uint8Array([1]))],
    [new Opaque("deque", "deque([1])"), new Opaque("deque", "deque([1])")],
    [Infinity, Infinity],
  ];
  const different: [PythonValue, PythonValue][] = [
    [2n ** 53n + 1n, 2 ** 53],
    ["1", 1n],
    [null, false],
    [[1n], new Tuple([1n])],
    [[1n], [1n, 2n]],
    [NaN, NaN],
    [new Opaque("generator"), new Opaque("generator")],
    [new PySet([1n]), [1n]],
    [new PyDict([]), new PySet([])],
    [new PyDict([["a", null]]), new PyDict([["b", null]])],
    [new PyBytes(new Uint8Array([97])), "a"],
  ];
  for (const [a, b] of same) assert(equal(a, b) && equal(b, a));
  for (const [a, b] of different) assert(!equal(a, b) && !equal(b, a));
});

Deno.test("closeness is numpy.allclose with rtol 1e-7", () => {
  assert(allClose([1, 2 + 1e-8], [1n, 2], 0));
  assert(!allClose([1, 2 + 1e-6], [1, 2], 0));
  assert(allClose(0.5e-6, 0, 1e-6) && !allClose(2e-6, 0, 1e-6));
  assert(allClose(Infinity, Infinity, 0) && !allClose(1, Infinity, 1) && !allClose(NaN, NaN, 1));
  assert(!allClose("a", "a", 1) && !allClose([1], [[1]], 1) && !allClose([1], 1, 1));
});

const humaneval = (entry: string, atol: number = 0): Rules => ({ benchmark: "humaneval", entry, atol });
const mbpp = (entry: string, atol: number = 0): Rules => ({ benchmark: "mbpp", entry, atol });

Deno.test("the oracle follows evalplus: floats within 1e-6, types alike, everything else exactly", () => {
  assert(isRight(humaneval("f"), [], 1.0000005, 1));
  assert(!isRight(humaneval("f"), [], 1.00001, 1));
  assert(isRight(humaneval("f"), [], 1n, 1), "equal values of different types are equal");
  assert(!isRight(humaneval("f"), [], new Tuple([1.0000001]), [1]), "a tuple is close to no list");
  assert(!isRight(humaneval("f"), [], 100000001n, 100000000n), "ints are exact");
  assert(isRight(humaneval("f", 1e-4), [], [1.00005], [1]));
  assert(!isRight(humaneval("f"), [], "a", "b"));
});

Deno.test("the oracle knows the tasks with many right answers", () => {
  // x³ − 6x² + 11x − 6 has the roots 1, 2 and 3; which one comes back does not count.
  const cubic = [[-6n, 11n, -6n, 1n]];
  for (const root of [1, 2, 3]) assert(isRight(humaneval("find_zero", 1e-4), cubic, root, 1));
  assert(!isRight(humaneval("find_zero", 1e-4), cubic, 1.5, 1));
  assert(!isRight(humaneval("find_zero", 1e-4), cubic, null, 1));
  assert(isRight(mbpp("similar_elements"), [], [5n, 4n], new Tuple([4n, 5n])));
  assert(!isRight(mbpp("similar_elements"), [], [5n], new Tuple([4n, 5n])));
  assert(!isRight(mbpp("similar_elements"), [], 5n, new Tuple([5n])));
  assert(isRight(mbpp("check_str"), [], new Opaque("Match"), new Opaque("Match")));
  assert(!isRight(mbpp("check_str"), [], new Opaque("Match"), null));
  assert(isRight(mbpp("check_str"), [], false, null));
  assert(isRight(mbpp("digit_distance_nums"), [23n, 156n], 7n, 99n));
  assert(isRight(mbpp("surface_Area"), [3n, 4n], 35n, 33n));
});

Deno.test("MBPP's inputs become tuples, sets and complex numbers where its tasks want them", () => {
  assertEquals(mbppInput(2, [[1n], [2n]]), [new Tuple([1n]), new Tuple([2n])]);
  assertEquals(mbppInput(63, [[[1n, 2n]]]), [[new Tuple([1n, 2n])]]);
  assertEquals(mbppInput(252, ["(3+4j)"]), [new PyComplex(3, 4)]);
  assertEquals(mbppInput(252, ["-1.5e3j"]), [new PyComplex(0, -1500)]);
  assertEquals(mbppInput(124, ["0", "1j"]), [0, new PyComplex(0, 1)]);
  assertEquals(mbppInput(115, [[[1n, 2n], []]]), [[new PySet([1n, 2n]), new PyDict([])]]);
  assertEquals(mbppInput(580, [[1n, [2n]]]), [new Tuple([1n, new Tuple([2n])])]);
  assertEquals(mbppInput(3, [[1n]]), [[1n]]);
});
