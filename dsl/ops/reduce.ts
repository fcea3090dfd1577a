/** @file Reductions. No axis named = all of them. */
import { node, scale, sum as total } from "../build.ts";
import { axesOf, sizeOf, without } from "../shape.ts";
import { type AnyTensor, nodeOf, type Scalar, type Tensor, tensorOf } from "../tensor.ts";
import { add, exp, neg } from "./elementwise.ts";

/** A reduction over the axes named, or over all. */
export interface Reduce {
  /** Over all axes. */
  <A extends string>(x: Tensor<A>): Scalar;
  /** Over the axes named. @throws TypeError when x lacks one */
  <A extends string, D extends A>(x: Tensor<A>, ...axes: [D, ...D[]]): Tensor<Exclude<A, D>>;
}

const overAll = (x: AnyTensor, axes: readonly string[]): readonly string[] => axes.length > 0 ? axes : axesOf(nodeOf(x).shape);

/** Sum over axes. */
export const sum: Reduce = (x: AnyTensor, ...axes: string[]) => tensorOf<never, "real">(total(nodeOf(x), overAll(x, axes)));

/** Largest element. Equal largest ones share the gradient. @throws TypeError on an empty axis */
export const max: Reduce = (x: AnyTensor, ...axes: string[]) =>
  tensorOf<never, "real">(
    axesOf(nodeOf(x).shape).length === 0 ? nodeOf(x) : node("max", [nodeOf(x)], { over: overAll(x, axes) }),
  );

/** Arithmetic mean over axes. */
export const mean: Reduce = (x: AnyTensor, ...axes: string[]) => {
  const over = overAll(x, axes), { shape } = nodeOf(x);
  return tensorOf<never, "real">(scale(total(nodeOf(x), over), sizeOf(without(shape, over)) / sizeOf(shape)));
};

/** log Σ exp(x) along an axis, without overflow. */
export const logSumExp = <A extends string, D extends A>(x: Tensor<A>, axis: D): Tensor<Exclude<A, D>> =>
  tensorOf(node("logSumExp", [nodeOf(x)], { over: [axis] }));

/** log softmax(x) along an axis: x − log Σ exp(x). */
export const logSoftmax = <A extends string>(x: Tensor<A>, axis: NoInfer<A>): Tensor<A> =>
  add(x, neg(logSumExp(x, axis as A)) as never);

/** exp(x) / Σ exp(x) along an axis. */
export const softmax = <A extends string>(x: Tensor<A>, axis: NoInfer<A>): Tensor<A> => exp(logSoftmax(x, axis));
