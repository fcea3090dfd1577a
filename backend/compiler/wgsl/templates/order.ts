/**
 * @file order: a stable counting sort of an index vector into groups, without atomics.
 *
 * Few positions: every invocation counts who comes before its own, one dispatch. Else digits of 8 bits, lowest first,
 * each in three dispatches: every block of positions counts its digits in a column of its own; one workgroup turns
 * counts into places; every block places its positions in order. Up to 255 groups take one digit.
 * Scratch (from the first free slot on): counts, then, with several digits, one or two permutations.
 */
import type { Capabilities } from "../../../device.ts";
import type { OrderKernel } from "../../kernel.ts";
import { type Binding, type Dispatch, type Emitted, shader } from "./shader.ts";
import { tuningOf } from "./tuning.ts";

/** Work up to which comparing everyone with everyone is quicker than three dispatches. */
const SMALL = 2 ** 18;
const DIGIT_BITS = 8;
/** Blocks of positions in the counting sort, at most. */
const MAX_BLOCKS = 1024;

/** Which slots of a kernel hold the index and the order, and where its scratch begins. */
export interface OrderSlots {
  readonly index: number;
  readonly order: number;
  readonly scratch: number;
}

/** Emits the sort. */
export function order(
  kernel: OrderKernel,
  capabilities: Capabilities,
  slots: OrderSlots = { index: 0, order: 1, scratch: 2 },
): Emitted {
  const { groups, positions } = kernel;
  if (positions * (positions + groups + 1) <= SMALL) {
    return { dispatches: [small(kernel, slots, capabilities)], scratch: [] };
  }
  const digits = Math.max(1, Math.ceil(Math.log2(groups + 1) / DIGIT_BITS));
  const per = Math.max(64, Math.ceil(positions / MAX_BLOCKS));
  const blocks = Math.ceil(positions / per);
  const buckets = digits === 1 ? groups + 1 : 2 ** DIGIT_BITS;
  const dispatches: Dispatch[] = [];
  for (let digit = 0; digit < digits; digit++) {
    const last = digit === digits - 1;
    const pass: Pass = {
      kernel,
      capabilities,
      per,
      blocks,
      buckets,
      shift: digit * DIGIT_BITS,
      index: slots.index,
      counts: slots.scratch,
      from: digit === 0 ? undefined : slots.scratch + 1 + (digit - 1) % 2,
      to: last ? slots.order : slots.scratch + 1 + digit % 2,
      offsets: digits === 1 ? slots.order : undefined,
    };
    dispatches.push(count(pass), scan(pass), place(pass));
  }
  if (digits > 1) dispatches.push(offsets(kernel, slots, capabilities));
  const permutations = Math.min(digits - 1, 2);
  return {
    dispatches,
    scratch: [4 * buckets * blocks, ...Array.from({ length: permutations }, () => 4 * positions)],
  };
}

/** One digit's sort. */
interface Pass {
  readonly kernel: OrderKernel;
  readonly capabilities: Capabilities;
  /** Positions per block. */
  readonly per: number;
  readonly blocks: number;
  readonly buckets: number;
  readonly shift: number;
  /** Slots. `from`: the permutation so far, if it is not the first digit; `offsets`: where to write them. */
  readonly index: number;
  readonly counts: number;
  readonly from?: number;
  readonly to: number;
  readonly offsets?: number;
}

/** `key(p)`: the position's group; the number of groups for those without one. */
function keyFunction(groups: number): string {
  return `fn key(p: i32) -> u32 { return min(bitcast<u32>(index[p]), ${groups}u); }`;
}

/** Statement that reports `index[p]` unless it is a group or −1. */
function check(groups: number, p: string): string {
  return `if (index[${p}] < -1 || index[${p}] >= ${groups}) { outOfRange(); }`;
}

function lanesOf(capabilities: Capabilities): number {
  return Math.min(capabilities.software ? 64 : 256, tuningOf(capabilities).workgroup);
}

function small({ groups, positions }: OrderKernel, slots: OrderSlots, capabilities: Capabilities): Dispatch {
  const lanes = Math.min(64, lanesOf(capabilities));
  return shader({
    bindings: [{ slot: slots.index, name: "index", type: "i32" }, { slot: slots.order, name: "order", type: "i32" }],
    status: true,
    declarations: [keyFunction(groups)],
    workgroupSize: lanes,
    groups: Math.ceil((positions + groups + 1) / lanes),
    body: [
      `let own = i32(group * ${lanes}u + lane);`,
      `if (own >= ${positions + groups + 1}) { return; }`,
      "var before = 0;",
      `if (own < ${positions}) {`,
      `  ${check(groups, "own")}`,
      "  let mine = key(own);",
      `  for (var p = 0; p < ${positions}; p++) {`,
      "    let other = key(p);",
      "    before += select(0, 1, other < mine || (other == mine && p < own));",
      "  }",
      "  order[before] = own;",
      "} else {",
      `  let bound = u32(own - ${positions});`,
      `  for (var p = 0; p < ${positions}; p++) { before += select(0, 1, key(p) < bound); }`,
      "  order[own] = before;",
      "}",
    ],
  });
}

