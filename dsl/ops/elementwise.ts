/** @file Elementwise operations: the first operand owns the axes, every other one fits into it. */
import { into, node } from "../build.ts";
import type { Node, Op } from "../node.ts";
import { isReal } from "../primitive.ts";
import type { DType, In, Kind, KindOf, Operand, Tensor } from "../tensor.ts";
import { nodeOf, tensorOf } from "../tensor.ts";

/** Kinds that have arithmetic. */
export type Num = "real" | "int";
/** One operand. */
export type Unary = <A extends string>(x: Tensor<A>) => Tensor<A>;
/** The first owns the axes, the others fit into it. */
export type Variadic = <A extends string, K extends Num>(x: Tensor<A, K>, ...ys: In<A, NoInfer<K>>[]) => Tensor<A, K>;
/** A combination of bools, or of the bits of whole numbers. */
export type Combine = <A extends string, K extends "bool" | "int">(
  x: Tensor<A, K>,
  y: (K extends "int" ? number : never) | Operand<NoInfer<A>, NoInfer<K>>,
) => Tensor<A, K>;
/** A comparison. */
export type Compare = <A extends string, K extends Num>(x: Tensor<A, K>, y: In<A, NoInfer<K>>) => Tensor<A, "bool">;

const side = (op: string, like: Node, y: number | Operand<string, Kind>): Node =>
  into(op, like, typeof y === "number" ? y : nodeOf(y));
const variadic = (f: (all: Node, y: number | Operand<string, Kind>) => Node): Variadic => (x, ...ys) =>
  tensorOf(ys.reduce(f, nodeOf(x)));
const fold = (op: "add" | "mul" | "maximum"): Variadic => variadic((all, y) => node(op, [all, side(op, all, y)], {}));
type UnaryOp = Extract<
  Op,
  "neg" | "exp" | "log" | "recip" | "sqrt" | "sin" | "cos" | "sinh" | "tanh" | "erf" | "floor" | "stop"
>;
const map = (op: UnaryOp): Unary => (x) => tensorOf(node(op, [nodeOf(x)], {}));
const combine = (op: "and" | "or"): Combine => (x, y) => tensorOf(node(op, [nodeOf(x), side(op, nodeOf(x), y)], {}));
const compare = (op: "less" | "equal"): Compare => (x, y) =>
  tensorOf(node(op, [nodeOf(x), side(op, nodeOf(x), y)], {}));

/**
 * x + y + …. The first operand owns the axes, every other one fits into them; integers wrap around.
 *
 * @throws TypeError when an operand has an axis that x lacks, or another size or storage
 * @example
 * ```ts
 * import { add, read, tensor } from "../mod.ts";
 * const x = tensor({ seq: 2, embed: 2 }, [[1, 2], [3, 4]]), bias = tensor({ embed: 2 }, [10, 20]);
 * console.assert(read(add(x, bias, 1)).join() === "12,23,14,25");
 * ```
 */
export const add: Variadic = fold("add");
/**
 * x · y · …. The first operand owns the axes, every other one fits into them; integers wrap around.
 *
 * @throws TypeError when an operand has an axis that x lacks, or another size or storage
 * @example
 * ```ts
 * import { mul, read, tensor } from "../mod.ts";
 * console.assert(read(mul(tensor({ seq: 2 }, [3, 4]), 2)).join() === "6,8");
 * ```
 */
export const mul: Variadic = fold("mul");
/**
 * The largest of x, y, …, elementwise. Where several are equal, the gradient goes to the first of them.
 *
 * @throws TypeError when an operand has an axis that x lacks, or another size or storage
 * @example
 * ```ts
 * import { maximum, read, tensor } from "../mod.ts";
 * console.assert(read(maximum(tensor({ seq: 2 }, [-3, 4]), 0)).join() === "0,4");
 * ```
 */
export const maximum: Variadic = fold("maximum");
/**
 * x − y, of reals or of integers, which wrap around.
 *
 * @throws TypeError when y has an axis that x lacks, or another size or storage
 * @example
 * ```ts
 * import { read, sub, tensor } from "../mod.ts";
 * console.assert(read(sub(tensor({ seq: 2 }, [3, 4]), tensor({}, [1]))).join() === "2,3");
 * ```
 */
