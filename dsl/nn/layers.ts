/** @file Layers shared by the recipes: generic in whatever axes the caller carries along. */
import { node } from "../build.ts";
import { add, exp, less, mul, neg, rsqrt, square, where } from "../ops/elementwise.ts";
import { iota, tensor } from "../ops/making.ts";
import { mean } from "../ops/reduce.ts";
import { concat, expand, rename, slice } from "../ops/structure.ts";
import { take } from "../ops/indexing.ts";
import { nodeOf, type Operand, type Tensor, tensorOf } from "../tensor.ts";

/** x / √(mean(x²) + ε) · weight along an axis (arXiv 1910.07467). */
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

/** Rotations of all positions below `length`, computed in f64 on the host (once for each set of settings). */
export function ropeTable(length: number, dim: number, settings: RopeSettings): RopeTable {
  const key = JSON.stringify([length, dim, settings]);
  const known = tables.get(key);
  if (known) return known;
  const table = (f: (angle: number) => number): Tensor<"position" | "dim"> =>
    tensor(
      { position: length, dim },
      new Float64Array(length * dim).map((_, at) =>
        f(Math.floor(at / dim) * frequency(at % dim % (dim / 2), dim, settings))
      ),
    );
  const made = { cos: table(Math.cos), sin: table(Math.sin) };
  tables.set(key, made);
  return made;
}

/** Rotations for tokens that stand at 0, 1, 2, … of their row. */
export const ropeInOrder = ({ cos, sin }: RopeTable): Rope => ({
  cos: rename(cos, { position: "seq" }),
  sin: rename(sin, { position: "seq" }),
});

/** Rotations for tokens at `positions` (each below the table's length). */
export const ropeAt = ({ cos, sin }: RopeTable, positions: Tensor<"batch" | "seq", "int">): Rope => ({
  cos: take(cos, "position", positions),
  sin: take(sin, "position", positions),
});

/** x with every pair (i, i + dim/2) of `dim` turned by its position's angle. */
export function rotate<A extends string>(
  x: Tensor<A | "batch" | "seq" | "dim">,
  { cos, sin }: Rope,
): Tensor<A | "batch" | "seq" | "dim"> {
  const half = x.shape.dim / 2;
  const turned = concat([neg(slice(x, "dim", half)), slice(x, "dim", 0, half)], "dim");
  return add(mul(x, cos), mul(turned, sin));
}

/** Does `key` stand no later than `seq`? The first query stands at `start` of the keys. */
export const causal = (length: number, keys: number = length): Tensor<"seq" | "key", "bool"> =>
  less(expand(iota("key", keys), { seq: length }), add(iota("seq", length), keys - length + 1));

/**
 * softmax(x) along an axis over the elements that `keep` allows: the others are exactly 0; where it allows none,
 * all are 0, with zero gradient.
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
