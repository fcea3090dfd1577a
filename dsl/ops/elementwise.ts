/** @file Elementwise operations: the first operand owns the axes, every other one fits into it. */
import { into, node } from "../build.ts";
import type { Node, Op } from "../node.ts";
import type { DType, In, Kind, KindOf, Operand, Tensor } from "../tensor.ts";
import { nodeOf, tensorOf } from "../tensor.ts";

/** Kinds that have arithmetic. */
export type Num = "real" | "int";
/** One operand. */
export type Unary = <A extends string>(x: Tensor<A>) => Tensor<A>;
/** The first owns the axes, the others fit into it. */
export type Variadic = <A extends string, K extends Num>(x: Tensor<A, K>, ...ys: In<A, NoInfer<K>>[]) => Tensor<A, K>;
/** A comparison. */
export type Compare = <A extends string, K extends Num>(x: Tensor<A, K>, y: In<A, NoInfer<K>>) => Tensor<A, "bool">;

const side = (op: string, like: Node, y: number | Operand<string, Kind>): Node =>
  into(op, like, typeof y === "number" ? y : nodeOf(y));
const fold = (name: string, op: "add" | "mul" | "maximum"): Variadic => (x, ...ys) =>
  tensorOf(ys.reduce((sum: Node, y) => node(op, [sum, side(name, sum, y)], {}), nodeOf(x)));
type UnaryOp = Extract<
  Op,
  "neg" | "exp" | "log" | "recip" | "sqrt" | "sin" | "cos" | "sinh" | "tanh" | "erf" | "floor" | "stop"
>;
const map = (op: UnaryOp): Unary => (x) => tensorOf(node(op, [nodeOf(x)], {}));
const compare = (op: "less" | "equal"): Compare => (x, y) =>
  tensorOf(node(op, [nodeOf(x), side(op, nodeOf(x), y)], {}));

/** x + y + …. Integers wrap around. */
export const add: Variadic = fold("add", "add");
/** x · y · …. Integers wrap around. */
export const mul: Variadic = fold("mul", "mul");
/** The largest of x, y, …, elementwise. */
export const maximum: Variadic = fold("maximum", "maximum");
/** x − y. */
export function sub<A extends string>(x: Tensor<A>, y: In<A>): Tensor<A> {
  if (typeof y === "number") return add(x, -y);
  return tensorOf(node("add", [nodeOf(x), node("neg", [side("sub", nodeOf(x), y)], {})], {}));
}
/** x / y. */
export function div<A extends string>(x: Tensor<A>, y: In<A>): Tensor<A> {
  if (typeof y === "number") return mul(x, 1 / y);
  return tensorOf(node("mul", [nodeOf(x), node("recip", [side("div", nodeOf(x), y)], {})], {}));
}
/** The smallest of two, elementwise. */
export function minimum<A extends string>(x: Tensor<A>, y: In<A>): Tensor<A> {
  return neg(maximum(neg(x), typeof y === "number" ? -y : neg(y as Tensor<A>)));
}
/** −x. */
export const neg: Unary = map("neg");
/** e to the power of x. */
export const exp: Unary = map("exp");
/** Natural logarithm. */
export const log: Unary = map("log");
/** 1 / x. */
export const recip: Unary = map("recip");
/** Square root. */
export const sqrt: Unary = map("sqrt");
/** Sine of radians. */
export const sin: Unary = map("sin");
/** Cosine of radians. */
export const cos: Unary = map("cos");
/** Hyperbolic sine. */
export const sinh: Unary = map("sinh");
/** Hyperbolic tangent. */
export const tanh: Unary = map("tanh");
/** Error function. */
export const erf: Unary = map("erf");
/** Largest whole number that is not larger. */
export const floor: Unary = map("floor");
/** x; gradients do not flow through it. */
export const stopGradient: Unary = map("stop");
/** x². */
export function square<A extends string>(x: Tensor<A>): Tensor<A> {
  return mul(x, x);
}
/** 1 / √x. */
export function rsqrt<A extends string>(x: Tensor<A>): Tensor<A> {
  return recip(sqrt(x));
}
/** 1 / (1 + e^−x). */
export function sigmoid<A extends string>(x: Tensor<A>): Tensor<A> {
  return recip(add(exp(neg(x)), 1));
}
/** x · sigmoid(x). */
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
/** 1 − x. */
export function complement<A extends string>(x: Tensor<A>): Tensor<A> {
  return add(neg(x), 1);
}
/** |x|. */
export function abs<A extends string>(x: Tensor<A>): Tensor<A> {
  return maximum(x, neg(x));
}
/** log(1 + eˣ), without overflow: max(x, 0) + log(1 + e^−|x|). */
export function softplus<A extends string>(x: Tensor<A>): Tensor<A> {
  return add(log(add(exp(neg(abs(x))), 1)), maximum(x, 0));
}
/** x < y. */
export const less: Compare = compare("less");
/** x = y. */
export const equal: Compare = compare("equal");
/** Both, of bools. */
export const and = <A extends string>(x: Tensor<A, "bool">, y: Operand<NoInfer<A>, "bool">): Tensor<A, "bool"> =>
  tensorOf(node("and", [nodeOf(x), side("and", nodeOf(x), y)], {}));
/** Either, of bools. */
export const or = <A extends string>(x: Tensor<A, "bool">, y: Operand<NoInfer<A>, "bool">): Tensor<A, "bool"> =>
  tensorOf(node("or", [nodeOf(x), side("or", nodeOf(x), y)], {}));
/** The other one, of bools. */
export const not = <A extends string>(x: Tensor<A, "bool">): Tensor<A, "bool"> =>
  tensorOf(node("not", [nodeOf(x)], {}));

/**
 * x where `keep` is true, else y.
 *
 * @throws TypeError when `keep` or `y` has an axis that x lacks
 */
export const where = <A extends string, K extends Num>(
  keep: Operand<NoInfer<A>, "bool">,
  x: Tensor<A, K>,
  y: In<A, NoInfer<K>>,
): Tensor<A, K> =>
  tensorOf(node("where", [side("where", nodeOf(x), keep), nodeOf(x), side("where", nodeOf(x), y)], {}));

/** Another storage type: real to integer truncates, anything to bool is "not zero". */
export const cast = <A extends string, D extends DType>(x: Tensor<A, Kind>, dtype: D): Tensor<A, KindOf<D>> =>
  tensorOf(nodeOf(x).dtype === dtype ? nodeOf(x) : node("cast", [nodeOf(x)], { dtype }));
