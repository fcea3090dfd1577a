/** @file pass@k and what it is worth: the unbiased estimator and 95% intervals. */

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

const z = 1.959963984540054;

/** Wilson's interval of a share: right near 0 and 1 too, where the normal one leaves [0, 1]. */
export function wilson(successes: number, trials: number): Interval {
  if (trials === 0) return [0, 1];
  const share = successes / trials;
  const centre = share + z * z / (2 * trials);
  const spread = z * Math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials));
  const scale = 1 + z * z / trials;
  // At 0 and at all successes the formula gives 0 and 1, which rounding would miss by a hair.
  const low = successes === 0 ? 0 : (centre - spread) / scale;
  const high = successes === trials ? 1 : (centre + spread) / scale;
  return [low, high];
}

/** The interval of a mean of per-task estimates, over tasks (normal, cut to [0, 1]). */
export function normalInterval(values: readonly number[]): Interval {
  const n = values.length;
  if (n < 2) return [0, 1];
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
  const spread = z * Math.sqrt(variance / n);
  return [Math.max(0, mean - spread), Math.min(1, mean + spread)];
}

/**
 * Mean pass@k over tasks and its 95% interval: Wilson's where each task has one sample, else a normal one over tasks.
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
  const interval = isShare ? wilson(values.filter((each) => each === 1).length, values.length) : normalInterval(values);
  return { value, interval };
}
