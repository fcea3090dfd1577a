/**
 * @file scatter: c[v, n] = Σ_{p: index[p] = v} b[p, n] in the order of p. The positions are sorted by group (`order`),
 * then every element of c adds up its group's stretch: each element is written once, by one invocation.
 */
import type { Capabilities } from "../../../device.ts";
import type { ScatterKernel } from "../../kernel.ts";
import { order } from "./order.ts";
import { type Emitted, joinAxes, product, shader, split, sum } from "./shader.ts";
import { tuningOf } from "./tuning.ts";

const SLOTS = 3;

/** Emits the sort and the sums; nothing if c is empty. */
export function scatter(kernel: ScatterKernel, capabilities: Capabilities): Emitted {
  const { groups, group, offsets } = kernel;
  const positions = product(kernel.positions.map(({ size }) => size));
  const columns = joinAxes(kernel.columns, ["b", "c"]);
  const width = product(columns.map(({ size }) => size));
  if (groups * width === 0) return { dispatches: [], scratch: [] };
  const sorted = order({ kind: "order", groups, positions }, capabilities, {
    index: 1,
    order: SLOTS,
    scratch: SLOTS + 1,
  });
  const axes = joinAxes(kernel.positions, ["b"]);
  const names = axes.map((_, axis) => `p${axis}`);
  const columnNames = columns.map((_, axis) => `n${axis}`);
  const lanes = tuningOf(capabilities).workgroup;
  const sums = shader({
    bindings: [
      { slot: 0, name: "b", type: "f32" },
      { slot: SLOTS, name: "order", type: "i32" },
      { slot: 2, name: "c", type: "f32" },
    ],
    workgroupSize: lanes,
    groups: Math.ceil(groups * width / lanes),
    body: [
      `let own = group * ${lanes}u + lane;`,
      `if (own >= ${groups * width}u) { return; }`,
      `let v = i32(own / ${width}u);`,
      `let column = own % ${width}u;`,
      ...split("column", columns.map(({ size }) => size), columnNames),
      `let base = ${sum(offsets.b, columns.map((axis, at) => [axis.b, columnNames[at]] as const))};`,
      "var total = 0f;",
      `for (var i = order[${positions} + v]; i < order[${positions} + v + 1]; i++) {`,
      ...["let p = u32(order[i]);", ...split("p", axes.map(({ size }) => size), names)].map((line) => `  ${line}`),
      `  total += b[base + ${sum(0, axes.map((axis, at) => [axis.b, names[at]] as const))}];`,
      "}",
      `c[${sum(offsets.c, [[group, "v"], ...columns.map((axis, at) => [axis.c, columnNames[at]] as const)])}] = total;`,
    ],
  });
  return {
    dispatches: [...sorted.dispatches, sums],
    scratch: [4 * (positions + groups + 1), ...sorted.scratch],
  };
}
