/** @file Parts of a model with learning rates of their own; frozen parts keep still and cost neither gradient nor state. */
import { mul, type Scalar } from "../../dsl/mod.ts";
import { type ByPath, byPath, leaves, type Optimizer, replant } from "./optimizer.ts";

/** The state of each group, by its factor. */
export type GroupedState<S> = Readonly<Record<string, S>>;

/**
 * Gives each leaf its own multiple of the rate.
 *
 * @param optimizer what steps each group
 * @param factorOf the multiple of a leaf, by its path; 0 freezes it
 */
export function grouped<S>(optimizer: Optimizer<S>, factorOf: (path: string) => number): Optimizer<GroupedState<S>> {
  const part = (tree: unknown, factor: number): ByPath =>
    byPath(leaves(tree), (leaf, path) => factorOf(path) === factor ? leaf : null);
  const factors = (tree: unknown): number[] =>
    [...new Set(leaves(tree).map(([path]) => factorOf(path)))].filter((factor) => factor !== 0);
  return {
    init: (parameters) =>
      Object.fromEntries(factors(parameters).map((factor) => [factor, optimizer.init(part(parameters, factor))])),
    step: <P>(parameters: P, gradient: P, state: GroupedState<S>, rate: Scalar) => {
      const made = factors(parameters).map((factor) => {
        const own = factor === 1 ? rate : mul(rate, factor);
        return [factor, optimizer.step(part(parameters, factor), part(gradient, factor), state[factor], own)] as const;
      });
      const stepped: ByPath = Object.assign({}, ...made.map(([, { parameters }]) => parameters));
      return {
        parameters: replant(parameters, leaves(parameters).map(([path, leaf]) => stepped[path] ?? leaf)),
        state: Object.fromEntries(made.map(([factor, { state }]) => [factor, state])),
      };
    },
  };
}
