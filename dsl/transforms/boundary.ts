/** @file Functions kept as one node: what `checkpoint` and `customVjp` share. */
import { node } from "../build.ts";
import { mistake, type Node, topological } from "../node.ts";
import { isReal } from "../primitive.ts";
import type { Func } from "../primitives/call.ts";
import { substitute } from "../substitute.ts";
import { leavesOf, refill } from "../tree.ts";
import { variableLike } from "./variable.ts";

/** A traced function before it has rules: its own variables, and its results in terms of them. */
export interface Body {
  readonly parameters: readonly Node[];
  readonly result: Node;
}

const depends = (x: Node): boolean =>
  topological([x]).some(({ op }) => op === "variable" || op === "data" || op === "buffer");

/**
 * f(…args) with every tensor of its result as one node. Tensors that f closes over become further arguments, so that
 * gradients reach them, or are refused.
 *
 * @throws TypeError when f closes over a tensor of real numbers and `closures` says "refuse"
 */
export function boundary<P extends readonly unknown[], R>(
  f: (...args: P) => R,
  args: P,
  rules: (body: Body) => Func,
  closures: "lift" | "refuse",
): R {
  const given = leavesOf(args, undefined), own = given.map((leaf) => variableLike(leaf, "argument"));
  const result = f(...refill(args, own)), bodies = leavesOf(result, undefined);
  const inside = new Set<Node>(own), free = new Set<Node>();
  const order = topological(bodies);
  for (const each of order) if (each.inputs.some((input) => inside.has(input))) inside.add(each);
  for (const each of order) {
    if (inside.has(each)) {
      for (const input of each.inputs) if (!inside.has(input) && input.op !== "constant") free.add(input);
    }
  }
  const lifted = [...free].filter(depends);
  if (closures === "refuse" && lifted.some(isReal)) {
    mistake("customVjp", "the function closes over a tensor; pass it as an argument, or no gradient reaches it");
  }
  const extra = lifted.map((leaf) => variableLike(leaf, "closure")), parameters = [...own, ...extra];
  const closed = substitute(bodies, new Map(lifted.map((x, i) => [x, extra[i]])));
  const inputs = [...given, ...lifted];
  return refill(result, closed.map((each) => node("call", inputs, { func: rules({ parameters, result: each }) })));
}
