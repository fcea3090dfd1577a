/** @file A softmax takes one exponential for each element, whether its normaliser has a floor or not. */
import { assertEquals } from "@std/assert";
import { add, expand, neg, node, sum } from "../../../dsl/build.ts";
import "../../../dsl/mod.ts";
import type { Node } from "../../../dsl/node.ts";
import { group } from "../group.ts";
import { schedule } from "../schedule.ts";
import { kernelsOf } from "./kernels.ts";

const shape = { row: 4, column: 8 };
const variable = (): Node => node("variable", [], { shape, dtype: "f32", name: "x" });
const shifted = (x: Node, by: Node): Node => node("exp", [add(x, neg(expand(by, shape)))], {});

/** How many exponentials each stage of the only kernel computes, stage by stage. */
function exponentials(roots: readonly Node[]): [level: string, count: number][] {
  const grouping = group(roots, { maxBindings: 8, fuse: "on" });
  const { units } = schedule(grouping, new Set(), kernelsOf(grouping));
  assertEquals(units.length, 1);
  const { body, stages } = units[0].body!.kernel;
  const all = new Set<number>();
  return stages.map(({ level, registers }) => {
    const fresh = registers.filter((register) => body[register].op === "exp" && !all.has(register));
    fresh.forEach((register) => all.add(register));
    return [level, fresh.length];
  });
}

Deno.test("exponentials: a softmax scales those of its normaliser, by one exponential for each row", () => {
  for (const floor of [undefined, -1e29]) {
    const x = variable(), normaliser = node("logSumExp", [x], { over: ["column"], ...(floor && { floor }) });
    const counts = exponentials([shifted(x, normaliser)]);
    assertEquals(counts.filter(([level, count]) => level === "inner" && count > 0), [["inner", 1]]);
    assertEquals(counts.filter(([level, count]) => level === "outer" && count > 0), [["outer", 1]]);
  }
});

Deno.test("exponentials: what is not made of their sum scales nothing", () => {
  const x = variable(), top = node("max", [x], { over: ["column"] });
  const total = sum(shifted(x, top), ["column"]), other = node("max", [variable()], { over: ["column"] });
  const counts = exponentials([add(shifted(x, other), expand(total, shape))]);
  assertEquals(counts.reduce((all, [level, count]) => level === "inner" ? all + count : all, 0), 2);
});
