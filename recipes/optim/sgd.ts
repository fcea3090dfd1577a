/** @file Gradient descent with momentum: v ← m·v + gradient + decay·W; W ← W − rate·v. */
import { add, mul, type Scalar, sub, zerosLike } from "../../dsl/mod.ts";
import { type ByPath, byPath, leaves, type Optimizer, replant } from "./optimizer.ts";

/** The running sum of gradients; without momentum nothing is kept. */
export type SgdState = { readonly velocity?: ByPath };

/** Settings; the defaults are plain descent. */
export interface SgdOptions {
  /** Share of the velocity that stays. */
  readonly momentum?: number;
  /** Look ahead: go along gradient + momentum·velocity (Nesterov). */
  readonly nesterov?: boolean;
  /** Share of the weights added to the gradient. */
  readonly weightDecay?: number;
}

/** As torch's SGD without dampening. */
export const sgd = (
  { momentum = 0, nesterov = false, weightDecay = 0 }: SgdOptions = {},
): Optimizer<SgdState> => ({
  init: (parameters) => momentum === 0 ? {} : { velocity: byPath(leaves(parameters), (leaf) => zerosLike(leaf)) },
  step: <P>(parameters: P, gradient: P, { velocity: old }: SgdState, rate: Scalar) => {
    const weights = Object.fromEntries(leaves(parameters));
    const slope = byPath(
      leaves(gradient),
      (g, path) => weightDecay === 0 ? g : add(g, mul(weights[path], weightDecay)),
    );
    const velocity = old && byPath(Object.entries(slope), (g, path) => add(mul(old[path], momentum), g));
    const made = leaves(parameters).map(([path, w]) => {
      const ahead = velocity && (nesterov ? add(slope[path], mul(velocity[path], momentum)) : velocity[path]);
      return sub(w, mul(ahead ?? slope[path], rate));
    });
    return { parameters: replant(parameters, made), state: velocity ? { velocity } : {} };
  },
});
