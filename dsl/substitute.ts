/** @file Rebuilds a graph with some nodes replaced. */
import { reapply } from "./build.ts";
import { type Node, standingFor, topological } from "./node.ts";

/** The roots with every key of `replacements` replaced by its value. */
export function substitute(roots: readonly Node[], replacements: ReadonlyMap<Node, Node>): Node[] {
  const made = new Map<Node, Node>(replacements);
  for (const old of topological(roots, (node) => replacements.has(node))) {
    if (made.has(old)) continue;
    const inputs = old.inputs.map((input) => made.get(input)!);
    made.set(old, standingFor(old, () => reapply(old, inputs)));
  }
  return roots.map((root) => made.get(root)!);
}
