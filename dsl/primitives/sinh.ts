/** @file sinh: the hyperbolic sine, (eˣ − e⁻ˣ) / 2. */
import { add, mul, neg, node } from "../build.ts";
import type { NoAttributes, Node } from "../node.ts";
import type { Builder } from "../primitive.ts";
import { polynomial, unary } from "./elementwise.ts";

/** Attributes of sinh: none. */
export interface SinhAttributes {
  sinh: NoAttributes;
}

/** sinh in f32: its Taylor series up to x⁹ below 1, where eˣ − e⁻ˣ would cancel; the definition further out. */
function sinhBody(build: Builder, x: number): number {
  const constant = (value: number): number => build.constant(value, "f32"), magnitude = build.unary("abs", x);
  const square = build.binary("mul", x, x);
  const series = polynomial(build, square, [1 / 6, 1 / 120, 1 / 5040, 1 / 362880]);
  const small = build.binary("add", build.binary("mul", build.binary("mul", series, square), x), x);
  // eˣ/2 as a product of two roots: eˣ alone would overflow before sinh does.
  const root = build.unary("exp", build.binary("mul", magnitude, constant(0.5)));
  const half = build.binary("mul", build.binary("mul", root, constant(0.5)), root);
  const other = build.binary("mul", constant(0.25), build.unary("recip", half));
  const large = build.binary("sub", half, other);
  const signed = build.select(build.binary("less", x, constant(0)), build.unary("neg", large), large);
  return build.select(build.binary("less", magnitude, constant(1)), small, signed);
}

const absolute = (x: Node): Node => node("maximum", [x, neg(x)], {});

/** Hyperbolic sine. Its derivative, cosh x, is |sinh x| + e^−|x|: a sum in which nothing cancels. */
export const sinh = unary({
  op: "sinh",
  lower: sinhBody,
  interpret: Math.sinh,
  change: (d, x, out) => mul(d, add(absolute(out), node("exp", [neg(absolute(x))], {}))),
  range: [-3, 3],
  further: [[-30, 30], [-1e-3, 1e-3]],
});
