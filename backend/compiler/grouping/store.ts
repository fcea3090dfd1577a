/** @file Decides which nodes lie in memory: what crosses from one kernel to another. */
import { NodeMap, NodeSet } from "../../../dsl/graph/node_map.ts";
import type { Node } from "../../../dsl/node.ts";
import type { LoopGroup } from "../group.ts";
import { eachInput, identity, type IndexMap, sameMap } from "../views.ts";
import type { Facts } from "./facts.ts";

/**
 * Calls `load` for every node that computing `starts` in a kernel reads from memory. Returns those of other kernels
 * that are computed again.
 */
export interface LoadVisitor {
  (own: LoopGroup, starts: readonly Node[], load: (node: Node) => void): Node[];
}

/** The visitor of a program, under what is decided when it is called. `load` must not call it again. */
export function loadVisitor({ order, groupOf, free, resolve }: Facts): LoadVisitor {
  // The first index at which a visit met a node, and which visit that was: tables that all visits share.
  const first = new NodeMap<IndexMap>(order), lastVisit = new NodeMap<number>(order);
  let visits = 0;
  return (own, starts, load) => {
    const visit = ++visits, more = new Map<Node, IndexMap[]>(), again: Node[] = [];
    const walk = (node: Node, map: IndexMap): void => {
      if (lastVisit.get(node) === visit) {
        if (sameMap(node.shape, map, first.get(node)!)) return;
        const others = more.get(node);
        if (others?.some((other) => sameMap(node.shape, map, other))) return;
        if (others) others.push(map);
        else more.set(node, [map]);
      } else {
        lastVisit.set(node, visit);
        first.set(node, map);
      }
      if (resolve(own, node, map) === "load") return load(node);
      const group = groupOf.get(node);
      if (group !== undefined && group !== own && !free.has(node) && !again.includes(node)) again.push(node);
      compute(node, map);
    };
    const compute = (node: Node, map: IndexMap): void => {
      if (node.op === "take") load(node.inputs[0]);
      eachInput(node, map, walk);
    };
    for (const start of starts) compute(start, identity(start.shape));
    return again;
  };
}

/** Marks as stored what kernels read and do not compute themselves. */
export function settle({ groupOf, stored, storedNodes, order }: Facts, visitLoads: LoadVisitor): void {
  const settled = new NodeSet(order), work = [...storedNodes];
  while (work.length > 0) {
    const node = work.pop()!, own = groupOf.get(node);
    if (own?.kind !== "loop" || settled.has(node)) continue;
    settled.add(node);
    visitLoads(own, [node], (needed) => {
      if (!stored.has(needed)) {
        stored.add(needed);
        storedNodes.push(needed);
      }
      work.push(needed);
    });
  }
}
