/** @file What an optimiser is: a pair of pure functions on trees. */
import { add, div, mapTree, minimum, mul, type Scalar, scalar, sqrt, square, sum, type Tensor } from "../../dsl/mod.ts";
import { entriesOf, refill } from "../../dsl/tree.ts";
import { nodeOf, tensorOf } from "../../dsl/tensor.ts";

/** Starts a state, and makes one step. The rate is data: a schedule changes it without another compilation. */
export interface Optimizer<S> {
  /** The state before the first step. */
  init<P>(parameters: P): S;
  /** Parameters and state after a step down the gradient; `chance` is for who rounds by it. */
  step<P>(
    parameters: P,
    gradient: P,
    state: S,
    rate: Scalar,
    chance?: Chance,
  ): { readonly parameters: P; readonly state: S };
}

/** 32 random bits for each leaf that is rounded by chance, by its path; others for each step. */
export type Chance = Readonly<Record<string, Tensor<never, "int">>>;

/** A tensor for each of some leaves, by the leaf's path. */
export type ByPath = Readonly<Record<string, Tensor<string>>>;

/** A leaf with its path. */
export type Entry = readonly [path: string, leaf: Tensor<string>];

/** Every leaf of a tree with its path. */
export const leaves = (tree: unknown): Entry[] =>
  entriesOf(tree).map(([path, leaf]) => [path, tensorOf<string, "real">(leaf)]);

/** The same tree with other leaves, in the order of `leaves`. */
export const replant = <P>(tree: P, made: readonly Tensor<string>[]): P => refill(tree, made.map(nodeOf));

/** A value for each leaf that `f` gives one. */
export const byPath = (
  entries: readonly Entry[],
  f: (leaf: Tensor<string>, path: string) => Tensor<string> | null,
): ByPath =>
  Object.fromEntries(entries.flatMap(([path, leaf]) => {
    const made = f(leaf, path);
    return made ? [[path, made]] : [];
  }));

/** √Σ x² over all leaves. */
export function globalNorm(tree: unknown): Scalar {
  const [first, ...rest] = leaves(tree).map(([, leaf]) => sum(square(leaf)));
  return sqrt(add(first, ...rest));
}

/** The gradient, scaled down where its global norm exceeds `limit`, and that norm. */
export function clip<P>(gradient: P, limit: number): { readonly gradient: P; readonly norm: Scalar } {
  const norm = globalNorm(gradient), factor = minimum(div(scalar(limit), add(norm, 1e-6)), 1);
  return { gradient: mapTree((each) => mul(each, factor as never), gradient), norm };
}
