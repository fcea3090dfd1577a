/** @file Two models on the same tasks: whether the difference between them is more than chance. */
import { type Interval, middleOf, resampledMeans } from "./estimate.ts";

/** What a paired comparison says. */
export interface Paired {
  /** Mean of B − A over tasks. */
  readonly difference: number;
  /** 95% interval of it, by resampling tasks. */
  readonly interval: Interval;
  /** Two-sided p-value by resampling tasks: how often the difference falls on the other side of 0, twice. */
  readonly bootstrap: number;
  /** Two-sided p-value of McNemar's exact test; null where a task has several samples and is not just won or lost. */
  readonly mcnemar: number | null;
  /**
   * Tasks like these with which a difference of this size would be found at p < 0.05 four times in five; null where the
   * two are equal.
   */
  readonly tasksNeeded: number | null;
}

/**
 * McNemar's exact test, two-sided: among tasks that only one of two models solves, each is as likely to be the one.
 *
 * @returns the p-value: twice the smaller tail of a fair coin thrown `won + lost` times, at most 1
 * @example
 * ```ts
 * import { mcnemar } from "./paired.ts";
 * console.assert(mcnemar(5, 0) === 2 / 32);
 * ```
 */
export function mcnemar(won: number, lost: number): number {
  const n = won + lost;
  // Terms by their logarithms, over the tail's own largest: 2⁻ⁿ alone underflows from 1,075 tasks on.
  let log = -n * Math.LN2, tail = 0;
  for (let k = 0; k <= Math.min(won, lost); k++) {
    tail += Math.exp(log);
    log += Math.log((n - k) / (k + 1));
  }
  return Math.min(1, 2 * tail);
}

/**
 * Compares two models by their scores on the same tasks, in the same order.
 *
 * @param a per task: share of samples that passed
 * @throws {RangeError} if there are no tasks, or not the same number
 */
export function comparePaired(a: readonly number[], b: readonly number[], seed = 0): Paired {
  const n = a.length;
  if (n === 0 || b.length !== n) throw new RangeError(`${n} and ${b.length} tasks`);
  const differences = a.map((score, i) => b[i] - score);
  const difference = mean(differences);
  const drawn = resampledMeans(differences, seed);
  const share = (holds: (value: number) => boolean): number => (drawn.filter(holds).length + 1) / (drawn.length + 1);
  const isBinary = [...a, ...b].every((score) => score === 0 || score === 1);
  const count = (of: number): number => differences.filter((each) => each === of).length;
  return {
    difference,
    interval: middleOf(drawn),
    bootstrap: Math.min(1, 2 * Math.min(share((value) => value <= 0), share((value) => value >= 0))),
    mcnemar: isBinary ? mcnemar(count(1), count(-1)) : null,
    tasksNeeded: tasksNeeded(differences),
  };
}

/**
 * The sample size of a paired test (Connor 1987, for wins and losses McNemar's): ((z₀.₉₇₅·σ₀ + z₀.₈·σ₁) / δ)², with σ₀
 * the differences' root mean square (their deviation were δ = 0) and σ₁ their deviation.
 */
export function tasksNeeded(differences: readonly number[]): number | null {
  const delta = mean(differences), square = mean(differences.map((each) => each * each));
  if (delta === 0) return null;
  const deviation = Math.sqrt(Math.max(0, square - delta * delta));
  return Math.ceil(((1.959963984540054 * Math.sqrt(square) + 0.8416212335729143 * deviation) / delta) ** 2);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
