/** @file How the next token is chosen from logits: greedily, or drawn after some filters. */
import { type Logits, minP, probabilitiesOf, repetitionPenalty, temperature, topK, topP } from "./filters.ts";

/** How the next token is chosen. */
export interface Sampling {
  /** 0 (default): always the likeliest token; 1: as the model says. */
  readonly temperature?: number;
  /** Only so many of the likeliest tokens (default: all). */
  readonly topK?: number;
  /** Only the likeliest tokens that together have this probability (default 1: all). */
  readonly topP?: number;
  /** Only tokens at least this many times as likely as the likeliest (default 0: all). */
  readonly minP?: number;
  /** What the logits of tokens that occurred are divided by (default 1: as the model says). */
  readonly repetitionPenalty?: number;
}

/** Is the token of the largest logit the one that is chosen? Then a device can pick it. */
export const isPlainGreedy = ({ temperature = 0, repetitionPenalty = 1 }: Sampling): boolean =>
  temperature === 0 && repetitionPenalty === 1;

/**
 * Logits after all filters, in transformers' order: repetition penalty, temperature, top-k, top-p, min-p.
 *
 * @param seen tokens of the prompt and of what was generated
 */
export function filtered(logits: ArrayLike<number>, sampling: Sampling, seen: ReadonlySet<number>): Logits {
  let out: Logits = Float64Array.from(logits);
  if ((sampling.repetitionPenalty ?? 1) !== 1) out = repetitionPenalty(out, seen, sampling.repetitionPenalty!);
  if ((sampling.temperature ?? 0) === 0) return out;
  if (sampling.temperature !== 1) out = temperature(out, sampling.temperature!);
  if (sampling.topK !== undefined) out = topK(out, sampling.topK);
  if (sampling.topP !== undefined) out = topP(out, sampling.topP);
  if (sampling.minP) out = minP(out, sampling.minP);
  return out;
}

/**
 * The next token.
 *
 * @param random a number in [0, 1); not used at temperature 0
 * @example
 * ```ts
 * import { choose } from "./mod.ts";
 * console.assert(choose([1, 5, 2], {}, new Set(), 0.5) === 1);
 * ```
 */
export function choose(
  logits: ArrayLike<number>,
  sampling: Sampling,
  seen: ReadonlySet<number>,
  random: number,
): number {
  const left = filtered(logits, sampling, seen);
  return (sampling.temperature ?? 0) === 0 ? indexOfLargest(left) : pick(probabilitiesOf(left), random);
}

/** The index at which the sum of probabilities passes a number in [0, 1). */
function pick(probabilities: Float64Array, random: number): number {
  let left = random, last = 0;
  for (let id = 0; id < probabilities.length; id++) {
    if (probabilities[id] === 0) continue;
    left -= probabilities[id];
    if (left < 0) return id;
    last = id;
  }
  // Rounding may leave a crumb above the sum.
  return last;
}

/** Of equal ones the first. */
function indexOfLargest(numbers: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < numbers.length; i++) if (numbers[i] > numbers[best]) best = i;
  return best;
}
