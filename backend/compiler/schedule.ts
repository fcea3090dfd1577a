/**
 * @file Orders kernels and decides which results take the memory of a donated argument.
 * In: groups. Out: the same kernels in an order in which every value exists before it is read, donated memory is
 * read by everyone before it is overwritten, and what frees memory runs as soon as it can.
 */
import { isHalf } from "../../dsl/half.ts";
import { isOp, type Node } from "../../dsl/node.ts";
import { sizeOf } from "../../dsl/shape.ts";
import { type LoopBody, loopBody } from "./body.ts";
import { barriersOf, type Group, type Grouping, type Resolver } from "./group.ts";
import type { Access, LoopKernel } from "./kernel.ts";
import { isView, operandOf } from "./views.ts";

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

/** Bytes of a node in memory: whole words, since that is what GPUs bind and copy. */
export const bytesOf = (node: Node): number =>
  isHalf(node.dtype) ? 4 * Math.ceil(sizeOf(node.shape) / 2) : 4 * sizeOf(node.shape);

/** So small a part of a program's largest value never matters: a vector that an update waits for is computed at once. */
const littlePart = 256;

/** Orders the groups. `donated` are the variables whose memory may be overwritten. */
export function schedule(grouping: Grouping & { readonly resolve: Resolver }, donated: ReadonlySet<Node>): Schedule {
  const units = grouping.groups.map((each) => unitOf(each, grouping)).filter(({ writes }) =>
    writes.some((node) => sizeOf(node.shape) > 0)
  );
  const writer = new Map<Node, Unit>();
  for (const unit of units) for (const node of unit.writes) writer.set(node, unit);
  const readers = new Map<Node, Unit[]>();
  for (const unit of units) {
    for (const node of unit.reads) (readers.get(node) ?? readers.set(node, []).get(node)!).push(unit);
  }
  const before = new Map<Unit, Set<Unit>>(units.map((unit) => [unit, dependencies(unit, writer)]));
  const age = new Map<Unit, number>(units.map((unit) => [unit, youngest(unit.group)]));
  const inPlace = reuse();
  return { units: order(), inPlace };

  function reuse(): Map<Node, Node> {
    const taken = new Set<Node>(), found = new Map<Node, Node>(), roots = new Set(grouping.roots);
    // Some valid order: what comes earlier in it depends on nothing later, which answers most questions at once.
    let rank = ranks();
    const claim = (unit: Unit, result: Node, memory: Node): void => {
      const others = (readers.get(memory) ?? []).filter((each) => each !== unit);
      const late = others.filter((other) => rank.get(other)! > rank.get(unit)!);
      if (late.some((other) => dependsOn(other, unit))) return;
      for (const other of others) before.get(unit)!.add(other);
      if (late.length > 0) rank = ranks();
      taken.add(memory);
      found.set(result, memory);
    };
    for (const unit of units) {
      if (unit.group.kind === "template" && isOp(unit.group.node, "write")) {
        const [x, , value] = unit.group.node.inputs;
        const spare = donated.has(x) || (writer.has(x) && !roots.has(x) && !taken.has(x));
        if (spare && !taken.has(x) && operandOf(value)?.base !== x) claim(unit, unit.group.node, x);
      }
      if (!unit.body) continue;
      for (const result of unit.writes) {
        if (!roots.has(result)) continue;
        const memory = unit.reads.find((node) =>
          donated.has(node) && !taken.has(node) && node.dtype === result.dtype && bytesOf(node) === bytesOf(result) &&
          elementwise(unit.body!, node, result)
        );
        if (memory) claim(unit, result, memory);
      }
    }
    return found;
  }

  function ranks(): Map<Unit, number> {
    const rank = new Map<Unit, number>();
    for (const unit of inOrder(() => false)) rank.set(unit, rank.size);
    return rank;
  }

  function dependsOn(unit: Unit, other: Unit): boolean {
    const seen = new Set<Unit>([unit]), stack = [unit];
    while (stack.length > 0) {
      const at = stack.pop()!;
      if (at === other) return true;
      for (const next of before.get(at)!) {
        if (seen.has(next)) continue;
        seen.add(next);
        stack.push(next);
      }
    }
    return false;
  }

  /** The order in which memory is filled and freed: what frees it goes first, then what was written first. */
  function order(): Unit[] {
    const left = new Map<Node, number>([...readers].map(([node, users]) => [node, users.length]));
    const roots = new Set(grouping.roots);
    const little = units.reduce((most, { writes }) => Math.max(most, ...writes.map(bytesOf)), 2 ** 24) / littlePart;
    /** Does it need little memory beside what it frees, or sum up something large that then can go? */
    const thrifty = (unit: Unit): boolean => {
      let grows = 0, largest = 0;
      for (const node of unit.writes) if (!inPlace.has(node) && !roots.has(node)) grows += bytesOf(node);
      for (const node of unit.reads) {
        if (!writer.has(node) || roots.has(node)) continue;
        largest = Math.max(largest, bytesOf(node));
        if (left.get(node) === 1) grows -= bytesOf(node);
      }
      return grows <= Math.max(little, largest / 16);
    };
    const result: Unit[] = [];
    for (const unit of inOrder(thrifty)) {
      result.push(unit);
      for (const node of unit.reads) left.set(node, (left.get(node) ?? 1) - 1);
    }
    if (result.length !== units.length) throw new Error("kernels wait for each other: grouping made a cycle");
    return result;
  }

  /** Units whose needs are met: the oldest that is preferred, or the oldest. */
  function* inOrder(preferred: (unit: Unit) => boolean): Generator<Unit> {
    const waiting = new Map<Unit, number>(), after = new Map<Unit, Unit[]>(units.map((unit) => [unit, []]));
    for (const [unit, needs] of before) {
      waiting.set(unit, needs.size);
      for (const need of needs) after.get(need)!.push(unit);
    }
    const ready = units.filter((unit) => waiting.get(unit) === 0).sort((a, b) => age.get(a)! - age.get(b)!);
    while (ready.length > 0) {
      const [unit] = ready.splice(Math.max(0, ready.findIndex(preferred)), 1);
      yield unit;
      for (const next of after.get(unit)!) {
        waiting.set(next, waiting.get(next)! - 1);
        if (waiting.get(next) !== 0) continue;
        const place = ready.findIndex((other) => age.get(other)! > age.get(next)!);
        ready.splice(place < 0 ? ready.length : place, 0, next);
      }
    }
  }
}

const youngest = ({ nodes }: Group): number => Math.max(...nodes.map(({ id }) => id));

function unitOf(group: Group, { stored, resolve }: Grouping & { readonly resolve: Resolver }): Unit {
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
  const body = loopBody(group, writes, resolve);
  return { group, body, reads: body.slots.filter((node) => !writes.includes(node)), writes };
}

function dependencies(unit: Unit, writer: ReadonlyMap<Node, Unit>): Set<Unit> {
  const needs = new Set<Unit>();
  const need = (node: Node): void => {
    const made = writer.get(node);
    if (made && made !== unit) needs.add(made);
  };
  unit.reads.forEach(need);
  for (const member of unit.group.nodes) {
    for (const input of member.inputs) {
      for (const waited of barriersOf(input)) {
        let at = waited;
        while (isView(at)) at = at.inputs[0];
        need(at);
      }
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
