/** @file Layers shared by the recipes: generic in whatever axes the caller carries along. */
import { node } from "../build.ts";
import { add, exp, less, mul, neg, rsqrt, square, where } from "../ops/elementwise.ts";
import { iota, tensor } from "../ops/making.ts";
import { mean } from "../ops/reduce.ts";
import { concat, expand, rename, slice } from "../ops/structure.ts";
import { take } from "../ops/indexing.ts";
import { nodeOf, type Operand, type Tensor, tensorOf } from "../tensor.ts";

/**
 * x / √(mean(x²) + ε) · weight along an axis: root mean square normalisation (arXiv 1910.07467).
 *
 * @param weight one factor for each element of the axis
 * @param epsilon ε, added to the mean square: keeps a row of zeros finite
 * @throws TypeError when x lacks the axis or the weight differs in size
 * @example
 * ```ts
 * import { read, rmsNorm, tensor } from "../mod.ts";
 * const x = tensor({ seq: 1, embed: 2 }, [3, 4]), weight = tensor({ embed: 2 }, [1, 2]);
 * const scale = Math.sqrt((9 + 16) / 2);
 * const [first, second] = read(rmsNorm(x, weight, "embed", 0));
 * console.assert(Math.abs(first - 3 / scale) < 1e-12 && Math.abs(second - 8 / scale) < 1e-12);
 * ```
 */
export const rmsNorm = <A extends string, D extends A>(
  x: Tensor<A>,
  weight: Tensor<D>,
  axis: D,
  epsilon: number,
): Tensor<A> => mul(x, rsqrt(add(mean(square(x), axis), epsilon)) as never, weight as never);

/** Cosines and sines by which queries and keys are turned; both halves of `dim` turn together. */
export interface Rope {
  /** Cosine of each position's angle. */
  readonly cos: Operand<"batch" | "seq" | "dim">;
  /** Sine of each position's angle. */
  readonly sin: Operand<"batch" | "seq" | "dim">;
}

/** Settings of rotary position embeddings (arXiv 2104.09864). */
export interface RopeSettings {
  /** Base of the frequencies. */
  readonly theta: number;
  /** How frequencies are stretched for longer contexts. */
  readonly scaling?:
    | { readonly type: "linear"; readonly factor: number }
    | {
      readonly type: "llama3";
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalMaxPositions: number;
    }
    | null;
}

/** Radians per position of pair `i` of `dim / 2` (linear: arXiv 2306.15595; llama3: as Llama 3.1 was trained). */
function frequency(i: number, dim: number, { theta, scaling }: RopeSettings): number {
  const plain = theta ** (-2 * i / dim);
  if (!scaling) return plain;
  const { factor } = scaling;
  if (scaling.type === "linear") return plain / factor;
  const { lowFrequencyFactor: low, highFrequencyFactor: high, originalMaxPositions } = scaling;
  // How many turns fit into the original context: few → divide, many → keep, between → a ramp.
  const turns = originalMaxPositions * plain / (2 * Math.PI);
  const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
  return plain * (kept + (1 - kept) / factor);
}

/** Cosines and sines of every position below `length`. */
export interface RopeTable {
  /** Cosine of each position's angle. */
  readonly cos: Tensor<"position" | "dim">;
  /** Sine of each position's angle. */
  readonly sin: Tensor<"position" | "dim">;
}

const tables = new Map<string, RopeTable>();

/**
 * Rotations of all positions below `length`, computed in f64 on the host (once for each set of settings).
 * Rotary position embeddings: arXiv 2104.09864.
 *
 * @param length how many positions
 * @param dim size of a head; it is even
 * @returns cosines and sines of angles in radians, by position and dim
 * @example
 * ```ts
 * import { read, ropeTable } from "../mod.ts";
 * const { cos } = ropeTable(2, 4, { theta: 10000 });
 * console.assert(read(cos)[4] === Math.cos(1) && read(cos)[5] === Math.cos(0.01));
 * ```
 */
export function ropeTable(length: number, dim: number, settings: RopeSettings): RopeTable {
  const key = JSON.stringify([length, dim, settings]);
  const known = tables.get(key);
  if (known) return known;
  const frequencies = Float64Array.from({ length: dim / 2 }, (_, pair) => frequency(pair, dim, settings));
  const table = (f: (angle: number) => number): Tensor<"position" | "dim"> => {
    const values = new Float64Array(length * dim);
    for (let at = 0; at < values.length; at++) values[at] = f(Math.floor(at / dim) * frequencies[at % (dim / 2)]);
    return tensor({ position: length, dim }, values);
  };
  const made = { cos: table(Math.cos), sin: table(Math.sin) };
  tables.set(key, made);
  return made;
}

