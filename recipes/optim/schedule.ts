/** @file Learning rates: computed on the host and given to a step as data. */

/** How the rate changes over a stage. */
export interface Schedule {
  /** After the warm-up: straight to 0, by half a cosine to 0, kept, or kept and at the end straight to 0 (`wsd`). */
  readonly kind: "linear" | "cosine" | "constant" | "wsd";
  /** The largest rate. */
  readonly rate: number;
  /** Steps of the stage. */
  readonly steps: number;
  /** Steps until the largest rate is reached. */
  readonly warmup: number;
  /** Of `wsd`: the last steps, in which the rate falls (default: a tenth of all). */
  readonly decay?: number;
}

/**
 * Rate of a step, counted from 0. No step has rate 0: the first warm-up step has rate/warmup (transformers starts
 * at 0 and so wastes it).
 *
 * @example
 * ```ts
 * import { rateAt } from "./schedule.ts";
 * const rates = [0, 1, 2, 3].map((step) => rateAt({ kind: "linear", rate: 1, steps: 4, warmup: 2 }, step));
 * console.assert(rates.join() === "0.5,1,1,0.5");
 * ```
 */
export function rateAt(schedule: Schedule, step: number): number {
  const { kind, rate, steps, warmup, decay = Math.ceil(steps / 10) } = schedule;
  if (step < warmup) return rate * (step + 1) / warmup;
  const done = (step - warmup) / Math.max(1, steps - warmup);
  switch (kind) {
    case "linear":
      return rate * Math.max(0, 1 - done);
    case "cosine":
      return rate * (1 + Math.cos(Math.PI * Math.min(1, done))) / 2;
    case "constant":
      return rate;
    case "wsd":
      return rate * Math.min(1, Math.max(0, steps - step) / decay);
  }
}

/** Sum of all rates: with Adam or Adafactor, about how far a number can move in all. */
export function budget(schedule: Schedule): number {
  let total = 0;
  for (let step = 0; step < schedule.steps; step++) total += rateAt(schedule, step);
  return total;
}
