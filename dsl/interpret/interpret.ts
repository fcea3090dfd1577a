/** @file The interpreter: every program's value in f64. It needs no device and is the oracle of all tests. */
import { primitiveOf } from "../build.ts";
import { isHalf, roundTo } from "../half.ts";
import { type Node, topological } from "../node.ts";
import type { Values } from "../primitive.ts";

/** Values of `roots`, given those of some nodes (usually variables). */
export function evaluate(roots: readonly Node[], given: ReadonlyMap<Node, Values> = new Map()): Values[] {
  const values = new Map<Node, Values>(given);
  for (const node of topological(roots, (node) => given.has(node))) {
    if (values.has(node)) continue;
    const inputs = node.inputs.map((input) => values.get(input)!);
    const exact = primitiveOf(node.op).interpret(node, inputs), { shape, dtype } = node;
    // What is stored in 16 bits has a value of 16 bits, on every device.
    values.set(node, { shape, data: isHalf(dtype) ? exact.map((x) => roundTo(dtype, x)) : exact });
  }
  return roots.map((root) => values.get(root)!);
}