/** Names and statements that count and place share: this block's positions, one after the other. */
function blockLoop(pass: Pass, inside: readonly string[]): { lanes: number; body: string[] } {
  const { kernel: { positions }, capabilities, per, blocks } = pass;
  const lanes = Math.min(capabilities.software ? 8 : 32, tuningOf(capabilities).workgroup);
  return {
    lanes,
    body: [
      `let block = i32(group * ${lanes}u + lane);`,
      `if (block >= ${blocks}) { return; }`,
      `for (var i = block * ${per}; i < min(block * ${per} + ${per}, ${positions}); i++) {`,
      `  let p = ${pass.from === undefined ? "i" : "given[i]"};`,
      `  let cell = i32((key(p) >> ${pass.shift}u) ${
        pass.buckets === 2 ** DIGIT_BITS ? "& 255u" : ""
      }) * ${blocks} + block;`,
      ...inside.map((line) => `  ${line}`),
      "}",
    ],
  };
}

function passBindings(pass: Pass): Binding[] {
  return [
    { slot: pass.index, name: "index", type: "i32" },
    { slot: pass.counts, name: "counts", type: "i32" },
    ...(pass.from === undefined ? [] : [{ slot: pass.from, name: "given", type: "i32" } as const]),
  ];
}

function count(pass: Pass): Dispatch {
  const { kernel: { groups }, blocks, buckets } = pass;
  const first = pass.from === undefined;
  const { lanes, body } = blockLoop(pass, [...(first ? [check(groups, "p")] : []), "counts[cell] += 1;"]);
  const [head, leave, ...rest] = body;
  const clear = `for (var bucket = 0; bucket < ${buckets}; bucket++) { counts[bucket * ${blocks} + block] = 0; }`;
  return shader({
    bindings: passBindings(pass),
    status: first,
    declarations: [keyFunction(groups)],
    workgroupSize: lanes,
    groups: Math.ceil(blocks / lanes),
    body: [head, leave, clear, ...rest],
  });
}

/** Exclusive sums of the counts, bucket by bucket and block by block; a bucket's first one is its offset. */
function scan(pass: Pass): Dispatch {
  const { kernel: { groups, positions }, capabilities, blocks, buckets } = pass;
  const lanes = lanesOf(capabilities);
  const cells = buckets * blocks;
  const per = Math.ceil(cells / lanes);
  return shader({
    bindings: [
      { slot: pass.counts, name: "counts", type: "i32" },
      ...(pass.offsets === undefined ? [] : [{ slot: pass.offsets, name: "order", type: "i32" } as const]),
    ],
    declarations: [`var<workgroup> sums: array<i32, ${lanes}>;`],
    workgroupSize: lanes,
    groups: 1,
    body: [
      `let first = i32(lane) * ${per};`,
      `let end = min(first + ${per}, ${cells});`,
      "var own = 0;",
      "for (var cell = first; cell < end; cell++) { own += counts[cell]; }",
      "sums[lane] = own;",
      "workgroupBarrier();",
      "if (lane == 0u) {",
      "  var all = 0;",
      `  for (var other = 0; other < ${lanes}; other++) { let next = sums[other]; sums[other] = all; all += next; }`,
      "}",
      "workgroupBarrier();",
      "var before = sums[lane];",
      "for (var cell = first; cell < end; cell++) {",
      "  let next = counts[cell];",
      "  counts[cell] = before;",
      ...(pass.offsets === undefined ? [] : [
        `  if (cell % ${blocks} == 0 && cell / ${blocks} <= ${groups}) { order[${positions} + cell / ${blocks}] = before; }`,
      ]),
      "  before += next;",
      "}",
    ],
  });
}

function place(pass: Pass): Dispatch {
  const { lanes, body } = blockLoop(pass, ["let at = counts[cell];", "counts[cell] = at + 1;", "to[at] = p;"]);
  return shader({
    bindings: [...passBindings(pass), { slot: pass.to, name: "to", type: "i32" }],
    declarations: [keyFunction(pass.kernel.groups)],
    workgroupSize: lanes,
    groups: Math.ceil(pass.blocks / lanes),
    body,
  });
}

/** Offsets by binary search in the sorted keys. */
function offsets({ groups, positions }: OrderKernel, slots: OrderSlots, capabilities: Capabilities): Dispatch {
  const lanes = lanesOf(capabilities);
  return shader({
    bindings: [{ slot: slots.index, name: "index", type: "i32" }, { slot: slots.order, name: "order", type: "i32" }],
    declarations: [keyFunction(groups)],
    workgroupSize: lanes,
    groups: Math.ceil((groups + 1) / lanes),
    body: [
      `let bound = group * ${lanes}u + lane;`,
      `if (bound > ${groups}u) { return; }`,
      "var low = 0;",
      `var high = ${positions};`,
      "while (low < high) {",
      "  let middle = (low + high) / 2;",
      "  if (key(order[middle]) < bound) { low = middle + 1; } else { high = middle; }",
      "}",
      `order[${positions} + i32(bound)] = low;`,
    ],
  });
}
