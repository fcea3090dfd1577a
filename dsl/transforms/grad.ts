/** @file Values and gradients of losses. */
import { constant } from "../build.ts";
import { mistake } from "../node.ts";
import { substitute } from "../substitute.ts";
import { axesOf } from "../shape.ts";
import { nodeOf, type Scalar } from "../tensor.ts";
import { leavesOf, refill } from "../tree.ts";
import { backward } from "./reverse.ts";
import { variableLike } from "./variable.ts";

/**
 * Value and gradient of a function whose first argument is a tree of parameters.
 *
 * @throws TypeError when the result is not a scalar or a tensor occurs twice in the tree
 * @example
 * ```ts
 * import { item, mul, scalar, valueAndGrad } from "../mod.ts";
 * const { value, grad } = valueAndGrad((p: { x: ReturnType<typeof scalar> }) => mul(p.x, p.x))({ x: scalar(3) });
 * console.assert(item(value) === 9 && item(grad.x) === 6);
 * ```
 */
export function valueAndGrad<P, R extends readonly unknown[]>(
  f: (parameters: P, ...rest: R) => Scalar,
): (parameters: P, ...rest: R) => { readonly value: Scalar; readonly grad: P } {
  return (parameters, ...rest) => {
    const { value, grad } = valueAndGradWith((p: P, ...r: R) => ({ loss: f(p, ...r) }))(parameters, ...rest);
    return { value: value.loss, grad };
  };
}

/**
 * As `valueAndGrad`, for a function that returns more than its loss (metrics): only `loss` is differentiated.
 *
 * @throws TypeError when the loss is not a scalar or a tensor occurs twice in the tree
 * @example
 * ```ts
 * import { item, mul, type Scalar, scalar, valueAndGradWith } from "../mod.ts";
 * const f = (p: { x: Scalar }) => ({ loss: mul(p.x, p.x), doubled: mul(p.x, 2) });
 * const { value, grad } = valueAndGradWith(f)({ x: scalar(3) });
 * console.assert(item(value.doubled) === 6 && item(grad.x) === 6);
 * ```
 */
export function valueAndGradWith<P, R extends readonly unknown[], V extends { readonly loss: Scalar }>(
  f: (parameters: P, ...rest: R) => V,
): (parameters: P, ...rest: R) => { readonly value: V; readonly grad: P } {
  return (parameters, ...rest) => {
    const given = leavesOf(parameters, "grad");
    const fresh = given.map(variableLike);
    const result = f(refill(parameters, fresh), ...rest);
    const loss = nodeOf(result.loss);
    if (axesOf(loss.shape).length > 0) mistake("grad", `the loss must be a scalar, it has axes ${axesOf(loss.shape)}`);
    const values = leavesOf(result, undefined);
    const replaced = substitute(
      [...values, ...backward([loss], [constant(1, loss.dtype)], fresh)],
      new Map(fresh.map((variable, i) => [variable, given[i]])),
    );
    return {
      value: refill(result, replaced.slice(0, values.length)),
      grad: refill(parameters, replaced.slice(values.length)),
    };
  };
}

/**
 * Gradient of a scalar function with respect to its first argument, a tree of parameters. The gradient is a program like
 * any other: `grad` of it is the second derivative. Each leaf has its parameter's axes, sizes and order.
 *
 * @throws TypeError when the result is not a scalar or a tensor occurs twice in the tree
 * @example
 * ```ts
 * import { grad, item, mul, type Scalar, scalar } from "../mod.ts";
 * const cube = (x: Scalar) => mul(x, x, x);
 * console.assert(item(grad(cube)(scalar(2))) === 12);
 * console.assert(item(grad(grad(cube))(scalar(2))) === 12);
 * ```
 */
export const grad =
  <P, R extends readonly unknown[]>(f: (parameters: P, ...rest: R) => Scalar): (parameters: P, ...rest: R) => P =>
  (parameters, ...rest) => valueAndGrad(f)(parameters, ...rest).grad;
