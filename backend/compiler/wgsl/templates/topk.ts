/**
 * @file topk: indices of the k largest, largest first; ties take the lowest index, NaN comes last.
 *
 * Values become integers of the same order, and (value, index) pairs are all different, so the next one is the largest
 * pair after the one found before: no list is kept. Short rows take one invocation, long ones a workgroup.
 */
import type { Capabilities } from "../../../device.ts";
import type { TopkKernel } from "../../kernel.ts";
import { type Dispatch, joinAxes, product, shader, split, sum, times } from "./shader.ts";
import { tuningOf } from "./tuning.ts";

/** Rows from this length on take a whole workgroup. */
const LONG = 1024;

/** The order of f32 as that of u32; 0 for NaN, both zeros alike. */
const rank = `fn rank(x: f32) -> u32 {
  let word = bitcast<u32>(x);
  let size = word & 0x7fffffffu;
  if (size > 0x7f800000u) { return 0u; }
  if (size == 0u) { return 0x80000000u; }
  return select(word | 0x80000000u, ~word, word != size);
}`;

/** Emits a dispatch; none without rows or slots. */
export function topk(kernel: TopkKernel, capabilities: Capabilities): Dispatch[] {
  const { axis, slots, offsets } = kernel;
  const axes = joinAxes(kernel.rows, ["a", "c"]);
  const rows = product(axes.map(({ size }) => size));
  if (rows * slots.size === 0) return [];
  const names = axes.map((_, at) => `i${at}`);
  const { workgroup } = tuningOf(capabilities);
  const long = axis.size >= LONG && workgroup > 1;
  const lanes = Math.min(long ? 256 : 64, workgroup);
  const address = (name: "a" | "c") => sum(offsets[name], axes.map((row, at) => [row[name], names[at]] as const));
  const better = (r: string, i: string) => `${r} > best || (${r} == best && ${i} < at)`;
  const body = [
    ...(long ? ["let row = group;"] : [`let row = group * ${lanes}u + lane;`, `if (row >= ${rows}u) { return; }`]),
    ...split("row", axes.map(({ size }) => size), names),
    `let base = ${address("a")};`,
    `let to = ${address("c")};`,
    "var last = 0xffffffffu;",
    "var lastAt = -1;",
    `for (var slot = 0; slot < ${slots.size}; slot++) {`,
    "  var best = 0u;",
    "  var at = 2147483647;",
    `  for (var i = ${long ? "i32(lane)" : "0"}; i < ${axis.size}; i += ${long ? lanes : 1}) {`,
    `    let r = rank(a[base + ${times("i", axis.a)}]);`,
    `    if ((r < last || (r == last && i > lastAt)) && (${better("r", "i")})) { best = r; at = i; }`,
    "  }",
    ...(long
      ? [
        "  ranks[lane] = best;",
        "  places[lane] = at;",
        "  workgroupBarrier();",
        `  for (var half = ${lanes / 2}u; half > 0u; half /= 2u) {`,
        "    if (lane < half) {",
        "      let r = ranks[lane + half];",
        "      let i = places[lane + half];",
        "      if (r > ranks[lane] || (r == ranks[lane] && i < places[lane])) { ranks[lane] = r; places[lane] = i; }",
        "    }",
        "    workgroupBarrier();",
        "  }",
        "  last = ranks[0];",
        "  lastAt = places[0];",
        "  workgroupBarrier();",
        `  if (lane == 0u) { c[to + ${times("slot", slots.c)}] = lastAt; }`,
      ]
      : ["  last = best;", "  lastAt = at;", `  c[to + ${times("slot", slots.c)}] = at;`]),
    "}",
  ];
  return [shader({
    bindings: [{ slot: 0, name: "a", type: "f32" }, { slot: 1, name: "c", type: "i32" }],
    declarations: [
      rank,
      ...(long ? [`var<workgroup> ranks: array<u32, ${lanes}>;`, `var<workgroup> places: array<i32, ${lanes}>;`] : []),
    ],
    workgroupSize: lanes,
    groups: long ? rows : Math.ceil(rows / lanes),
    body,
  })];
}
