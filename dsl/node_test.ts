/** @file Hash-consing: an expression written twice is one node, and what differs in anything is two. */
import { assert, assertStrictEquals } from "@std/assert";
import { add, constant, expand, node } from "./build.ts";
import type { Node } from "./node.ts";
import "./primitives/mod.ts";

const fresh = (): Node => node("variable", [], { shape: { seq: 100, embed: 2 }, dtype: "f32", name: "x" });

Deno.test("an expression written twice is one node, however many users its operand has", () => {
  const x = fresh(), row = (start: number): Node => node("slice", [x], { axis: "seq", start, stop: start + 1 });
  const rows = Array.from({ length: 100 }, (_, i) => row(i));
  assert(rows.every((each, i) => row(i) === each), "a slice was made anew");
  assertStrictEquals(new Set(rows).size, 100);
  assertStrictEquals(add(x, x), add(x, x));
});

Deno.test("the order of axes, the sign of zero and whose variable it is tell expressions apart; NaN is NaN", () => {
  const x = fresh(), y = fresh();
  const pairs = [
    [expand(x, { embed: 2, seq: 100 }), node("expand", [x], { shape: { seq: 100, embed: 2 } })],
    [constant(-0), constant(0)],
    [constant(NaN), constant(Infinity)],
    [x, y],
    [add(x, x), add(y, x)],
  ];
  for (const [a, b] of pairs) assert(a !== b, `${a.op} is one node`);
  assertStrictEquals(constant(NaN), constant(NaN));
});
