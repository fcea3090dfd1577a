/** @file customVjp: a function with a gradient of the user's own. */
import { mistake } from "../node.ts";
import { type AnyTensor, nodeOf, type Tensor, tensorOf } from "../tensor.ts";
import { boundary } from "./boundary.ts";

/**
 * A function with a gradient of the user's own: a straight-through estimator, a clipped or reversed gradient, a formula
 * that is more exact than the derivative of the program.
 *
 * It has no forward derivative, as in JAX: `jvp` refuses it instead of contradicting the given rule with the
 * derivative of f's own body. Second derivatives work as `grad` of `grad`.
 *
 * @param f a pure function of tensors
 * @param vjp cotangents of every argument, each with its argument's axes, from the result's cotangent and the result
 * @throws TypeError when f closes over a tensor of real numbers: no gradient would reach it
 * @example
 * ```ts
 * import { customVjp, floor, grad, item, mul, type Scalar, scalar } from "../mod.ts";
 * const round = customVjp((x: Scalar) => floor(x), (cotangent) => [cotangent]);
 * console.assert(item(grad((x: Scalar) => mul(round(x), 3))(scalar(1.7))) === 3);
 * ```
 */
export const customVjp = <P extends readonly AnyTensor[], A extends string>(
  f: (...args: P) => Tensor<A>,
  vjp: (cotangent: Tensor<A>, result: Tensor<A>, ...args: P) => readonly [...P],
): (...args: P) => Tensor<A> =>
(...args) =>
  boundary(
    f,
    args,
    (body) => ({
      ...body,
      kind: "customVjp",
      vjp: (cotangent, call) =>
        vjp(tensorOf(cotangent), tensorOf(call), ...call.inputs.map((x) => tensorOf(x)) as unknown as P).map(nodeOf),
      jvp: () =>
        mistake("jvp", "a function made by customVjp has a derivative backwards only; use grad, or grad of grad"),
    }),
    "refuse",
  );
