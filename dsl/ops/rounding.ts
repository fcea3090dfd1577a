/** @file Rounding up or down by chance, so that many small steps add up even in 16 bits. */
import { abs, add, cast, less, maximum, mul, stopGradient, sub, where } from "./elementwise.ts";
import { add as sum, constant, expand, node } from "../build.ts";
import type { Node } from "../node.ts";
import type { Shape } from "../shape.ts";
import { type AnyTensor, nodeOf, type Tensor, tensorOf } from "../tensor.ts";
import { fraction, type Key, wordsOf } from "./random.ts";
import { positions } from "./sort.ts";

/** Of the distance to the next number, relative to a number: 5/8 of it or more, 5/4 at most, for any mantissa. */
const most = { bf16: 1.25 * 2 ** -8, f16: 1.25 * 2 ** -11 } as const;
/** 5/8 of the distance between the smallest numbers. Below 2⁻¹²⁶, devices may flush what bf16 could hold. */
const least = { bf16: 0, f16: 0.625 * 2 ** -24 } as const;

const word = (value: number, shape: Shape): Node => expand(constant(value, "u32"), shape);
const folded = (x: Node, by: number): Node => node("xor", [x, node("shr", [x, word(by, x.shape)], {})], {});

/**
 * A number in [0, 1) for each element, a multiple of 2⁻²⁴: a hash of its place and the key. Chance asks for less than
 * `uniform` gives: these are 13 integer operations where Threefry's twenty rounds are 120, so that rounding stays in the
 * kernel that makes what is rounded. (The multipliers are those of Wellons' hash of low bias.)
 */
function chances(random: Node, shape: Shape, after?: AnyTensor): Node {
  const [first, second] = "word" in random.shape
    ? wordsOf("roundByChance", random, shape)
    : [expand(random, shape), word(0x85ebca6b, shape)];
  const waiting = after ? node("barrier", [first, nodeOf(after)], {}) : first;
  let hash = sum(node("mul", [positions(shape, "u32"), word(0x9e3779b1, shape)], {}), waiting);
  hash = node("xor", [node("mul", [folded(hash, 16), word(0x7feb352d, shape)], {}), second], {});
  return fraction(folded(node("mul", [folded(hash, 15), word(0x846ca68b, shape)], {}), 16));
}

/**
 * x in 16 bits, rounded to one of its two neighbours: to the upper one as probably as x is near to it, so that the mean
 * over keys is x. A weight kept in bf16 moves by updates far below its precision, as it would in f32 (Gupta et al., Deep
 * Learning with Limited Numerical Precision, 2015, arXiv 1502.02551). The same key gives the same bits on every device.
 * What 16 bits hold exactly stays as it is, infinities and NaN among it. No gradient flows.
 *
 * @param random a key, or one word (u32, without axes) of random bits; used for nothing else
 * @param after chance is not drawn before this is there: an update's gradient, say. Without it a compiler may draw that
 * of all weights at once, which takes as much memory as they do
 * @example
 * ```ts
 * import { full, key, mean, cast, item, roundByChance } from "../mod.ts";
 * const rounded = roundByChance(key(7), full({ embed: 10_000 }, 1 + 2 ** -10));
 * console.assert(Math.abs(item(mean(cast(rounded, "f32"))) - 1 - 2 ** -10) < 2 ** -12);
 * ```
 */
export function roundByChance<A extends string>(
  random: Key | Tensor<never, "int">,
  x: Tensor<A>,
  dtype: "bf16" | "f16" = "bf16",
  after?: AnyTensor,
): Tensor<A> {
  const given = stopGradient(x);
  const rounded = (y: Tensor<A>): Tensor<A> => cast(cast(y, dtype), "f32");
  const nearest = rounded(given), rest = sub(given, nearest);
  const step = maximum(mul(abs(nearest), most[dtype]), least[dtype]);
  const other = rounded(where(less(rest, 0), sub(nearest, step), add(nearest, step)));
  // All of this is exact in f32, a product of 24 bits with a power of two too: no device decides otherwise.
  const chance = mul(
    abs(sub(other, nearest)),
    tensorOf<A, "real">(chances(nodeOf(random), nodeOf(given).shape, after)),
  );
  return cast(where(less(chance, abs(rest)), other, nearest), dtype);
}
