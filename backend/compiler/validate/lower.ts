/**
 * @file Checks what `lower` made: the same results, of primitives whose types hold, that templates can read.
 */
import { primitiveOf } from "../../../dsl/build.ts";
import { type Node, topological } from "../../../dsl/node.ts";
import { sameOrder } from "../../../dsl/shape.ts";
import { isArgument, isTemplate } from "../kinds.ts";
import { isView, operandOf } from "../views.ts";
import { fault } from "./fault.ts";

/** Results of a program before and after lowering. @throws Error that names the first value that is wrong */
export function validateLowered(before: readonly Node[], after: readonly Node[]): void {
  if (before.length !== after.length) fault("lower", `${before.length} results`, `became ${after.length}`);
  const seen = new Set<Node>();
  after.forEach((result, i) => {
    const { shape, dtype } = before[i];
    if (result.dtype !== dtype || !sameOrder(result.shape, shape)) {
      fault("lower", result, `stands for result ${i}, which has another shape or storage`);
    }
    if (seen.has(result)) fault("lower", result, "is two results at once: one memory would have two owners");
    if (isArgument(result) || isView(result) || result.op === "constant" || result.op === "iota") {
      fault("lower", result, `is result ${i}, but no kernel computes it`);
    }
    seen.add(result);
  });
  for (const node of topological(after)) validateNode(node);
}

function validateNode(node: Node): void {
  if (node.op === "call") fault("lower", node, "is a function that was not inlined");
  const late = node.inputs.find((input) => input.id >= node.id);
  if (late) fault("lower", node, `was made before its input ${late.id}`);
  let type: ReturnType<ReturnType<typeof primitiveOf>["type"]>;
  try {
    type = primitiveOf(node.op).type(node.attributes, node.inputs);
  } catch (error) {
    fault("lower", node, `does not fit its inputs: ${(error as Error).message}`);
  }
  if (type.dtype !== node.dtype || !sameOrder(type.shape, node.shape)) {
    fault("lower", node, `should be ${type.dtype} with axes ${Object.keys(type.shape).join(" ") || "none"}`);
  }
  if (!isTemplate(node)) return;
  const unreadable = node.inputs.find((input) => !operandOf(input));
  if (unreadable) fault("lower", unreadable, `lies in no memory that ${node.op} could read`);
}
