/**
 * @file What grouping asks about a program again and again: who uses a node, what it reads and where, what it costs.
 */
import { NodeMap, NodeSet } from "../../../dsl/graph/node_map.ts";
import { usersOf } from "../../../dsl/graph/wiring.ts";
import { isOp, type Node } from "../../../dsl/node.ts";
import { freeNodes, inlineCosts, inlineLimit } from "./costs.ts";
import { isArgument, isReduction, isTemplate } from "../kinds.ts";
import type { Group, GroupLimits, Resolver } from "../group.ts";
import {
  barriersOf,
  identity,
  type IndexMap,
  isAffineView,
  isAligned,
  isView,
  misaligned,
  storedBase,
  throughView,
} from "../views.ts";

/** A node that another reads through views. */
export interface Source {
  readonly source: Node;
  /** At which index, where that is not the loop's own. */
  readonly elsewhere?: IndexMap;
}

/** What a node waits for. */
export interface Sources {
  readonly read: readonly Source[];
  /** What barriers in front of it stand for. */
  readonly barriers: readonly Node[];
}

/** A program, and what grouping has decided about it so far. */
export interface Facts {
  readonly order: readonly Node[];
  readonly limits: GroupLimits;
  /** Nodes made of constants and counters alone. */
  readonly free: NodeSet;
  /** What it costs to compute a node again. */
  readonly costs: NodeMap<number>;
  /** The group that computes a node. */
  readonly groupOf: NodeMap<Group>;
  /** Nodes that lie in memory whatever is decided: arguments, results, what templates read and write. */
  readonly always: NodeSet;
  /** Nodes that lie in memory. */
  readonly stored: NodeSet;
  /** The same as a list. */
  readonly storedNodes: Node[];
  readonly resolve: Resolver;
  readonly usersOf: (node: Node) => readonly Node[];
  readonly sourcesOf: (node: Node) => Sources;
}

const nobody: readonly Node[] = [];

/** The facts of a program before any group is made. */
export function factsOf(roots: readonly Node[], order: readonly Node[], limits: GroupLimits): Facts {
  const free = freeNodes(order), costs = inlineCosts(order, free), groupOf = new NodeMap<Group>(order);
  const users = usersOf(order), known = new NodeMap<Sources>(order);
  const always = new NodeSet(order), stored = new NodeSet(order), storedNodes: Node[] = [];
  const keep = (node: Node): void => {
    if (always.has(node)) return;
    always.add(node);
    stored.add(node);
    storedNodes.push(node);
  };
  roots.forEach(keep);
  for (const node of order) {
    if (isArgument(node) || isTemplate(node)) keep(node);
    if (isTemplate(node)) { for (const input of node.inputs) keep(storedBase(input)); }
    if (node.op === "take") keep(node.inputs[0]);
  }
  const resolve: Resolver = (own, node, map) => {
    const mine = own !== undefined && groupOf.get(node) === own;
    if (mine && isAligned(node.shape, map)) return "compute";
    if (isView(node) || (free.has(node) && !groupOf.has(node))) return "compute";
    if ((stored.has(node) && !mine) || isReduction(node) || limits.fuse === "off") return "load";
    return costs.get(node)! <= inlineLimit ? "compute" : "load";
  };
  return {
    order,
    limits,
    free,
    costs,
    groupOf,
    always,
    stored,
    storedNodes,
    resolve,
    usersOf: (node) => users.get(node) ?? nobody,
    sourcesOf: (node) => {
      const old = known.get(node);
      if (old) return old;
      const made = readBy(node, (x) => !free.has(x) || groupOf.has(x));
      known.set(node, made);
      return made;
    },
  };
}

/** Nodes that a node reads through views, as far as `counts`, and what it waits for. */
function readBy(node: Node, counts: (source: Node) => boolean): Sources {
  const read: Source[] = [];
  let barriers: Node[] | undefined;
  /** `map`: undefined where every axis is the loop's own so far. */
  const walk = (x: Node, map: IndexMap | undefined): void => {
    while (isAffineView(x)) {
      if (isOp(x, "rename") || isOp(x, "slice") || isOp(x, "unflatten")) map = throughView(x, map ?? identity(x.shape));
      x = x.inputs[0];
    }
    if (isView(x)) { for (const input of x.inputs) walk(input, misaligned(input.shape)); }
    else if (counts(x)) read.push(!map || isAligned(x.shape, map) ? { source: x } : { source: x, elsewhere: map });
  };
  node.inputs.forEach((input, i) => {
    if (isAffineView(input)) {
      const waited = barriersOf(input);
      if (waited.length > 0) barriers = barriers ? [...barriers, ...waited] : waited;
    }
    if (node.op === "take" && i === 0) read.push({ source: input, elsewhere: misaligned(input.shape) });
    else walk(input, undefined);
  });
  return { read, barriers: barriers ?? nobody };
}
