/** @file erf: the error function, 2/√π · ∫₀ˣ exp(−t²) dt. */
import { mul, neg, node, scale } from "../build.ts";
import type { NoAttributes } from "../node.ts";
import { unary } from "./elementwise.ts";

/** Attributes of erf: none. */
export interface ErfAttributes {
  erf: NoAttributes;
}

/** Error function. */
export const erf = unary({
  op: "erf",
  lower: "erf",
  interpret: errorFunction,
  change: (d, x) => mul(d, scale(node("exp", [neg(mul(x, x))], {}), 2 / Math.sqrt(Math.PI))),
  range: [-3, 3],
});

/** erf in f64: a Maclaurin series near zero, a continued fraction of erfc further out. */
export function errorFunction(x: number): number {
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
