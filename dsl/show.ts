/** @file Prints a program as one assignment per line, with axes and sizes. */
import { type Node, topological } from "./node.ts";
import { showShape } from "./shape.ts";
import { entriesOf } from "./tree.ts";

const showAttributes = (node: Node): string => {
  const parts = Object.entries(node.attributes).flatMap(([name, value]): string[] => {
    if (name === "dtype" || (name === "shape" && node.op !== "constant") || name === "func" || name === "memory") {
      return [];
    }
    if (name === "values" || value === undefined) return [];
    if (Array.isArray(value)) return [`${name}=${value.join(",")}`];
    return [`${name}=${typeof value === "object" && value ? JSON.stringify(value) : String(value)}`];
  });
  return parts.length > 0 ? ` {${parts.join(" ")}}` : "";
};

/**
 * The program that computes the leaves of a tree: `%3 = add %1 %2 f32[batch:2 seq:4]`.
 *
 * @example
 * ```ts
 * import { mul, scalar, show } from "./mod.ts";
 * console.assert(show(mul(scalar(2), 3)).endsWith("return %2"));
 * ```
 */
export function show(tree: unknown): string {
  const roots = entriesOf(tree), numbers = new Map<Node, number>();
  const lines = topological(roots.map(([, root]) => root)).map((node, i) => {
    numbers.set(node, i);
    const inputs = node.inputs.map((input) => ` %${numbers.get(input)}`).join("");
    return `%${i} = ${node.op}${inputs}${showAttributes(node)} ${node.dtype}${showShape(node.shape)}`;
  });
  const results = roots.map(([path, root]) => `${path ? `${path}=` : ""}%${numbers.get(root)}`);
  return [...lines, `return ${results.join(" ")}`].join("\n");
}
