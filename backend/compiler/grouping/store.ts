/**
 * @file Decides which nodes lie in memory: what crosses from one kernel to another, and what would make a kernel bind
 * too many buffers if it were computed again there.
 */
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
      eachInput(node, map, walk);
    };
    for (const start of starts) eachInput(start, identity(start.shape), walk);
    for (const start of starts) if (start.op === "take") load(start.inputs[0]);
    return again;
  };
}

/**
 * Marks as stored what kernels read and do not compute themselves, then what makes some bind too many buffers: a
 * kernel that computes several nodes again, each from buffers of its own. The dearest of those nodes is stored
 * instead, until every kernel fits.
 *
 * @param refuse is told of each
 */
export function settle(facts: Facts, visitLoads: LoadVisitor, refuse: (reason: string) => void): void {
  const { order, limits, groupOf, costs, stored, storedNodes } = facts, settled = new NodeSet(order);
  settleStorage([...storedNodes]);
  limitBindings();

  function store(node: Node): void {
    stored.add(node);
    storedNodes.push(node);
  }

  /** Everything that some kernel reads and does not compute itself must be stored. Returns what that adds. */
  function settleStorage(work: Node[]): Node[] {
    const added: Node[] = [];
    while (work.length > 0) {
      const node = work.pop()!, own = groupOf.get(node);
      if (!own || settled.has(node)) continue;
      settled.add(node);
      if (own.kind !== "loop") continue;
      visitLoads(own, [node], (needed) => {
        if (!stored.has(needed)) {
          store(needed);
          added.push(needed);
        }
        work.push(needed);
      });
    }
    return added;
  }

  function limitBindings(): void {
    const most = limits.maxBindings, large = new Set<LoopGroup>();
    for (const node of order) {
      const each = groupOf.get(node);
      if (each?.kind === "loop" && each.most > most) large.add(each);
    }
    /** The dearest node that a group computes again, if it binds too many buffers. */
    const dearest = new Map<LoopGroup, Node | undefined>();
    const computedBy = new Map<Node, Set<LoopGroup>>();
    const look = (each: LoopGroup): void => {
      const writes = each.nodes.filter((node) => stored.has(node)), bound = new Set(writes);
      const again = visitLoads(each, writes, (node) => bound.add(node));
      for (const node of again) (computedBy.get(node) ?? computedBy.set(node, new Set()).get(node)!).add(each);
      dearest.set(each, bound.size > most ? dearestOf(again) : undefined);
    };
    large.forEach(look);
    for (;;) {
      const worst = dearestOf([...large].flatMap((each) => dearest.get(each) ?? []));
      if (!worst) return;
      store(worst);
      refuse("too many buffers to compute it where it is needed");
      // Only who computes again what is stored now, or is to store it, binds other buffers than before.
      const changed = new Set<LoopGroup>();
      for (const node of [worst, ...settleStorage([worst])]) {
        computedBy.get(node)?.forEach((each) => changed.add(each));
        const own = groupOf.get(node);
        if (own?.kind === "loop" && large.has(own)) changed.add(own);
      }
      changed.forEach(look);
    }
  }

  /** The first of the nodes that cost most. */
  function dearestOf(nodes: readonly Node[]): Node | undefined {
    let dearest: Node | undefined;
    for (const node of nodes) if (!dearest || costs.get(node)! > costs.get(dearest)!) dearest = node;
    return dearest;
  }
}
