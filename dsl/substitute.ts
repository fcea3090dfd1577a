/** @file Rebuilds a graph with some nodes replaced. */
import { node } from "./build.ts";
import { type Node, standingFor, topological } from "./node.ts";

/** The roots with every key of `replacements` replaced by its value. */
export function substitute(roots: readonly Node[], replacements: ReadonlyMap<Node, Node>): Node[] {
  const made = new Map<Node, Node>(replacements);
  for (const old of topological(roots, (node) => replacements.has(node))) {
    if (made.has(old)) continue;
    const inputs = old.inputs.map((input) => made.get(input)!);
    const same = inputs.every((input, i) => input === old.inputs[i]);
    made.set(old, same ? old : standingFor(old, () => node(old.op, inputs, old.attributes)));
  }
  return roots.map((root) => made.get(root)!);
}
