/** @file Forward-mode differentiation: how a function's results move when its parameters do. */
import { fill } from "../build.ts";
import type { Node } from "../node.ts";
import { isReal } from "../primitive.ts";
import { substitute } from "../substitute.ts";
import { leavesOf, refill } from "../tree.ts";
import { forward } from "./forward.ts";
import { alignedLeaves, variableLike } from "./variable.ts";

/**
 * A function's result, and its derivative along a direction: f(p) and ∂f(p)·t. One evaluation gives one direction
 * (a column of the Jacobian), without any memory for a backward pass; `jvp` of `grad` is a Hessian times a vector.
 *
 * The tangent is a tree like the parameters. Leaves that are no real numbers (indices, masks) do not move: their
 * tangents are not looked at, and those in the result are zero.
 *
 * @param f a function whose first argument is a tree of parameters, and whose result is a tree
 * @returns a function of parameters, tangent and the other arguments
 * @throws TypeError when parameters and tangent differ in axes or sizes, when a tensor occurs twice in the parameters,
 * or when f uses `customVjp`, whose derivative is known backwards only
 * @example
 * ```ts
 * import { grad, item, jvp, mul, type Scalar, scalar } from "../mod.ts";
 * const cube = (x: Scalar) => mul(x, x, x);
 * const { value, tangent } = jvp(cube)(scalar(2), scalar(1));
 * console.assert(item(value) === 8 && item(tangent) === 12);
 * // Forward over reverse: the second derivative.
 * console.assert(item(jvp(grad(cube))(scalar(2), scalar(1)).tangent) === 12);
 * ```
 */
export function jvp<P, R extends readonly unknown[], V>(
  f: (parameters: P, ...rest: R) => V,
): (parameters: P, tangent: P, ...rest: R) => { readonly value: V; readonly tangent: V } {
  return (parameters, tangent, ...rest) => {
    const given = leavesOf(parameters, "jvp"), directions = alignedLeaves("jvp", given, tangent);
    const fresh = given.map(variableLike), result = f(refill(parameters, fresh), ...rest);
    const values = leavesOf(result, undefined);
    const moves = new Map<Node, Node>();
    fresh.forEach((variable, i) => isReal(variable) && moves.set(variable, directions[i]));
    const tangents = forward(values, moves).map((each, i) => each ?? fill(0, values[i]));
    const replaced = substitute([...values, ...tangents], new Map(fresh.map((variable, i) => [variable, given[i]])));
    return {
      value: refill(result, replaced.slice(0, values.length)),
      tangent: refill(result, replaced.slice(values.length)),
    };
  };
}
