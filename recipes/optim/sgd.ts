/** @file Gradient descent: W ← W − rate·(gradient + decay·W). */
import { add, mapTree, mul, type Scalar, sub } from "../../dsl/mod.ts";
import type { Optimizer } from "./optimizer.ts";

/** It keeps nothing. */
export type SgdState = Readonly<Record<never, never>>;

/** Plain gradient descent. */
export const sgd = ({ weightDecay = 0 }: { readonly weightDecay?: number } = {}): Optimizer<SgdState> => ({
  init: () => ({}),
  step: <P>(parameters: P, gradient: P, state: SgdState, rate: Scalar) => ({
    parameters: mapTree(
      (w, g) => sub(w, mul(weightDecay === 0 ? g : add(g, mul(w, weightDecay)), rate as never) as never),
      parameters,
      gradient,
    ),
    state,
  }),
});
