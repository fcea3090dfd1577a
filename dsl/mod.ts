/** @file The language: tensors whose axes have names, as a pure, differentiable expression graph. */
import "./display/mod.ts";
import "./primitives/mod.ts";

export * from "./errors.ts";
export type {
  AnyTensor,
  DType,
  In,
  Kind,
  KindOf,
  Operand,
  Scalar,
  Sizes,
  Stacked,
  Tensor,
  Unstacked,
} from "./tensor.ts";
export * from "./ops/making.ts";
export * from "./ops/elementwise.ts";
export * from "./ops/bits.ts";
export * from "./ops/structure.ts";
export * from "./ops/reduce.ts";
export * from "./ops/products.ts";
export * from "./ops/indexing.ts";
export { argsort } from "./ops/sort.ts";
export {
  bernoulli,
  bits,
  categorical,
  fold,
  type Key,
  key,
  normal,
  permutation,
  split,
  uniform,
} from "./ops/random.ts";
export { roundByChance } from "./ops/rounding.ts";
export * from "./ops/reading.ts";
export { atTree, entries, mapTree, mix, stack } from "./tree.ts";
export { grad, valueAndGrad, valueAndGradWith } from "./transforms/grad.ts";
export { vjp } from "./transforms/vjp.ts";
export { jvp } from "./transforms/jvp.ts";
export { checkpoint } from "./transforms/checkpoint.ts";
export { customVjp } from "./transforms/custom_vjp.ts";
export { parse, type Parsed } from "./text/parse.ts";
export { leavesIn, show } from "./text/show.ts";
export * from "./nn/layers.ts";
export * from "./nn/rope.ts";
export * from "./nn/loss.ts";
