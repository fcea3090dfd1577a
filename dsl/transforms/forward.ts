/** @file Forward mode: tangents walk a graph forwards. A function from graph to graph. */
import { expand, primitiveOf } from "../build.ts";
import { type Node, topological } from "../node.ts";

/**
 * Tangents of `outs`, given those of some nodes (usually variables).
 * In: any graph. Out: for each of `outs` a node of its shape, in its order, or null where nothing reaches it: zero.
 */
export function forward(outs: readonly Node[], given: ReadonlyMap<Node, Node>): (Node | null)[] {
  const tangents = new Map<Node, Node>(given);
  for (const each of topological(outs)) {
    if (tangents.has(each) || !each.inputs.some((input) => tangents.has(input))) continue;
    const tangent = primitiveOf(each.op).jvp(each.inputs.map((input) => tangents.get(input) ?? null), each);
    if (tangent) tangents.set(each, tangent);
  }
  return outs.map((out) => {
    const tangent = tangents.get(out);
    return tangent ? expand(tangent, out.shape) : null;
  });
}
