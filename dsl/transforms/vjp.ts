/** @file Reverse-mode differentiation of functions whose result is any tree, not only a loss. */
import { fill } from "../build.ts";
import { isReal } from "../primitive.ts";
import { substitute } from "../substitute.ts";
import { leavesOf, refill } from "../tree.ts";
import { backward } from "./reverse.ts";
import { alignedLeaves, variableLike } from "./variable.ts";

/**
 * A function's result, and how cotangents of the result are pulled back to its parameters: c ↦ cᵀ·∂f(p). `grad` is
 * this for a scalar with cotangent 1. `pull` may be called several times; it only writes the backward pass.
 *
 * The cotangent is a tree like the result. Leaves that are no real numbers (indices, masks) carry none: theirs are not
 * looked at, and those in the parameters come back as zero.
 *
 * @param f a function whose first argument is a tree of parameters, and whose result is a tree
 * @returns a function of the same arguments
 * @throws TypeError when a tensor occurs twice in the parameters; from `pull`, when result and cotangent differ in axes
 * or sizes
 * @example
 * ```ts
 * import { mul, read, tensor, type Tensor, vjp } from "../mod.ts";
 * const { value, pull } = vjp((x: Tensor<"seq">) => mul(x, x))(tensor({ seq: 2 }, [3, 4]));
 * console.assert(read(value).join() === "9,16");
 * console.assert(read(pull(tensor({ seq: 2 }, [1, 10]))).join() === "6,80");
 * ```
 */
export function vjp<P, R extends readonly unknown[], V>(
  f: (parameters: P, ...rest: R) => V,
): (parameters: P, ...rest: R) => { readonly value: V; readonly pull: (cotangent: V) => P } {
  return (parameters, ...rest) => {
    const given = leavesOf(parameters, "vjp"), fresh = given.map(variableLike);
    const result = f(refill(parameters, fresh), ...rest), values = leavesOf(result, undefined);
    const inGiven = new Map(fresh.map((variable, i) => [variable, given[i]]));
    return {
      value: refill(result, substitute(values, inGiven)),
      pull: (cotangent) => {
        const cotangents = alignedLeaves("vjp", values, cotangent);
        const real = values.map((_, i) => i).filter((i) => isReal(values[i]));
        const gradients = backward(real.map((i) => values[i]), real.map((i) => cotangents[i]), fresh);
        return refill(
          parameters,
          substitute(gradients.map((each, i) => isReal(fresh[i]) ? each : fill(0, fresh[i])), inGiven),
        );
      },
    };
  };
}
