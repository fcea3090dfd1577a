/**
 * @file What narrows the choice of the next token, each a pure function from logits to logits. A token that is left
 * out gets −∞. They mean what transformers' processors and warpers of the same names mean.
 */

/** One number a token; −∞ where a token is out of the question. */
export type Logits = Float64Array;

/**
 * Makes tokens that occurred less likely: a positive logit is divided by the penalty, a negative one multiplied
 * (CTRL, arXiv 1909.05858).
 *
 * @param seen tokens of the prompt and of what was generated
 * @param penalty above 0; 1 changes nothing
 * @example
 * ```ts
 * import { repetitionPenalty } from "./filters.ts";
 * console.assert(repetitionPenalty(Float64Array.of(2, -2, 1), new Set([0, 1]), 2).join() === "1,-4,1");
 * ```
 */
export function repetitionPenalty(logits: Logits, seen: ReadonlySet<number>, penalty: number): Logits {
  const out = logits.slice();
  for (const id of seen) if (id < out.length) out[id] = out[id] > 0 ? out[id] / penalty : out[id] * penalty;
  return out;
}

/** Logits divided by the temperature: below 1 likely tokens become likelier, above 1 all become more alike. */
export const temperature = (logits: Logits, degree: number): Logits => logits.map((logit) => logit / degree);

/**
 * Only the `count` largest; of equal ones those of lower ids.
 *
 * @example
 * ```ts
 * import { topK } from "./filters.ts";
 * console.assert(topK(Float64Array.of(1, 3, 3, 2), 1).join() === "-Infinity,3,-Infinity,-Infinity");
 * ```
 */
export function topK(logits: Logits, count: number): Logits {
  if (count >= logits.length) return logits;
  const border = logits.toSorted()[logits.length - count];
  let left = count;
  for (const logit of logits) if (logit > border) left--;
  return logits.map((logit) => logit > border || (logit === border && left-- > 0) ? logit : -Infinity);
}

/**
 * Only the likeliest tokens that together have at least this probability: nucleus sampling (arXiv 1904.09751). The
 * likeliest one always stays; of equal ones those of lower ids.
 *
 * @param mass between 0 and 1
 */
export function topP(logits: Logits, mass: number): Logits {
  if (mass >= 1) return logits;
  const probabilities = probabilitiesOf(logits);
  // All tokens below this threshold have less than 1 − mass together: the nucleus needs none of them.
  const threshold = (1 - mass) / logits.length, candidates: number[] = [];
  probabilities.forEach((probability, id) => probability >= threshold && candidates.push(id));
  candidates.sort((a, b) => probabilities[b] - probabilities[a] || a - b);
  const out = logits.map(() => -Infinity);
  let sum = 0;
  for (const id of candidates) {
    out[id] = logits[id];
    sum += probabilities[id];
    if (sum >= mass) break;
  }
  return out;
}

/**
 * Only tokens at least this many times as likely as the likeliest one (arXiv 2407.01082).
 *
 * @param share between 0 and 1
 */
export function minP(logits: Logits, share: number): Logits {
  const border = largestOf(logits) + Math.log(share);
  return logits.map((logit) => logit >= border ? logit : -Infinity);
}

/** exp(x) / Σ exp(x) */
export function probabilitiesOf(logits: Logits): Float64Array {
  const top = largestOf(logits), weights = logits.map((logit) => Math.exp(logit - top));
  let total = 0;
  for (const weight of weights) total += weight;
  return weights.map((weight) => weight / total);
}

/** The largest of some numbers. */
function largestOf(numbers: Logits): number {
  let top = -Infinity;
  for (const each of numbers) if (each > top) top = each;
  return top;
}
