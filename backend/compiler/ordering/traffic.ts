/** @file Who writes and reads what, and who waits for whom: what scheduling asks about a program's units. */
import { NodeMap, NodeSet } from "../../../dsl/graph/node_map.ts";
import type { Node } from "../../../dsl/node.ts";
import type { Group, Grouping } from "../group.ts";
import type { Unit } from "../schedule.ts";
import { barriersOf, isAffineView, storedBase } from "../views.ts";

/** A program's units and the values between them. Units are known by their place in `byAge`. */
export interface Traffic {
  readonly nodes: readonly Node[];
  readonly roots: NodeSet;
  /** Units by age, which is that of their youngest node. */
  readonly byAge: readonly Unit[];
  /** The unit that writes a value, and those that read it. */
  readonly writer: NodeMap<number>;
  readonly readers: NodeMap<number[]>;
  /** The units that each unit waits for; whoever takes over memory adds those that read it. */
  readonly before: readonly Set<number>[];
}

/** The traffic between units. */
export function trafficOf(units: readonly Unit[], { order: nodes, roots }: Grouping): Traffic {
  const byAge = units.map((unit) => ({ unit, age: youngest(unit.group) })).sort((a, b) => a.age - b.age)
    .map(({ unit }) => unit);
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
  return { nodes, roots: new NodeSet(nodes, roots), byAge, writer, readers, before };
}

const youngest = (group: Group): number =>
  group.kind === "loop" ? group.youngest : Math.max(...group.nodes.map(({ id }) => id));

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
