/** @file Decides which results are written into memory that nobody reads any more: donated arguments', old values'. */
import { NodeSet } from "../../../dsl/graph/node_map.ts";
import { isOp, type Node } from "../../../dsl/node.ts";
import type { LoopBody } from "../emission/body.ts";
import type { Access, LoopKernel } from "../kernel.ts";
import { bytesOf } from "../place.ts";
import type { Unit } from "../schedule.ts";
import { operandOf } from "../views.ts";
import { inOrder } from "./ready.ts";
import type { Traffic } from "./traffic.ts";

/**
 * Result → the argument (or intermediate) whose memory it overwrites. Who still reads that memory goes before the unit
 * that overwrites it: `before` grows.
 */
export function reuse(units: readonly Unit[], traffic: Traffic, donated: ReadonlySet<Node>): Map<Node, Node> {
  const { nodes, roots, byAge, writer, readers, before } = traffic;
  const numberOf = new Map(byAge.map((unit, number) => [unit, number]));
  const taken = new NodeSet(nodes), found = new Map<Node, Node>();
  // Some valid order: what comes earlier in it depends on nothing later, which answers most questions at once.
  let rank = ranks(before);
  const claim = (unit: number, result: Node, memory: Node): void => {
    const others = (readers.get(memory) ?? []).filter((each) => each !== unit);
    const late = others.filter((other) => rank[other] > rank[unit]);
    if (late.some((other) => dependsOn(other, unit, before))) return;
    for (const other of others) before[unit].add(other);
    if (late.length > 0) rank = ranks(before);
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

/** Places of units in some order that keeps to what they wait for. */
function ranks(before: Traffic["before"]): Int32Array {
  const rank = new Int32Array(before.length);
  inOrder(before).forEach((unit, place) => rank[unit] = place);
  return rank;
}

function dependsOn(unit: number, other: number, before: Traffic["before"]): boolean {
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
