/** @file Reverse mode: cotangents walk a graph backwards. A function from graph to graph. */
import { add, expand, fill, primitiveOf } from "../build.ts";
import { NodeMap, NodeSet } from "../graph/node_map.ts";
import { type Node, standingFor, topological } from "../node.ts";
import { isReal } from "../primitive.ts";

/**
 * Cotangents of `wrt`, given those of `outs`; only nodes that depend on `wrt` are visited.
 * In: any graph. Out: for each of `wrt` a node of its shape, in its order (a gradient lies in memory like its
 * parameter), zeros where nothing depends on it.
 */
export function backward(outs: readonly Node[], seeds: readonly Node[], wrt: readonly Node[]): Node[] {
  const order = topological(outs), live = new NodeSet(order, wrt), cotangents = new NodeMap<Node>(order);
  const flowInto = (node: Node, flow: Node): void => {
    const known = cotangents.get(node);
    cotangents.set(node, known ? add(known, flow) : flow);
  };
  for (const each of order) if (each.inputs.some((input) => live.has(input))) live.add(each);
  outs.forEach((out, i) => flowInto(out, seeds[i]));
  for (const each of order.toReversed()) {
    const cotangent = cotangents.get(each);
    if (!cotangent || !each.inputs.some((input) => live.has(input))) continue;
    standingFor(each, () => {
      const flows = primitiveOf(each.op).vjp(cotangent, each);
      each.inputs.forEach((input, i) => {
        const flow = flows[i];
        if (flow && live.has(input) && isReal(input)) flowInto(input, flow);
      });
    });
  }
  return wrt.map((each) => expand(cotangents.get(each) ?? fill(0, each), each.shape));
}
