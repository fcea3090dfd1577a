/** @file Lengths of samples in numbers: what tells how long rows should be. */

/** How long samples are, in tokens. */
export interface Lengths {
  readonly least: number;
  readonly median: number;
  readonly mean: number;
  /** 95 of 100 are not longer. */
  readonly p95: number;
  readonly most: number;
  /** How many are longer than the limit before, and not longer than this one. */
  readonly histogram: readonly { readonly upTo: number; readonly count: number }[];
}

/**
 * Describes lengths; the histogram's limits are powers of two.
 *
 * @example
 * ```ts
 * import { describeLengths } from "./statistics.ts";
 * const { median, histogram } = describeLengths([3, 5, 40]);
 * console.assert(median === 5 && histogram.map(({ count }) => count).join() === "1,1,0,0,1");
 * ```
 */
export function describeLengths(lengths: ArrayLike<number>): Lengths {
  const sorted = Float64Array.from(lengths).sort(), count = sorted.length;
  if (count === 0) return { least: 0, median: 0, mean: 0, p95: 0, most: 0, histogram: [] };
  const quantile = (share: number): number => sorted[Math.max(0, Math.ceil(share * count) - 1)];
  const limit = (length: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, length)));
  const histogram: { upTo: number; count: number }[] = [];
  for (let upTo = limit(sorted[0]); upTo <= limit(sorted[count - 1]); upTo *= 2) histogram.push({ upTo, count: 0 });
  for (const length of sorted) histogram[Math.log2(limit(length) / histogram[0].upTo)].count++;
  return {
    least: sorted[0],
    median: quantile(0.5),
    mean: sorted.reduce((sum, length) => sum + length, 0) / count,
    p95: quantile(0.95),
    most: sorted[count - 1],
    histogram,
  };
}