/**
 * Rotations for tokens that stand at 0, 1, 2, … of their row.
 *
 * @example
 * ```ts
 * import { ropeInOrder, ropeTable } from "../mod.ts";
 * const { cos } = ropeInOrder(ropeTable(3, 4, { theta: 10000 }));
 * console.assert(cos !== undefined);
 * ```
 */
export const ropeInOrder = ({ cos, sin }: RopeTable): Rope => ({
  cos: rename(cos, { position: "seq" }),
  sin: rename(sin, { position: "seq" }),
});

/**
 * Rotations for tokens at `positions` (each below the table's length; −1, padding, gives zeros).
 *
 * @example
 * ```ts
 * import { ropeAt, ropeTable, tensor } from "../mod.ts";
 * const positions = tensor({ batch: 1, seq: 2 }, [4, 5], "i32");
 * const { sin } = ropeAt(ropeTable(8, 4, { theta: 10000 }), positions);
 * console.assert(sin !== undefined);
 * ```
 */
export const ropeAt = ({ cos, sin }: RopeTable, positions: Tensor<"batch" | "seq", "int">): Rope => ({
  cos: take(cos, "position", positions),
  sin: take(sin, "position", positions),
});

/**
 * x with every pair (i, i + dim/2) of `dim` turned by its position's angle. Lengths stay, and the product of two rotated
 * vectors depends on the distance of their positions only (arXiv 2104.09864). Works for whatever axes x has besides.
 *
 * @throws TypeError when `dim` is odd or differs from the table's
 * @example
 * ```ts
 * import { read, ropeInOrder, ropeTable, rotate, tensor } from "../mod.ts";
 * const x = tensor({ batch: 1, seq: 2, dim: 2 }, [[[1, 0], [1, 0]]]);
 * const [, , cos, sin] = read(rotate(x, ropeInOrder(ropeTable(2, 2, { theta: 10000 }))));
 * console.assert(cos === Math.cos(1) && sin === Math.sin(1));
 * ```
 */
export function rotate<A extends string>(
  x: Tensor<A | "batch" | "seq" | "dim">,
  { cos, sin }: Rope,
): Tensor<A | "batch" | "seq" | "dim"> {
  const half = x.shape.dim / 2;
  const turned = concat([neg(slice(x, "dim", half)), slice(x, "dim", 0, half)], "dim");
  return add(mul(x, cos), mul(turned, sin));
}

/**
 * May a query look at a key: does `key` stand no later than `seq`? The last query stands at the last key.
 *
 * @param length number of queries
 * @param keys number of keys (default: as many)
 * @example
 * ```ts
 * import { causal, read } from "../mod.ts";
 * console.assert(read(causal(2), "seq", "key").join() === "1,0,1,1");
 * console.assert(read(causal(1, 3), "seq", "key").join() === "1,1,1");
 * ```
 */
export const causal = (length: number, keys: number = length): Tensor<"seq" | "key", "bool"> =>
  less(expand(iota("key", keys), { seq: length }), add(iota("seq", length), keys - length + 1));

/**
 * softmax(x) along an axis over the elements that `keep` allows: the others are exactly 0; where it allows none,
 * all are 0, with zero gradient.
 *
 * @param keep which elements count
 * @throws TypeError when x lacks the axis, or the mask has one that x lacks
 * @example
 * ```ts
 * import { maskedSoftmax, read, tensor } from "../mod.ts";
 * const x = tensor({ seq: 2, key: 2 }, [[5, 5], [5, 5]]), keep = tensor({ seq: 2, key: 2 }, [[1, 0], [0, 0]], "bool");
 * console.assert(read(maskedSoftmax(x, "key", keep)).join() === "1,0,0,0");
 * ```
 */
export function maskedSoftmax<A extends string>(
  x: Tensor<A>,
  axis: NoInfer<A>,
  keep: Operand<NoInfer<A>, "bool">,
): Tensor<A> {
  // Large finite numbers: −∞ would make NaN of an all-masked row on devices without IEEE rules. Such a row's
  // normaliser is the floor, far above its elements, so that all of them (and their gradients) are exp(−9e29) = 0.
  const masked = where(keep, x, -1e30);
  const normaliser = node("logSumExp", [nodeOf(masked)], { over: [axis], floor: -1e29 });
  return exp(add(masked, neg(tensorOf<never, "real">(normaliser)) as never));
}
