/**
 * @file What a loop kernel binds, told before the kernel is written: grouping counts by it, and what it promises is
 * what `loopBody` then binds at most.
 */
import { NodeMap } from "../../../dsl/graph/node_map.ts";
import type { Node } from "../../../dsl/node.ts";
import { isArgument } from "../kinds.ts";
import type { LoopGroup } from "../group.ts";
import { isView, misaligned } from "../views.ts";
import type { Facts } from "./facts.ts";
import type { LoadVisitor } from "./store.ts";

/** The buffers of a group, as groups are now: what it must store, and what storing that loads. */
export interface Bindings {
  (group: LoopGroup): ReadonlySet<Node>;
}

/** Tells what groups bind. `groupOf` must name the group itself for all of its nodes. */
export function bindingsIn(facts: Facts, visitLoads: LoadVisitor): Bindings {
  return (group) => {
    const stores = storesOf(group, facts), bound = new Set(stores);
    visitLoads(group, [...stores], (node) => bound.add(node));
    return bound;
  };
}

/**
 * What a group must store: the program's results, what templates read, and what other kernels load. Where those compute
 * a value again, they load what it is made of, which may be this group's, too.
 */
function storesOf(group: LoopGroup, { always, free, groupOf, resolve, sourcesOf, usersOf }: Facts): Set<Node> {
  const stores = new Set<Node>(), met = new Set<Node>();
  const isUsedOutside = (node: Node): boolean =>
    usersOf(node).some((user) =>
      isView(user) || (free.has(user) && !groupOf.has(user)) ? isUsedOutside(user) : groupOf.get(user) !== group
    );
  const need = (node: Node): void => {
    if (met.has(node)) return;
    met.add(node);
    if (resolve(undefined, node, misaligned(node.shape)) === "load") stores.add(node);
    else for (const { source } of sourcesOf(node).read) if (groupOf.get(source) === group) need(source);
  };
  for (const node of group.nodes) if (always.has(node) || isUsedOutside(node)) need(node);
  return stores;
}

/** Buffers that a node adds to any kernel at most: sums of them spare most groups the exact answer. */
export function mostBindings({ order, free, resolve }: Facts): (node: Node) => number {
  const leaves = new NodeMap<number>(order);
  const ofInputs = (node: Node): number => node.inputs.reduce((count, input) => count + leaves.get(input)!, 0);
  for (const node of order) {
    const loaded = isArgument(node) || resolve(undefined, node, misaligned(node.shape)) === "load";
    leaves.set(node, free.has(node) ? 0 : loaded ? 1 : ofInputs(node));
  }
  return (node) => 1 + ofInputs(node);
}

/**
 * Sees to it that no node's own kernel binds more than the device allows, if each of them is a kernel: of the values
 * that such a kernel computes again, each from buffers of its own, the dearest shall be loaded instead, wherever it is
 * used.
 *
 * @param refuse is told of each
 */
export function limitRepetition(
  { order, limits, groupOf, costs }: Facts,
  visitLoads: LoadVisitor,
  refuse: (reason: string) => void,
): void {
  const large = order.map((node) => groupOf.get(node)).filter((each): each is LoopGroup =>
    each?.kind === "loop" && each.most > limits.maxBindings
  );
  // What is loaded here adds a buffer to other kernels that share what it is made of.
  for (let again = true; again;) {
    again = false;
    for (const each of large) {
      const bound = new Set<Node>(each.nodes), repeated = visitLoads(each, each.nodes, (node) => bound.add(node));
      if (bound.size <= limits.maxBindings || repeated.length === 0) continue;
      costs.set(repeated.reduce((a, b) => costs.get(b)! > costs.get(a)! ? b : a), Infinity);
      refuse("too many buffers to compute it where it is needed");
      again = true;
    }
  }
}