export function sub<A extends string, K extends Num>(x: Tensor<A, K>, y: In<A, NoInfer<K>>): Tensor<A, K> {
  return tensorOf(node("add", [nodeOf(x), node("neg", [side("sub", nodeOf(x), y)], {})], {}));
}
/**
 * x / y.
 *
 * @throws TypeError when y has an axis that x lacks, or another size or storage
 * @example
 * ```ts
 * import { div, read, tensor } from "../mod.ts";
 * console.assert(read(div(tensor({ seq: 2 }, [3, 4]), 2)).join() === "1.5,2");
 * ```
 */
export function div<A extends string>(x: Tensor<A>, y: In<A>): Tensor<A> {
  if (typeof y === "number") return mul(x, 1 / y);
  return tensorOf(node("mul", [nodeOf(x), node("recip", [side("div", nodeOf(x), y)], {})], {}));
}
/**
 * The smallest of x, y, …, elementwise. Where several are equal, the gradient goes to the first of them.
 *
 * @throws TypeError when an operand has an axis that x lacks, or another size or storage
 * @example
 * ```ts
 * import { minimum, read, tensor } from "../mod.ts";
 * console.assert(read(minimum(tensor({ seq: 2 }, [-3, 4]), 0, 2)).join() === "-3,0");
 * ```
 */
export const minimum: Variadic = variadic((least, y) => {
  const other = side("minimum", least, y);
  // A NaN on either side is the result, as it is of `maximum`; and −(−2³¹) would be no i32.
  return isReal(least)
    ? node("neg", [node("maximum", [node("neg", [least], {}), node("neg", [other], {})], {})], {})
    : node("where", [node("less", [other, least], {}), other, least], {});
});
/**
 * −x. Integers wrap around.
 *
 * @example
 * ```ts
 * import { neg, item, scalar } from "../mod.ts";
 * console.assert(item(neg(scalar(2))) === -2);
 * ```
 */
export const neg = <A extends string, K extends Num>(x: Tensor<A, K>): Tensor<A, K> =>
  tensorOf(node("neg", [nodeOf(x)], {}));
/**
 * e to the power of x: 0 far below zero, ∞ above 88.7 in f32.
 *
 * @example
 * ```ts
 * import { exp, item, scalar } from "../mod.ts";
 * console.assert(Math.abs(item(exp(scalar(1))) - Math.E) < 1e-12);
 * ```
 */
export const exp: Unary = map("exp");
/**
 * Natural logarithm: −∞ at 0, NaN below.
 *
 * @example
 * ```ts
 * import { log, item, scalar } from "../mod.ts";
 * console.assert(Math.abs(item(log(scalar(10))) - Math.LN10) < 1e-12);
 * ```
 */
export const log: Unary = map("log");
/**
 * 1 / x.
 *
 * @example
 * ```ts
 * import { recip, item, scalar } from "../mod.ts";
 * console.assert(item(recip(scalar(4))) === 0.25);
 * ```
 */
export const recip: Unary = map("recip");
/**
 * Square root: NaN below 0. Its gradient at 0 is infinite.
 *
 * @example
 * ```ts
 * import { sqrt, item, scalar } from "../mod.ts";
 * console.assert(item(sqrt(scalar(9))) === 3);
 * ```
 */
export const sqrt: Unary = map("sqrt");
/**
 * Sine of an angle in radians.
 *
 * @example
 * ```ts
 * import { sin, item, scalar } from "../mod.ts";
 * console.assert(Math.abs(item(sin(scalar(Math.PI / 6))) - 0.5) < 1e-12);
 * ```
 */
export const sin: Unary = map("sin");
/**
 * Cosine of an angle in radians.
 *
 * @example
 * ```ts
 * import { cos, item, scalar } from "../mod.ts";
 * console.assert(Math.abs(item(cos(scalar(Math.PI / 3))) - 0.5) < 1e-12);
 * ```
 */
export const cos: Unary = map("cos");
/**
 * Hyperbolic sine, (eˣ − e⁻ˣ) / 2.
 *
 * @example
 * ```ts
 * import { sinh, item, scalar } from "../mod.ts";
 * console.assert(Math.abs(item(sinh(scalar(1))) - Math.sinh(1)) < 1e-12);
 * ```
 */
