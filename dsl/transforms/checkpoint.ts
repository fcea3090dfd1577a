/** @file checkpoint: a function whose inner values are computed again in the backward pass instead of kept. */
import { node } from "../build.ts";
import { type Node, topological } from "../node.ts";
import { isReal } from "../primitive.ts";
import type { Func } from "../primitives/call.ts";
import { substitute } from "../substitute.ts";
import { type Body, boundary } from "./boundary.ts";
import { forward } from "./forward.ts";
import { backward } from "./reverse.ts";
import { variableLike } from "./variable.ts";

/** The rules of a checkpointed function. */
export function checkpointed({ parameters, result }: Body): Func {
  return {
    kind: "checkpoint",
    parameters,
    result,
    vjp: (cotangent, { inputs }) => {
      const seed = variableLike(result, "cotangent"), real = parameters.filter(isReal);
      const gradients = backward([result], [seed], real);
      const again = new Map<Node, Node>([[seed, cotangent]]);
      parameters.forEach((parameter, i) =>
        again.set(parameter, isReal(parameter) ? node("barrier", [inputs[i], cotangent], {}) : inputs[i])
      );
      // What is an integer inside (top-k) is taken from the forward pass: recomputed decisions could flip.
      const first = new Map(parameters.map((parameter, i) => [parameter, inputs[i]]));
      const integers = topological([result]).filter((x) => !isReal(x) && x.op === "topk");
      substitute(integers, first).forEach((kept, i) => again.set(integers[i], kept));
      const replaced = new Map(substitute(gradients, again).map((gradient, i) => [real[i], gradient]));
      return parameters.map((parameter) => replaced.get(parameter) ?? null);
    },
    // The derivative is a checkpointed function of parameters and tangents, so that its own gradient recomputes too.
    jvp: (tangents, { inputs }) => {
      const moving = parameters.map((_, i) => i).filter((i) => tangents[i]);
      const variables = moving.map((i) => variableLike(parameters[i], "tangent"));
      const [tangent] = forward([result], new Map(moving.map((i, j) => [parameters[i], variables[j]])));
      if (!tangent) return null;
      const func = checkpointed({ parameters: [...parameters, ...variables], result: tangent });
      return node("call", [...inputs, ...moving.map((i) => tangents[i]!)], { func });
    },
  };
}

/**
 * The same function; its inner nodes are computed again in the backward pass instead of kept. Integer results
 * (routing) are kept, so that recomputed decisions cannot flip. Arguments and result are trees of tensors; tensors that
 * the function closes over get gradients too.
 *
 * @param f a pure function
 * @returns a function of the same value and gradient, whose backward pass needs less memory and more time
 * @example
 * ```ts
 * import { checkpoint, exp, grad, item, type Scalar, scalar, sin } from "../mod.ts";
 * const f = (x: Scalar) => exp(sin(x));
 * console.assert(item(grad(checkpoint(f))(scalar(1))) === item(grad(f)(scalar(1))));
 * ```
 */
export const checkpoint = <P extends readonly unknown[], R>(f: (...args: P) => R): (...args: P) => R => (...args) =>
  boundary(f, args, checkpointed, "lift");
