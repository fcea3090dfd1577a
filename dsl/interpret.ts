/** @file The interpreter: every program's value in f64. It needs no device and is the oracle of all tests. */
import { primitiveOf } from "./build.ts";
import { type Node, topological } from "./node.ts";
import type { Values } from "./primitive.ts";

/** Values of `roots`, given those of some nodes (usually variables). */
export function evaluate(roots: readonly Node[], given: ReadonlyMap<Node, Values> = new Map()): Values[] {
  const values = new Map<Node, Values>(given);
  for (const node of topological(roots, (node) => given.has(node))) {
    if (values.has(node)) continue;
    const inputs = node.inputs.map((input) => values.get(input)!);
    values.set(node, { shape: node.shape, data: primitiveOf(node.op).interpret(node, inputs) });
  }
  return roots.map((root) => values.get(root)!);
}
