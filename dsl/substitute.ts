/** @file Rebuilds a graph with some nodes replaced. */
import { rebuilt } from "./build.ts";
import { NodeMap } from "./graph/node_map.ts";
import { type Node, standingFor, topological } from "./node.ts";

/** The roots with every key of `replacements` replaced by its value. */
export function substitute(roots: readonly Node[], replacements: ReadonlyMap<Node, Node>): Node[] {
  const order = topological(roots, (node) => replacements.has(node)), made = new NodeMap<Node>(order, replacements);
  for (const old of order) {
    if (!made.has(old)) made.set(old, standingFor(old, () => rebuilt(old, made)));
  }
  return roots.map((root) => made.get(root)!);
}
