/** @file A running mean of the weights beside them: smoother than the last step's, and often better. */
import { add, complement, div, minimum, mul, type Scalar, scalar } from "../../dsl/mod.ts";
import { type ByPath, byPath, leaves, type Optimizer, replant } from "./optimizer.ts";

/** The optimiser's own state, steps made, and the mean. */
export type EmaState<S> = { readonly inner: S; readonly count: Scalar; readonly average: ByPath };

/**
 * Adds a mean of the weights to an optimiser: mean ← mean + (1 − d)·(W − mean), with d = min(decay, (1 + t)/(10 + t)) at
 * step t, so that the start is soon forgotten.
 */
export const ema = <S>(optimizer: Optimizer<S>, decay: number): Optimizer<EmaState<S>> => ({
  init: (parameters) => ({
    inner: optimizer.init(parameters),
    count: scalar(0),
    average: byPath(leaves(parameters), (leaf) => mul(leaf, 1)),
  }),
  step: <P>(parameters: P, gradient: P, { inner, count, average }: EmaState<S>, rate: Scalar) => {
    const made = optimizer.step(parameters, gradient, inner, rate), next = add(count, 1);
    const past = minimum(div(add(next, 1), add(next, 10)), decay);
    return {
      parameters: made.parameters,
      state: {
        inner: made.state,
        count: next,
        average: byPath(leaves(made.parameters), (w, path) => add(mul(average[path], past), mul(w, complement(past)))),
      },
    };
  },
});

/** The mean, as a tree like the parameters. */
export const averageOf = <P, S>(parameters: P, { average }: EmaState<S>): P =>
  replant(parameters, leaves(parameters).map(([path]) => average[path]));