export const sinh: Unary = map("sinh");
/**
 * Hyperbolic tangent: −1 … 1.
 *
 * @example
 * ```ts
 * import { tanh, item, scalar } from "../mod.ts";
 * console.assert(Math.abs(item(tanh(scalar(1))) - Math.tanh(1)) < 1e-12);
 * ```
 */
export const tanh: Unary = map("tanh");
/**
 * Error function, 2/√π · ∫₀ˣ exp(−t²) dt: −1 … 1.
 *
 * @example
 * ```ts
 * import { erf, item, scalar } from "../mod.ts";
 * console.assert(Math.abs(item(erf(scalar(0.5))) - 0.5204998778130465) < 1e-12);
 * ```
 */
export const erf: Unary = map("erf");
/**
 * Largest whole number that is not larger. Its gradient is 0.
 *
 * @example
 * ```ts
 * import { floor, item, scalar } from "../mod.ts";
 * console.assert(item(floor(scalar(-1.5))) === -2);
 * ```
 */
export const floor: Unary = map("floor");
/**
 * x; no gradient flows through it, in either direction.
 *
 * @example
 * ```ts
 * import { grad, item, mul, type Scalar, scalar, stopGradient } from "../mod.ts";
 * const slope = grad((x: Scalar) => mul(x, stopGradient(x)))(scalar(3));
 * console.assert(item(slope) === 3);
 * ```
 */
export const stopGradient: Unary = map("stop");
/**
 * x².
 *
 * @example
 * ```ts
 * import { square, item, scalar } from "../mod.ts";
 * console.assert(item(square(scalar(-3))) === 9);
 * ```
 */
export function square<A extends string>(x: Tensor<A>): Tensor<A> {
  return mul(x, x);
}
/**
 * 1 / √x.
 *
 * @example
 * ```ts
 * import { rsqrt, item, scalar } from "../mod.ts";
 * console.assert(item(rsqrt(scalar(4))) === 0.5);
 * ```
 */
export function rsqrt<A extends string>(x: Tensor<A>): Tensor<A> {
  return recip(sqrt(x));
}
/**
 * 1 / (1 + e⁻ˣ): 0 … 1.
 *
 * @example
 * ```ts
 * import { sigmoid, item, scalar } from "../mod.ts";
 * console.assert(item(sigmoid(scalar(0))) === 0.5);
 * ```
 */
export function sigmoid<A extends string>(x: Tensor<A>): Tensor<A> {
  return recip(add(exp(neg(x)), 1));
}
/**
 * x · sigmoid(x), also called swish (arXiv 1702.03118).
 *
 * @example
 * ```ts
 * import { silu, item, scalar } from "../mod.ts";
 * console.assert(Math.abs(item(silu(scalar(1))) - 0.7310585786300049) < 1e-12);
 * ```
 */
export function silu<A extends string>(x: Tensor<A>): Tensor<A> {
  return mul(x, sigmoid(x));
}
/**
 * x · P(a standard normal number < x) = x · (1 + erf(x/√2)) / 2, the Gaussian error linear unit (arXiv 1606.08415),
 * exactly and not by its approximation with tanh.
 *
 * @example
 * ```ts
 * import { gelu, item, scalar } from "../mod.ts";
 * console.assert(Math.abs(item(gelu(scalar(1))) - 0.8413447460685429) < 1e-15);
 * ```
 */
export function gelu<A extends string>(x: Tensor<A>): Tensor<A> {
  return mul(x, add(erf(mul(x, Math.SQRT1_2)), 1), 0.5);
}
/**
 * 1 − x.
 *
 * @example
 * ```ts
 * import { complement, item, scalar } from "../mod.ts";
 * console.assert(item(complement(scalar(0.25))) === 0.75);
 * ```
 */
export function complement<A extends string>(x: Tensor<A>): Tensor<A> {
  return add(neg(x), 1);
}
/**
 * |x|. Its gradient at 0 is 1.
 *
 * @example
 * ```ts
 * import { abs, item, scalar } from "../mod.ts";
 * console.assert(item(abs(scalar(-3))) === 3);
 * ```
 */
