/**
 * @file Orders kernels and decides which results take the memory of a donated argument.
 * In: groups. Out: the same kernels in an order in which every value exists before it is read, donated memory is
 * read by everyone before it is overwritten, and what frees memory runs as soon as it can.
 */
import { NodeMap, NodeSet } from "../../dsl/graph/node_map.ts";
import { isOp, type Node } from "../../dsl/node.ts";
import { sizeOf } from "../../dsl/shape.ts";
import type { LoopBody } from "./emission/body.ts";
import type { Group, Grouping, Resolver } from "./group.ts";
import type { Access, LoopKernel } from "./kernel.ts";
import { type Kernels, kernelsOf } from "./emission/kernels.ts";
import { bytesOf } from "./place.ts";
import { inOrder } from "./ordering/ready.ts";
import { barriersOf, isAffineView, operandOf, storedBase } from "./views.ts";

/** A group with what it reads and writes. */
export interface Unit {
  readonly group: Group;
  readonly body?: LoopBody;
  readonly reads: readonly Node[];
  readonly writes: readonly Node[];
  /** The loop over tiles that it is part of. */
  readonly loop?: Unit;
}

/** Kernels in order, and the memory that results take over. */
export interface Schedule {
  readonly units: readonly Unit[];
  /** Result → the argument (or intermediate) whose memory it overwrites. */
  readonly inPlace: ReadonlyMap<Node, Node>;
}

/** So small a part of a program's largest value never matters: a vector that an update waits for is computed at once. */
const littlePart = 256;

/** Orders the groups. `donated` are the variables whose memory may be overwritten. */
export function schedule(
  grouping: Grouping & { readonly resolve: Resolver },
  donated: ReadonlySet<Node>,
  kernels: Kernels = kernelsOf(grouping),
): Schedule {
  const units = grouping.groups.map((each) => unitOf(each, grouping, kernels)).filter(({ writes }) =>
    writes.some((node) => sizeOf(node.shape) > 0)
  );
  const { order: nodes } = grouping, roots = new NodeSet(nodes, grouping.roots);
  // Units by age, which is that of their youngest node, are known by their place in this list.
  const byAge = units.map((unit) => ({ unit, age: youngest(unit.group) })).sort((a, b) => a.age - b.age)
    .map(({ unit }) => unit);
  const numberOf = new Map(byAge.map((unit, number) => [unit, number]));
  const writer = new NodeMap<number>(nodes), readers = new NodeMap<number[]>(nodes);
  byAge.forEach((unit, number) => {
    for (const node of unit.writes) writer.set(node, number);
    for (const node of unit.reads) {
      const all = readers.get(node);
      if (all) all.push(number);
      else readers.set(node, [number]);
    }
  });
  const before = byAge.map((unit, number) => dependencies(unit, number, writer));
  const inPlace = reuse();
  return { units: thriftily().map((number) => byAge[number]), inPlace };

  function reuse(): Map<Node, Node> {
    const taken = new NodeSet(nodes), found = new Map<Node, Node>();
    // Some valid order: what comes earlier in it depends on nothing later, which answers most questions at once.
    let rank = ranks();
    const claim = (unit: number, result: Node, memory: Node): void => {
      const others = (readers.get(memory) ?? []).filter((each) => each !== unit);
      const late = others.filter((other) => rank[other] > rank[unit]);
      if (late.some((other) => dependsOn(other, unit))) return;
      for (const other of others) before[unit].add(other);
      if (late.length > 0) rank = ranks();
      taken.add(memory);
      found.set(result, memory);
    };
    for (const unit of units) {
      const number = numberOf.get(unit)!;
      if (unit.group.kind === "template" && isOp(unit.group.node, "write")) {
        const [x, , value] = unit.group.node.inputs;
        const spare = donated.has(x) || (writer.has(x) && !roots.has(x) && !taken.has(x));
        if (spare && !taken.has(x) && operandOf(value)?.base !== x) claim(number, unit.group.node, x);
      }
      if (!unit.body) continue;
      for (const result of unit.writes) {
        if (!roots.has(result)) continue;
        const memory = unit.reads.find((node) =>
          donated.has(node) && !taken.has(node) && node.dtype === result.dtype && bytesOf(node) === bytesOf(result) &&
          elementwise(unit.body!, node, result)
        );
        if (memory) claim(number, result, memory);
      }
    }
    return found;
  }

  function ranks(): Int32Array {
    const rank = new Int32Array(byAge.length);
    inOrder(before).forEach((unit, place) => rank[unit] = place);
    return rank;
  }

  function dependsOn(unit: number, other: number): boolean {
    const seen = new Set<number>([unit]), stack = [unit];
    while (stack.length > 0) {
      const at = stack.pop()!;
      if (at === other) return true;
      for (const next of before[at]) {
        if (seen.has(next)) continue;
        seen.add(next);
        stack.push(next);
      }
    }
    return false;
  }

  /** The order in which memory is filled and freed: what frees it goes first, then what was written first. */
  function thriftily(): number[] {
    const little = units.reduce((most, { writes }) => Math.max(most, ...writes.map(bytesOf)), 2 ** 24) / littlePart;
    /** How often a value is still to be read. */
    const left = new NodeMap<number>(nodes);
    const isFreed = (node: Node): boolean => writer.has(node) && !roots.has(node);
    /** Bytes by which memory grows when a unit runs, and what it may grow by. */
    const grows = new Float64Array(byAge.length), allowed = new Float64Array(byAge.length);
    byAge.forEach(({ writes, reads }, number) => {
      let largest = 0;
      for (const node of writes) if (!inPlace.has(node) && !roots.has(node)) grows[number] += bytesOf(node);
      for (const node of reads) {
        const times = readers.get(node)!.length;
        left.set(node, times);
        if (!isFreed(node)) continue;
        largest = Math.max(largest, bytesOf(node));
        if (times === 1) grows[number] -= bytesOf(node);
      }
      allowed[number] = Math.max(little, largest / 16);
    });
    /** Does it need little memory beside what it frees, or sum up something large that then can go? */
    const isPreferred = (unit: number): boolean => grows[unit] <= allowed[unit];
    const done = new Uint8Array(byAge.length);
    const order = inOrder(before, {
      isPreferred,
      after: (unit) => {
        const more: number[] = [];
        done[unit] = 1;
        for (const node of byAge[unit].reads) {
          const times = left.get(node)! - 1;
          left.set(node, times);
          if (times !== 1 || !isFreed(node)) continue;
          const last = readers.get(node)!.find((reader) => !done[reader])!, already = isPreferred(last);
          grows[last] -= bytesOf(node);
          if (!already && isPreferred(last)) more.push(last);
        }
        return more;
      },
    });
    if (order.length !== byAge.length) throw new Error("kernels wait for each other: grouping made a cycle");
    return order;
  }
}

