/** @file A program's plan depends on the program alone. */
import { assertEquals } from "@std/assert";
import { add, mul, type Scalar, scalar, sin } from "../dsl/mod.ts";
import { topological } from "../dsl/node.ts";
import { traced } from "./compile.ts";

Deno.test("a program traced again has its nodes in the same order, whether those of the first live or are gone", () => {
  const f = (x: Scalar) => add(sin(mul(sin(add(sin(x), 5)), 3)), 7);
  const orderOf = ({ program }: ReturnType<typeof traced>) =>
    topological(program.results).map(({ op, attributes }) => [op, attributes]);
  const alone = traced(f, [scalar(1)], []), order = orderOf(alone);
  const other = traced((x: Scalar) => mul(add(x, 7), 3), [scalar(1)], []);
  assertEquals(orderOf(traced(f, [scalar(1)], [])), order);
  // Both are held until here: their constants could be found.
  assertEquals([orderOf(alone), other.program.results.length], [order, 1]);
});
