/** @file What grouping says that a kernel binds is what the kernel that is written binds, and all of it fits. */
import { assert, assertEquals } from "@std/assert";
import { add, expand, mul, node, sum } from "../../../dsl/build.ts";
import "../../../dsl/mod.ts";
import type { Node } from "../../../dsl/node.ts";
import { group, type Grouping, type LoopGroup } from "../group.ts";
import { kernelsOf } from "../emission/kernels.ts";
import { schedule } from "../schedule.ts";
import { validateGrouping } from "../validate/group.ts";

const shape = { row: 4, column: 8 };
const variables = (count: number): Node[] =>
  Array.from({ length: count }, (_, i) => node("variable", [], { shape, dtype: "f32", name: `x${i}` }));

/** Groups for a device that binds so many, checked; and how many buffers each kernel then binds. */
function grouped(roots: readonly Node[], maxBindings: number): { grouping: Grouping; bound: number[] } {
  const grouping = group(roots, { maxBindings, fuse: "on" });
  validateGrouping(grouping, maxBindings);
  const { units } = schedule(grouping, new Set(), kernelsOf(grouping));
  return { grouping, bound: units.map(({ body }) => body!.slots.length) };
}

Deno.test("bindings: a value that vanishes when two loops become one needs no buffer", () => {
  const xs = variables(6);
  // Dear enough to be stored rather than computed again, as long as another kernel reads them.
  const dear = xs.map((x): Node => node("tanh", [node("tanh", [x], {})], {}));
  const total = dear.reduce((a, b) => add(a, b));
  assertEquals(grouped([total], 7).bound, [7]);
  const { bound } = grouped([total], 6);
  assertEquals([bound.length, Math.max(...bound) <= 6], [2, true]);
});

Deno.test("bindings: sums that other kernels combine again are stored each, and counted so", () => {
  const xs = variables(5), sums = xs.map((x) => sum(x, ["row", "column"]));
  // One cheap value of all five, used where a kernel of its own must wait for it.
  const scale = sums.reduce((a, b) => add(a, b));
  const results = [mul(xs[0], expand(scale, shape)), mul(xs[1], expand(scale, shape)), scale];
  for (let limit = 4; limit <= 16; limit++) {
    const { grouping, bound } = grouped(results, limit);
    assert(bound.every((count) => count <= limit), `${bound} of ${limit}`);
    const owners = new Set(grouping.groups.flatMap(({ nodes }) => nodes));
    assert(results.every((result) => owners.has(result)));
  }
});

Deno.test("bindings: what is computed again from too many buffers is loaded instead, also where it shares them", () => {
  const xs = variables(6), half = xs.slice(0, 3).reduce(add2), other = xs.slice(3).reduce(add2), all = add(half, other);
  // Reductions along different axes: each of `all`'s users is a kernel of its own that computes it again if it can.
  const results = [sum(mul(all, half), ["row"]), sum(mul(all, other), ["column"]), sum(all, ["row", "column"])];
  for (let limit = 4; limit <= 16; limit++) {
    const { grouping, bound } = grouped(results, limit);
    assert(bound.every((count) => count <= limit), `${bound} of ${limit}`);
    const loops = grouping.groups.filter((each): each is LoopGroup => each.kind === "loop");
    // With buffers enough nothing but the results is stored.
    assertEquals(limit >= 7, loops.every(({ nodes }) => nodes.every((each) => stores(grouping, each, results))));
  }
});

const add2 = (a: Node, b: Node): Node => add(a, b);

const stores = ({ stored }: Grouping, each: Node, results: readonly Node[]): boolean =>
  !stored.has(each) || results.includes(each);
