/** @file Rotary position embeddings (arXiv 2104.09864), and the ways to stretch them for longer contexts. */
import { add, mul, neg } from "../ops/elementwise.ts";
import { take } from "../ops/indexing.ts";
import { tensor } from "../ops/making.ts";
import { concat, rename, slice } from "../ops/structure.ts";
import type { Operand, Tensor } from "../tensor.ts";

/** Cosines and sines by which queries and keys are turned; both halves of `dim` turn together. */
export interface Rope {
  /** Cosine of each position's angle. */
  readonly cos: Operand<"batch" | "seq" | "dim">;
  /** Sine of each position's angle. */
  readonly sin: Operand<"batch" | "seq" | "dim">;
}

/** How rotary frequencies are stretched for contexts longer than the pretraining's. */
export type RopeScaling =
  | {
    /** Every position divided by the factor (arXiv 2306.15595). */
    readonly type: "linear";
    /** How many times longer contexts become. */
    readonly factor: number;
  }
  | {
    /**
     * A base that grows with the context, beyond the original one: NTK-aware scaling. A position is turned as in a
     * context that ends with it, whatever follows, which is what transformers computes while it generates.
     */
    readonly type: "dynamic";
    /** How fast the base grows. */
    readonly factor: number;
    /** Positions of the pretraining's contexts. */
    readonly originalMaxPositions: number;
  }
  | {
    /** As Llama 3.1 was trained: low frequencies divided by the factor, high ones kept, a ramp between. */
    readonly type: "llama3";
    /** How many times longer contexts become. */
    readonly factor: number;
    /** Pairs that turn less often than this within the original context are divided by the factor. */
    readonly lowFrequencyFactor: number;
    /** Pairs that turn more often than this within it are kept. */
    readonly highFrequencyFactor: number;
    /** Positions of the pretraining's contexts. */
    readonly originalMaxPositions: number;
  }
  | {
    /** A ramp over the pairs' numbers instead, and sharper attention (arXiv 2309.00071). */
    readonly type: "yarn";
    /** How many times longer contexts become. */
    readonly factor: number;
    /** Positions of the pretraining's contexts. */
    readonly originalMaxPositions: number;
    /** Pairs that turn more often than this within the original context are kept. */
    readonly betaFast: number;
    /** Pairs that turn less often than this within it are divided by the factor. */
    readonly betaSlow: number;
    /** The ramp begins and ends at whole pairs. */
    readonly truncate: boolean;
    /** What cosines and sines are multiplied with, so that products of queries and keys grow by its square. */
    readonly attentionFactor: number;
  };

/** Settings of rotary position embeddings (arXiv 2104.09864). */
export interface RopeSettings {
  /** Base of the frequencies. */
  readonly theta: number;
  /** How frequencies are stretched for longer contexts. */
  readonly scaling?: RopeScaling | null;
}

/** A number between 0 and 1. */
const share = (x: number): number => Math.min(1, Math.max(0, x));

/**
 * Radians per position of each pair of `dim / 2`.
 *
 * @param dim size of a head; it is even
 * @param length of the context; it matters to dynamic scaling alone
 * @example
 * ```ts
 * import { ropeFrequencies } from "../mod.ts";
 * const [first, second] = ropeFrequencies(4, { theta: 10000, scaling: { type: "linear", factor: 2 } });
 * console.assert(first === 0.5 && second === 0.005);
 * ```
 */
export function ropeFrequencies(dim: number, { theta, scaling }: RopeSettings, length = 0): Float64Array {
  const pairs = (base: number, scale: (plain: number, pair: number) => number): Float64Array =>
    Float64Array.from({ length: dim / 2 }, (_, pair) => scale(base ** (-2 * pair / dim), pair));
  switch (scaling?.type) {
    case undefined:
      return pairs(theta, (plain) => plain);
    case "linear":
      return pairs(theta, (plain) => plain / scaling.factor);
    case "dynamic": {
      const { factor, originalMaxPositions } = scaling;
      const longer = Math.max(length, originalMaxPositions) / originalMaxPositions;
      return pairs(theta * (factor * longer - (factor - 1)) ** (dim / (dim - 2)), (plain) => plain);
    }
    case "llama3": {
      const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalMaxPositions } = scaling;
      return pairs(theta, (plain) => {
        const kept = share((originalMaxPositions * plain / (2 * Math.PI) - low) / (high - low));
        return plain * (kept + (1 - kept) / factor);
      });
    }
    case "yarn": {
      const { factor, betaFast, betaSlow, originalMaxPositions, truncate } = scaling;
      // The pair (as a real number) that turns so often within the original context.
      const pairOf = (turns: number): number =>
        dim * Math.log(originalMaxPositions / (turns * 2 * Math.PI)) / (2 * Math.log(theta));
      const from = Math.max(truncate ? Math.floor(pairOf(betaFast)) : pairOf(betaFast), 0);
      const to = Math.min(truncate ? Math.ceil(pairOf(betaSlow)) : pairOf(betaSlow), dim - 1);
      return pairs(theta, (plain, pair) => {
        const kept = 1 - share((pair - from) / (to === from ? 0.001 : to - from));
        return plain * (kept + (1 - kept) / factor);
      });
    }
  }
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
  const { scaling } = settings, whole = ropeFrequencies(dim, settings);
  // Beyond the original context each position has frequencies of its own.
  const grows = scaling?.type === "dynamic" ? scaling.originalMaxPositions : Infinity;
  const factor = scaling?.type === "yarn" ? scaling.attentionFactor : 1;
  const angles = new Float64Array(length * dim);
  for (let position = 0; position < length; position++) {
    const frequencies = position < grows ? whole : ropeFrequencies(dim, settings, position + 1);
    for (let i = 0; i < dim; i++) angles[position * dim + i] = position * frequencies[i % (dim / 2)];
  }
  const table = (f: (angle: number) => number): Tensor<"position" | "dim"> =>
    tensor({ position: length, dim }, angles.map((angle) => factor * f(angle)));
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
