/** @file Python values outside Python: JSON, marshal, and what equals what. */
import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { equal } from "./compare.ts";
import { parsePythonJson } from "./json.ts";
import { decode, encode } from "./marshal.ts";
import { Opaque, PyBytes, PyComplex, PyDict, PySet, type PythonValue, show, toPython, Tuple } from "./values.ts";

/** Any value without NaN, so that it equals itself. */
const values: fc.Arbitrary<PythonValue> = fc.letrec<{ value: PythonValue; leaf: PythonValue }>((tie) => ({
  leaf: fc.oneof(
    fc.constant(null),
    fc.boolean(),
    fc.bigInt(),
    fc.bigInt({ min: -(2n ** 400n), max: 2n ** 400n }),
    fc.double({ noNaN: true }),
    fc.string({ unit: "binary" }),
    fc.string({ unit: fc.constantFrom("\ud800", "\udfff", "a", "é", "😀") }),
    fc.uint8Array().map((bytes) => new PyBytes(bytes)),
    fc.tuple(fc.double({ noNaN: true }), fc.double({ noNaN: true })).map(([re, im]) => new PyComplex(re, im)),
  ),
  value: fc.oneof(
    { maxDepth: 4 },
    tie("leaf"),
    fc.array(tie("value")),
    fc.array(tie("value")).map((items) => new Tuple(items)),
    fc.tuple(fc.uniqueArray(fc.bigInt()), fc.boolean()).map(([items, frozen]) => new PySet(items, frozen)),
    fc.uniqueArray(fc.tuple(fc.string(), tie("value")), { selector: ([key]) => key })
      .map((entries) => new PyDict(entries)),
  ),
})).value;

Deno.test("marshal gives back every value", () => {
  fc.assert(fc.property(values, (value) => {
    const again = decode(encode(value));
    assertEquals(again, value);
    return equal(again, value);
  }));
});

Deno.test("marshal: the bytes are Python's (marshal.dumps(…, 2) of CPython 3.11)", () => {
  assertEquals(encode(new Tuple([1n])).toHex(), "28010000006901000000");
  assertEquals(encode(2n ** 40n).toHex(), "6c03000000" + "0000" + "0000" + "0004");
  assertEquals(encode(-(2n ** 40n)).toHex(), "6cfdffffff" + "0000" + "0000" + "0004");
  assertEquals(encode("é\ud800").toHex(), "7505000000" + "c3a9" + "eda080");
  assertEquals(encode(1.5).toHex(), "67" + "000000000000f83f");
  assertEquals(encode(new PyDict([["a", null]])).toHex(), "7b" + "7501000000" + "61" + "4e" + "30");
});

Deno.test("marshal: what a sample may send instead of a value is refused, never followed", () => {
  for (const hex of ["", "5b", "5bffffff7f", "280100000069", "ff", "7b30ff", "30", "75050000006162", "69010000"]) {
    assertThrows(() => decode(Uint8Array.fromHex(hex)), RangeError);
  }
  assertThrows(() => decode(new Uint8Array(100_000).fill("[".charCodeAt(0))), RangeError);
});

Deno.test("JSON keeps ints, floats and the order of keys apart", () => {
  assertEquals(parsePythonJson("12345678901234567890"), 12345678901234567890n);
  assertEquals(parsePythonJson("[1, 1.0, -0.0, 1e2, NaN, -Infinity]"), [1n, 1, -0, 100, NaN, -Infinity]);
  const nested = new PyDict([["__proto__", 'é"']]);
  assertEquals(parsePythonJson('{"2": [], "1": {"__proto__": "\\u00e9\\""}}'), new PyDict([["2", []], ["1", nested]]));
  for (const text of ["", "[1,]", "{1: 2}", '{"a" 1}', "[1 2]", "nul", "[", "1 2", '"\n"']) {
    assertThrows(() => parsePythonJson(text), SyntaxError);
  }
});

Deno.test("values are shown in Python's notation", () => {
  const value = toPython({ a: [1, 2.5, true, null], b: new Set([1]), c: new Tuple([2n]) });
  assertEquals(show(value), '{"a": [1, 2.5, True, None], "b": {1}, "c": (2,)}');
  assertEquals(show(new Opaque("generator")), "<generator>");
  assertEquals(show("x".repeat(500), 10), '"xxxxxxxxx…');
});
