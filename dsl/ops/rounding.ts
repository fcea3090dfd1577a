/** @file Rounding up or down by chance, so that many small steps add up even in 16 bits. */
import { abs, add, cast, less, maximum, mul, stopGradient, sub, where } from "./elementwise.ts";
import { type Key, uniform } from "./random.ts";
import type { Tensor } from "../tensor.ts";

/** Of the distance to the next number, relative to a number: 5/8 of it or more, 5/4 at most, for any mantissa. */
const most = { bf16: 1.25 * 2 ** -8, f16: 1.25 * 2 ** -11 } as const;
/** 5/8 of the distance between the smallest numbers. Below 2⁻¹²⁶, devices may flush what bf16 could hold. */
const least = { bf16: 0, f16: 0.625 * 2 ** -24 } as const;

/**
 * x in 16 bits, rounded to one of its two neighbours: to the upper one as probably as x is near to it, so that the mean
 * over keys is x. A weight kept in bf16 moves by updates far below its precision, as it would in f32 (Gupta et al., Deep
 * Learning with Limited Numerical Precision, 2015, arXiv 1502.02551). The same key gives the same bits on every device.
 * What 16 bits hold exactly stays as it is, infinities and NaN among it. No gradient flows.
 *
 * @param key used for nothing else
 * @example
 * ```ts
 * import { full, key, mean, cast, item, roundByChance } from "../mod.ts";
 * const rounded = roundByChance(key(7), full({ embed: 10_000 }, 1 + 2 ** -10));
 * console.assert(Math.abs(item(mean(cast(rounded, "f32"))) - 1 - 2 ** -10) < 2 ** -12);
 * ```
 */
export function roundByChance<A extends string>(
  key: Key,
  x: Tensor<A>,
  dtype: "bf16" | "f16" = "bf16",
): Tensor<A> {
  const given = stopGradient(x);
  const rounded = (y: Tensor<A>): Tensor<A> => cast(cast(y, dtype), "f32");
  const nearest = rounded(given), rest = sub(given, nearest);
  const step = maximum(mul(abs(nearest), most[dtype]), least[dtype]);
  const other = rounded(where(less(rest, 0), sub(nearest, step), add(nearest, step)));
  // All of this is exact in f32, a product of 24 bits with a power of two too: no device decides otherwise.
  const chance = mul(uniform(key, x.shape) as unknown as Tensor<A>, abs(sub(other, nearest)));
  return cast(where(less(chance, abs(rest)), other, nearest), dtype);
}
