/** @file Lion (arXiv 2302.06675): every weight moves by the rate, in the direction of a running mean's sign. */
import { add, less, mul, neg, type Scalar, sub, type Tensor, where, zerosLike } from "../../dsl/mod.ts";
import { type ByPath, byPath, leaves, type Optimizer, replant } from "./optimizer.ts";

/** Running means of gradients. */
export type LionState = { readonly momentum: ByPath };

/** Settings; the defaults are the paper's. Rates are to be 3 to 10 times smaller than AdamW's, decay as much larger. */
export interface LionOptions {
  /** Share of the past in the direction of this step. */
  readonly beta1?: number;
  /** Share of the past in what is kept. */
  readonly beta2?: number;
  /** Share of the weights taken off in each step, times the rate. */
  readonly weightDecay?: number;
}

const sign = (x: Tensor<string>): Tensor<string> => {
  const zero = zerosLike(x), one = add(zero, 1);
  return where(less(zero, x), one, where(less(x, zero), neg(one), zero));
};

/** W ← W − rate·(sign(β₁·m + (1 − β₁)·g) + decay·W); m ← β₂·m + (1 − β₂)·g. */
export const lion = ({ beta1 = 0.9, beta2 = 0.99, weightDecay = 0 }: LionOptions = {}): Optimizer<LionState> => ({
  init: (parameters) => ({ momentum: byPath(leaves(parameters), (leaf) => zerosLike(leaf)) }),
  step: <P>(parameters: P, gradient: P, { momentum: old }: LionState, rate: Scalar) => {
    const gradients = Object.fromEntries(leaves(gradient));
    const mixed = (beta: number, path: string): Tensor<string> =>
      add(mul(old[path], beta), mul(gradients[path], 1 - beta));
    const made = leaves(parameters).map(([path, w]) => {
      const direction = sign(mixed(beta1, path));
      return sub(w, mul(weightDecay === 0 ? direction : add(direction, mul(w, weightDecay)), rate));
    });
    return {
      parameters: replant(parameters, made),
      state: { momentum: byPath(leaves(gradient), (_, path) => mixed(beta2, path)) },
    };
  },
});