const youngest = (group: Group): number =>
  group.kind === "loop" ? group.youngest : Math.max(...group.nodes.map(({ id }) => id));

function unitOf(group: Group, { stored }: Grouping, kernels: Kernels): Unit {
  if (group.kind === "tiled") return { group, reads: [...new Set(group.inputs)], writes: group.nodes };
  if (group.kind === "template") {
    const reads = new Set(group.node.inputs.map((input) => operandOf(input)?.base ?? input));
    const { node } = group;
    // A grouped product reads the sorted index, not the index itself.
    if (node.op === "contractAt" || node.op === "contractInto") {
      const [a, b, , order] = node.inputs;
      return { group, reads: [...new Set([operandOf(a)!.base, operandOf(b)!.base, order])], writes: [node] };
    }
    return { group, reads: [...reads], writes: [node] };
  }
  const writes = group.nodes.filter((node) => stored.has(node)).sort((a, b) => a.id - b.id);
  const body = kernels.loop(group, writes);
  return { group, body, reads: body.slots.filter((node) => !writes.includes(node)), writes };
}

/** The units that a unit waits for, by number. */
function dependencies(unit: Unit, number: number, writer: NodeMap<number>): Set<number> {
  const needs = new Set<number>();
  const need = (node: Node): void => {
    const made = writer.get(node);
    if (made !== undefined && made !== number) needs.add(made);
  };
  unit.reads.forEach(need);
  for (const member of unit.group.nodes) {
    for (const input of member.inputs) {
      if (!isAffineView(input)) continue;
      for (const waited of barriersOf(input)) need(storedBase(waited));
    }
  }
  return needs;
}

/** Does the kernel read `memory` only where it then writes `result`, and never after? */
function elementwise({ kernel, slots }: LoopBody, memory: Node, result: Node): boolean {
  const body = kernel.body, from = slots.indexOf(memory), to = slots.indexOf(result);
  const stageOf = (register: number): number[] =>
    kernel.stages.flatMap(({ registers }, i) => registers.includes(register) ? [i] : []);
  const at = body.findIndex((instruction) => instruction.op === "store" && instruction.access.slot === to);
  const target = (body[at] as Extract<LoopKernel["body"][number], { op: "store" }>).access;
  const [stored] = stageOf(at);
  return body.every((instruction, register) => {
    if (instruction.op !== "load" || instruction.access.slot !== from) return true;
    return samePlace(instruction.access, target) && stageOf(register).every((stage) => stage <= stored);
  });
}

const samePlace = (a: Access, b: Access): boolean =>
  !a.guards && !a.gather && !b.guards && !b.gather && a.offset === b.offset &&
  a.strides.every((stride, i) => stride === b.strides[i]);
