/** @file pass@k and what it is worth: the unbiased estimator and 95% intervals. */
import { seeded } from "../../random.ts";

/** A 95% interval. */
export type Interval = readonly [low: number, high: number];

/**
 * The chance that at least one of k samples is right, estimated from `right` of `samples` (Chen et al. 2021, unbiased):
 * 1 − C(n − c, k) / C(n, k).
 *
 * @throws RangeError where k is more than `samples`
 *
 * @example
 * ```ts
 * import { passAt } from "./estimate.ts";
 * console.assert(passAt(1, 10, 3) === 0.3);
 * ```
 */
export function passAt(k: number, samples: number, right: number): number {
  if (k > samples || k < 1) throw new RangeError(`pass@${k} of ${samples} samples`);
  if (samples - right < k) return 1;
  let wrong = 1;
  for (let i = 0; i < k; i++) wrong *= (samples - right - i) / (samples - i);
  return k === 1 ? right / samples : 1 - wrong;
}

/**
 * Clopper and Pearson's exact interval of a share: it holds the true share in at least 95% of all cases.
 *
 * @example
 * ```ts
 * import { exactInterval } from "./estimate.ts";
 * const [low, high] = exactInterval(0, 10);
 * console.assert(low === 0 && Math.abs(high - (1 - 0.025 ** (1 / 10))) < 1e-9);
 * ```
 */
export function exactInterval(successes: number, trials: number): Interval {
  if (trials === 0) return [0, 1];
  return [
    successes === 0 ? 0 : bisect((share) => atLeast(successes, trials, share) < 0.025),
    successes === trials ? 1 : bisect((share) => 1 - atLeast(successes + 1, trials, share) > 0.025),
  ];
}

/** The chance of at least so many successes. */
function atLeast(successes: number, trials: number, share: number): number {
  let choose = 0, sum = 0;
  for (let k = 0; k <= trials; k++) {
    if (k >= successes) sum += Math.exp(choose + k * Math.log(share) + (trials - k) * Math.log1p(-share));
    choose += Math.log((trials - k) / (k + 1));
  }
  return Math.min(1, sum);
}

/** The share up to which the condition holds. */
function bisect(holds: (share: number) => boolean): number {
  let low = 0, high = 1;
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (holds(middle)) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** Resamples of a bootstrap; a p-value below 1/5,000 is said as that. */
const resamples = 10_000;

/** Means of values drawn again with replacement, in ascending order: the same for the same values. */
export function resampledMeans(values: readonly number[], seed = 0): Float64Array {
  const n = values.length, random = seeded(seed);
  return Float64Array.from({ length: resamples }, () => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += values[Math.floor(random.unit() * n)];
    return sum / n;
  }).sort();
}

/** What holds the middle 95% of means in ascending order. */
export function middleOf(means: Float64Array): Interval {
  return [means[Math.floor(0.025 * means.length)], means[Math.ceil(0.975 * means.length) - 1]];
}

/** The interval of a mean of per-task estimates by resampling tasks (percentiles), the same for the same values. */
export function bootstrapInterval(values: readonly number[], seed = 0): Interval {
  return values.length < 2 ? [0, 1] : middleOf(resampledMeans(values, seed));
}

/**
 * Mean pass@k over tasks and its 95% interval: exact where each task has one sample, else by resampling tasks.
 *
 * @param tasks samples and right samples of each task
 */
export function passAtOverTasks(
  k: number,
  tasks: readonly { readonly samples: number; readonly right: number }[],
): { readonly value: number; readonly interval: Interval } {
  const values = tasks.map(({ samples, right }) => passAt(k, samples, right));
  const value = values.reduce((sum, each) => sum + each, 0) / Math.max(1, values.length);
  const isShare = k === 1 && tasks.every(({ samples }) => samples === 1);
  const right = values.filter((each) => each === 1).length;
  return { value, interval: isShare ? exactInterval(right, values.length) : bootstrapInterval(values) };
}