export function abs<A extends string>(x: Tensor<A>): Tensor<A> {
  return maximum(x, neg(x));
}
/**
 * log(1 + eˣ), without overflow: max(x, 0) + log(1 + e^−|x|).
 *
 * @example
 * ```ts
 * import { softplus, item, scalar } from "../mod.ts";
 * console.assert(Math.abs(item(softplus(scalar(0))) - Math.LN2) < 1e-12);
 * ```
 */
export function softplus<A extends string>(x: Tensor<A>): Tensor<A> {
  return add(log(add(exp(neg(abs(x))), 1)), maximum(x, 0));
}
/**
 * x < y. False where either is NaN.
 *
 * @throws TypeError when y has an axis that x lacks, or another size or storage
 * @example
 * ```ts
 * import { less, read, tensor } from "../mod.ts";
 * console.assert(read(less(tensor({ seq: 2 }, [1, 3]), 2)).join() === "1,0");
 * ```
 */
export const less: Compare = compare("less");
/**
 * x = y. False where either is NaN.
 *
 * @throws TypeError when y has an axis that x lacks, or another size or storage
 * @example
 * ```ts
 * import { equal, read, tensor } from "../mod.ts";
 * console.assert(read(equal(tensor({ seq: 2 }, [1, 2]), 2)).join() === "0,1");
 * ```
 */
export const equal: Compare = compare("equal");
/**
 * Both: of bools, or bit by bit of whole numbers.
 *
 * @throws TypeError when y has an axis that x lacks, or another size or storage
 * @example
 * ```ts
 * import { and, less, not, read, tensor } from "../mod.ts";
 * const x = tensor({ seq: 3 }, [1, 2, 3]);
 * console.assert(read(and(less(x, 3), not(less(x, 2)))).join() === "0,1,0");
 * console.assert(read(and(tensor({ seq: 2 }, [12, 7], "u32"), 10)).join() === "8,2");
 * ```
 */
export const and: Combine = combine("and");
/**
 * Either: of bools, or bit by bit of whole numbers.
 *
 * @throws TypeError when y has an axis that x lacks, or another size or storage
 * @example
 * ```ts
 * import { less, not, or, read, tensor } from "../mod.ts";
 * const x = tensor({ seq: 3 }, [1, 2, 3]);
 * console.assert(read(or(less(x, 2), not(less(x, 3)))).join() === "1,0,1");
 * ```
 */
export const or: Combine = combine("or");
/**
 * The other one, of bools.
 *
 * @example
 * ```ts
 * import { less, not, read, tensor } from "../mod.ts";
 * console.assert(read(not(less(tensor({ seq: 2 }, [1, 3]), 2))).join() === "0,1");
 * ```
 */
export const not = <A extends string>(x: Tensor<A, "bool">): Tensor<A, "bool"> =>
  tensorOf(node("not", [nodeOf(x)], {}));

/**
 * x where `keep` is true, else y. What is not chosen counts for nothing: a NaN there does not spread, and no gradient
 * flows there.
 *
 * @throws TypeError when `keep` or `y` has an axis that x lacks
 * @example
 * ```ts
 * import { less, read, tensor, where } from "../mod.ts";
 * const x = tensor({ seq: 3 }, [1, NaN, 3]), keep = less(tensor({ seq: 3 }, [0, 9, 0]), 5);
 * console.assert(read(where(keep, x, -1)).join() === "1,-1,3");
 * ```
 */
export const where = <A extends string, K extends Num>(
  keep: Operand<NoInfer<A>, "bool">,
  x: Tensor<A, K>,
  y: In<A, NoInfer<K>>,
): Tensor<A, K> =>
  tensorOf(node("where", [side("where", nodeOf(x), keep), nodeOf(x), side("where", nodeOf(x), y)], {}));

/**
 * Another storage type. Real to integer truncates and saturates (NaN is 0), between i32 and u32 bits are kept, anything
 * to bool is "not zero". Gradients pass between reals.
 *
 * @example
 * ```ts
 * import { cast, read, tensor } from "../mod.ts";
 * console.assert(read(cast(tensor({ seq: 2 }, [-1.5, 2.5]), "i32")).join() === "-1,2");
 * ```
 */
export const cast = <A extends string, D extends DType>(x: Tensor<A, Kind>, dtype: D): Tensor<A, KindOf<D>> =>
  tensorOf(nodeOf(x).dtype === dtype ? nodeOf(x) : node("cast", [nodeOf(x)], { dtype }));
