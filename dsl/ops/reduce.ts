/** @file Reductions. No axis named = all of them. */
import { node, scale, sum as total } from "../build.ts";
import { mistake, type Node } from "../node.ts";
import { axesOf, showShape, sizeOf, without } from "../shape.ts";
import { type AnyTensor, nodeOf, type Tensor, tensorOf } from "../tensor.ts";
import { add, exp, neg, type Num } from "./elementwise.ts";

/** A reduction over the axes named, or over all, of tensors of these kinds. */
export interface Reduce<Kinds extends Num> {
  /** Over all axes. */
  <A extends string, K extends Kinds>(x: Tensor<A, K>): Tensor<never, K>;
  /** Over the axes named. @throws TypeError when x lacks one */
  <A extends string, K extends Kinds, D extends A>(x: Tensor<A, K>, ...axes: [D, ...D[]]): Tensor<Exclude<A, D>, K>;
}

const overAll = (x: AnyTensor, axes: readonly string[]): readonly string[] =>
  axes.length > 0 ? axes : axesOf(nodeOf(x).shape);

/** A reduction from what it does with a node and the axes it goes over. */
const reduction =
  <Kinds extends Num>(f: (x: Node, over: readonly string[]) => Node): Reduce<Kinds> =>
  <K extends Kinds>(x: AnyTensor, ...axes: string[]) => tensorOf<never, K>(f(nodeOf(x), overAll(x, axes)));

/**
 * Sum over the axes named, or over all; integers wrap around. Long sums are added in parts, so that rounding errors
 * grow slowly.
 *
 * @throws TypeError when x lacks one of the axes
 * @example
 * ```ts
 * import { item, read, sum, tensor } from "../mod.ts";
 * const x = tensor({ batch: 2, seq: 2 }, [[1, 2], [3, 4]]);
 * console.assert(read(sum(x, "seq")).join() === "3,7" && item(sum(x)) === 10);
 * ```
 */
export const sum: Reduce<Num> = reduction(total);

/**
 * Largest element over the axes named, or over all. Equal largest ones share the gradient.
 *
 * @throws TypeError when x lacks one of the axes, or one is empty
 * @example
 * ```ts
 * import { max, read, tensor } from "../mod.ts";
 * console.assert(read(max(tensor({ batch: 2, seq: 2 }, [[1, 2], [5, 4]]), "seq")).join() === "2,5");
 * ```
 */
export const max: Reduce<Num> = reduction((x, over) => over.length === 0 ? x : node("max", [x], { over }));

/**
 * Arithmetic mean over the axes named, or over all: NaN over an empty axis.
 *
 * @throws TypeError when x lacks one of the axes
 * @example
 * ```ts
 * import { item, mean, tensor } from "../mod.ts";
 * console.assert(item(mean(tensor({ seq: 4 }, [1, 2, 3, 6]))) === 3);
 * ```
 */
export const mean: Reduce<"real"> = reduction((x, over) =>
  scale(total(x, over), sizeOf(without(x.shape, over)) / sizeOf(x.shape))
);

/**
 * log Σ exp(x) along an axis, without overflow; −∞ where all elements are.
 *
 * @throws TypeError when x lacks the axis, or it is empty
 * @example
 * ```ts
 * import { item, logSumExp, tensor } from "../mod.ts";
 * const total = item(logSumExp(tensor({ vocab: 2 }, [1000, 1000]), "vocab"));
 * console.assert(Math.abs(total - 1000 - Math.LN2) < 1e-9);
 * ```
 */
export const logSumExp = <A extends string, D extends A>(x: Tensor<A>, axis: D): Tensor<Exclude<A, D>> =>
  tensorOf(node("logSumExp", [nodeOf(x)], { over: [axis] }));

/**
 * log softmax(x) along an axis: x − log Σ exp(x). Log-probabilities in nats.
 *
 * @throws TypeError when x lacks the axis, or it is empty
 * @example
 * ```ts
 * import { logSoftmax, read, tensor } from "../mod.ts";
 * const log = read(logSoftmax(tensor({ vocab: 2 }, [5, 5]), "vocab"));
 * console.assert(log.every((each) => Math.abs(each + Math.LN2) < 1e-12));
 * ```
 */
export const logSoftmax = <A extends string>(x: Tensor<A>, axis: NoInfer<A>): Tensor<A> =>
  add(x, neg(logSumExp(x, axis as A)) as never);

/**
 * exp(x) / Σ exp(x) along an axis: probabilities that sum to 1. With a mask, see `maskedSoftmax`.
 *
 * @throws TypeError when x lacks the axis, or it is empty
 * @example
 * ```ts
 * import { read, softmax, tensor } from "../mod.ts";
 * const p = read(softmax(tensor({ vocab: 2 }, [Math.log(3), 0]), "vocab"));
 * console.assert(Math.abs(p[0] - 0.75) < 1e-12);
 * ```
 */
export const softmax = <A extends string>(x: Tensor<A>, axis: NoInfer<A>): Tensor<A> => exp(logSoftmax(x, axis));

/**
 * Sums of all elements up to and including each, along an axis; integers wrap around. Composed, not a primitive: in
 * log₂(size) steps every element adds the one 1, 2, 4, … places before it, which devices run side by side, rounds less
 * than a running sum, and has its gradient (the sums from the other end) for free.
 *
 * @throws TypeError when x lacks the axis
 * @example
 * ```ts
 * import { cumsum, read, tensor } from "../mod.ts";
 * console.assert(read(cumsum(tensor({ seq: 4 }, [1, 2, 3, 4]), "seq")).join() === "1,3,6,10");
 * ```
 */
export function cumsum<A extends string, K extends Num>(x: Tensor<A, K>, axis: NoInfer<A>): Tensor<A, K> {
  let sums = nodeOf(x);
  const size = sums.shape[axis];
  if (size === undefined) mistake("cumsum", `no axis "${axis}" in ${showShape(sums.shape)}`);
  for (let step = 1; step < size; step *= 2) {
    const earlier = node("slice", [sums], { axis, start: 0, stop: size - step });
    sums = node("add", [sums, node("pad", [earlier], { axis, before: step, after: 0 })], {});
  }
  return tensorOf(sums);
}
