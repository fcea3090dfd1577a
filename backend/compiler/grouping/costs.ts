/** @file What it costs to compute one again where it is needed instead of storing it. */
import { primitiveOf } from "../../../dsl/build.ts";
import { NodeMap, NodeSet } from "../../../dsl/graph/node_map.ts";
import { isOp, type Node } from "../../../dsl/node.ts";
import type { Builder, UnaryOp } from "../../../dsl/primitive.ts";
import { sizeOf } from "../../../dsl/shape.ts";
import { isArgument, isReduction, isTemplate } from "../kinds.ts";
import { isView } from "../views.ts";

const transcendental = new Set<UnaryOp>(["exp", "log", "sin", "cos", "tanh"]);

/** Nodes that cost (next to) nothing to compute where they are needed: made of constants and counters alone. */
export function freeNodes(order: readonly Node[]): NodeSet {
  const free = new NodeSet(order);
  for (const node of order) {
    if (node.op === "constant" || node.op === "iota") free.add(node);
    else if (isArgument(node) || isTemplate(node) || isReduction(node) || node.op === "take" || node.op === "copy") {
      continue;
    } else if (node.inputs.length > 0 && node.inputs.every((input) => free.has(input))) free.add(node);
  }
  return free;
}

/** How many instructions one element of an elementwise node takes; a transcendental one counts as eight. */
function instructionsOf(node: Node): number {
  let count = 0;
  const one = (): number => count++;
  const build: Builder = {
    unary: (op) => (count += transcendental.has(op) ? 8 : 1),
    binary: one,
    select: one,
    cast: one,
    reduce: one,
    constant: () => 0,
  };
  primitiveOf(node.op).lower?.(build, node.inputs.map(() => 0), node);
  return Math.max(1, count);
}

/** From so many repetitions on, a value is computed once. */
const repeats = 8;

/** How much it costs to compute a node again in another kernel; Infinity where it must not be. */
export function inlineCosts(order: readonly Node[], free: NodeSet): NodeMap<number> {
  const costs = new NodeMap<number>(order);
  for (const node of order) {
    if (free.has(node)) costs.set(node, 0);
    else if (isArgument(node) || isTemplate(node) || isReduction(node)) costs.set(node, 0);
    else if (node.op === "copy" || node.op === "take") costs.set(node, Infinity);
    else if (isOp(node, "expand") && repeats <= sizeOf(node.shape) / sizeOf(node.inputs[0].shape)) {
      // What is repeated is computed once and loaded, unless that is no work at all.
      if (costs.get(node.inputs[0])! > 1) costs.set(node.inputs[0], Infinity);
      costs.set(node, 0);
    } else {
      const below = [...new Set(node.inputs)].reduce((total, input) => total + costs.get(input)!, 0);
      const own = isView(node) ? (node.op === "concat" ? node.inputs.length : 0) : instructionsOf(node);
      costs.set(node, below + own);
    }
  }
  return costs;
}

/** Elementwise operations that may be computed again in another kernel rather than stored. */
export const inlineLimit = 13;
