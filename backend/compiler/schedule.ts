/**
 * @file Orders kernels and decides which results take the memory of a donated argument.
 * In: groups. Out: the same kernels in an order in which every value exists before it is read, donated memory is
 * read by everyone before it is overwritten, and what frees memory runs as soon as it can.
 */
import type { Node } from "../../dsl/node.ts";
import { sizeOf } from "../../dsl/shape.ts";
import type { LoopBody } from "./emission/body.ts";
import { type Kernels, kernelsOf } from "./emission/kernels.ts";
import type { Group, Grouping, Resolver } from "./group.ts";
import { reuse } from "./ordering/reuse.ts";
import { memoryOrder } from "./ordering/memory_order.ts";
import { trafficOf } from "./ordering/traffic.ts";
import { operandOf } from "./views.ts";

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

/** Orders the groups. `donated` are the variables whose memory may be overwritten. */
export function schedule(
  grouping: Grouping & { readonly resolve: Resolver },
  donated: ReadonlySet<Node>,
  kernels: Kernels = kernelsOf(grouping),
): Schedule {
  const units = grouping.groups.map((each) => unitOf(each, grouping, kernels)).filter(({ writes }) =>
    writes.some((node) => sizeOf(node.shape) > 0)
  );
  const traffic = trafficOf(units, grouping), inPlace = reuse(units, traffic, donated);
  return { units: memoryOrder(traffic, inPlace).map((number) => traffic.byAge[number]), inPlace };
}

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
