/** @file AdamW: Adam with decoupled weight decay (arXiv 1711.05101). */
import { add, complement, div, exp, mul, type Scalar, scalar, sqrt, square, sub, zerosLike } from "../../dsl/mod.ts";
import { type ByPath, byPath, leaves, type Optimizer, replant } from "./optimizer.ts";

/** Steps made, and running means of gradients and of their squares. */
export type AdamWState = { readonly count: Scalar; readonly mean: ByPath; readonly square: ByPath };

/** Settings; the defaults are PyTorch's, without decay. */
export interface AdamWOptions {
  /** Share of the past in the mean of gradients. */
  readonly beta1?: number;
  /** Share of the past in the mean of squares. */
  readonly beta2?: number;
  /** Added to the root of the mean square. */
  readonly epsilon?: number;
  /** Share of the weights taken off in each step, times the rate. */
  readonly weightDecay?: number;
}

/** m and v with bias correction; W ← W − rate·(m̂ / (√v̂ + ε) + decay·W). */
export function adamw({ beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0 }: AdamWOptions = {}): Optimizer<
  AdamWState
> {
  return {
    init: (parameters) => {
      const zeros = byPath(leaves(parameters), (leaf) => zerosLike(leaf));
      return { count: scalar(0), mean: zeros, square: byPath(leaves(parameters), (leaf) => zerosLike(leaf)) };
    },
    step: <P>(parameters: P, gradient: P, state: AdamWState, rate: Scalar) => {
      const count = add(state.count, 1), gradients = leaves(gradient);
      const correction = (beta: number): Scalar => complement(exp(mul(count, Math.log(beta))));
      const mean = byPath(gradients, (g, path) => add(mul(state.mean[path], beta1), mul(g, 1 - beta1)));
      const squares = byPath(gradients, (g, path) => add(mul(state.square[path], beta2), mul(square(g), 1 - beta2)));
      const first = correction(beta1), second = correction(beta2);
      const made = leaves(parameters).map(([path, w]) => {
        const direction = div(div(mean[path], first), add(sqrt(div(squares[path], second)), epsilon));
        return sub(w, mul(weightDecay === 0 ? direction : add(direction, mul(w, weightDecay)), rate));
      });
      return { parameters: replant(parameters, made), state: { count, mean, square: squares } };
    },
  };
}
