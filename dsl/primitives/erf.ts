/** @file erf: the error function, 2/√π · ∫₀ˣ exp(−t²) dt. */
import { mul, neg, node, scale } from "../build.ts";
import type { NoAttributes } from "../node.ts";
import type { Builder } from "../primitive.ts";
import { polynomial, unary } from "./elementwise.ts";

/** Attributes of erf: none. */
export interface ErfAttributes {
  erf: NoAttributes;
}

/**
 * erf in f32: x + x·P(x²) near zero, further out ±(1 − exp(−t·Q(t))) with t = |x|. Minimax polynomials by N. Juffa
 * ("Efficient faithfully rounded implementation of error function erff()", https://stackoverflow.com/q/35148198).
 */
function errorFunctionBody(build: Builder, x: number): number {
  const constant = (value: number): number => build.constant(value, "f32"), magnitude = build.unary("abs", x);
  // erf(4) is 1 in f32. A comparison, not a minimum: a NaN stays one.
  const t = build.select(build.binary("less", constant(4), magnitude), constant(4), magnitude);
  const square = build.binary("mul", t, t);
  const near = polynomial(build, square, [
    1.28379166e-1,
    -3.76125336e-1,
    1.12819925e-1,
    -2.67681349e-2,
    4.99119423e-3,
    -5.96761703e-4,
  ]);
  const small = build.binary("add", build.binary("mul", near, x), x);
  const q = polynomial(build, t, [
    -1.28717512e-1,
    -6.34846687e-1,
    -1.06777877e-1,
    2.42546219e-2,
    -3.88396438e-3,
    3.83197126e-4,
    -1.72853470e-5,
  ]);
  const exponent = build.binary("sub", build.binary("mul", q, t), t);
  const large = build.binary("sub", constant(1), build.unary("exp", exponent));
  const signed = build.select(build.binary("less", x, constant(0)), build.unary("neg", large), large);
  return build.select(build.binary("less", constant(0.927734375), t), signed, small);
}

/** Error function. */
export const erf = unary({
  op: "erf",
  lower: errorFunctionBody,
  interpret: errorFunction,
  change: (d, x) => mul(d, scale(node("exp", [neg(mul(x, x))], {}), 2 / Math.sqrt(Math.PI))),
  range: [-3, 3],
  further: [[-6, 6], [-1e-3, 1e-3], [1e30, 1e38]],
});

/** erf in f64: a Maclaurin series near zero, a continued fraction of erfc further out. */
function errorFunction(x: number): number {
  const size = Math.abs(x);
  if (Number.isNaN(x)) return NaN;
  if (size > 6) return Math.sign(x);
  if (size < 2.5) {
    let term = x, total = x;
    for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(total) && n < 200; n++) {
      term *= -x * x / n;
      total += term / (2 * n + 1);
    }
    return total * 2 / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let k = 60; k > 0; k--) fraction = k / 2 / (size + fraction);
  return Math.sign(x) * (1 - Math.exp(-x * x) / ((size + fraction) * Math.sqrt(Math.PI)));
}
