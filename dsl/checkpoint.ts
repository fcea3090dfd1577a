/** @file Functions kept as one node: recomputed in the backward pass, or with a gradient of the user's own. */
import { node } from "./build.ts";
import { backward } from "./grad.ts";
import { mistake, type Node, topological } from "./node.ts";
import { isReal } from "./primitive.ts";
import { substitute } from "./substitute.ts";
import { type AnyTensor, nodeOf, type Tensor, tensorOf } from "./tensor.ts";
import { leavesOf, refill } from "./tree.ts";

type Vjp = (cotangent: Node, call: Node, parameters: readonly Node[], result: Node) => readonly (Node | null)[];

/** f(…args) as one node. Tensors that f closes over become further arguments, so that gradients reach them. */
function boundary<P extends readonly unknown[], A extends string>(
  f: (...args: P) => Tensor<A>,
  args: P,
  vjp: Vjp,
  closures: "lift" | "refuse",
): Tensor<A> {
  const given = leavesOf(args, undefined);
  const variable = (x: Node): Node => node("variable", [], { shape: x.shape, dtype: x.dtype, name: "argument" });
  const own = given.map(variable), body = nodeOf(f(...refill(args, own)));
  const inside = new Set<Node>(own), free = new Set<Node>();
  const order = topological([body]);
  for (const each of order) if (each.inputs.some((input) => inside.has(input))) inside.add(each);
  for (const each of order) {
    if (inside.has(each)) {
      for (const input of each.inputs) if (!inside.has(input) && input.op !== "constant") free.add(input);
    }
  }
  const depends = (x: Node): boolean =>
    topological([x]).some(({ op }) => op === "variable" || op === "data" || op === "buffer");
  const lifted = [...free].filter(depends);
  if (closures === "refuse" && lifted.some(isReal)) {
    mistake("customVjp", "the function closes over a tensor; pass it as an argument, or no gradient reaches it");
  }
  const extra = lifted.map(variable), parameters = [...own, ...extra];
  const [result] = substitute([body], new Map(lifted.map((x, i) => [x, extra[i]])));
  const func = { parameters, result, vjp: (g: Node, call: Node) => vjp(g, call, parameters, result) };
  return tensorOf(node("call", [...given, ...lifted], { func }));
}

/**
 * The same value; its inner nodes are recomputed in the backward pass instead of kept. Integer results (routing)
 * are kept, so that recomputed decisions cannot flip.
 */
export const checkpoint =
  <P extends readonly unknown[], A extends string>(f: (...args: P) => Tensor<A>): (...args: P) => Tensor<A> =>
  (...args) =>
    boundary(f, args, (g, call, parameters, result) => {
      const seed = node("variable", [], { shape: result.shape, dtype: result.dtype, name: "cotangent" });
      const gradients = backward(result, seed, parameters.filter(isReal));
      const again = new Map<Node, Node>([[seed, g]]);
      parameters.forEach((parameter, i) =>
        again.set(parameter, isReal(parameter) ? node("barrier", [call.inputs[i], g], {}) : call.inputs[i])
      );
      // What is an integer inside (top-k) is taken from the forward pass.
      const forward = new Map(parameters.map((parameter, i) => [parameter, call.inputs[i]]));
      const integers = topological([result]).filter((x) => !isReal(x) && x.op === "topk");
      substitute(integers, forward).forEach((kept, i) => again.set(integers[i], kept));
      const replaced = substitute(gradients, again);
      let next = 0;
      return parameters.map((parameter) => (isReal(parameter) ? replaced[next++] : null));
    }, "lift");

/**
 * A function with a gradient of the user's own.
 *
 * @param vjp cotangents of every argument, from the result's cotangent and the result
 * @throws TypeError when f closes over a tensor of real numbers
 */
export const customVjp = <P extends readonly AnyTensor[], A extends string>(
  f: (...args: P) => Tensor<A>,
  vjp: (cotangent: Tensor<A>, result: Tensor<A>, ...args: P) => readonly [...P],
): (...args: P) => Tensor<A> =>
(...args) =>
  boundary(
    f,
    args,
    (g, call) => vjp(tensorOf(g), tensorOf(call), ...call.inputs.map((x) => tensorOf(x)) as unknown as P).map(nodeOf),
    "refuse",
  );
