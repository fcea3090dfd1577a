/** @file Inlines functions: what `checkpoint` and `customVjp` keep as one node (`call`) becomes its body. */
import { rebuilt } from "../../dsl/build.ts";
import { NodeMap } from "../../dsl/graph/node_map.ts";
import { isOp, type Node, standingFor, topological } from "../../dsl/node.ts";
import { substitute } from "../../dsl/substitute.ts";

/** Replaces every call by the function's body. */
export function inline(roots: readonly Node[]): Node[] {
  const order = topological(roots), made = new NodeMap<Node>(order);
  for (const each of order) {
    if (isOp(each, "call")) {
      const inputs = each.inputs.map((input) => made.get(input)!);
      const { parameters, result } = each.attributes.func, [body] = inline([result]);
      made.set(each, substitute([body], new Map(parameters.map((parameter, i) => [parameter, inputs[i]])))[0]);
    } else {
      made.set(each, standingFor(each, () => rebuilt(each, made)));
    }
  }
  return roots.map((root) => made.get(root)!);
}
