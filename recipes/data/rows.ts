/** @file Which samples share a row: one each, or packed as tightly as lengths allow. */
import { seeded } from "../random.ts";
import type { Samples } from "./samples.ts";

/** Whether samples share rows, and whether they then see each other. */
export type Packing = "none" | "documents" | "joined";

/** Rows of samples, by number. */
export interface Rows {
  /** How many. */
  readonly length: number;
  /** Tokens of a row. */
  tokens(row: number): number;
  /** Numbers of its samples. */
  samples(row: number): ArrayLike<number>;
}

/** Every sample in a row of its own. */
export const separateRows = (samples: Samples): Rows => ({
  length: samples.length,
  tokens: (row) => samples.tokens(row),
  samples: (row) => [row],
});

/**
 * Best fit, the longest first: each sample goes where the least room is left over. What rows hold is decided once, by
 * the seed; their order is drawn anew in each epoch.
 *
 * @param seq room of a row in tokens; no sample is longer
 */
export function packedRows(samples: Samples, seq: number, seed: number): Rows {
  const order = seeded(seed).child("pack").order(samples.length);
  order.sort((a, b) => samples.tokens(b) - samples.tokens(a));
  const rows: number[][] = [], used: number[] = [];
  /** Rows by how much room they have left. */
  const withRoom: number[][] = Array.from({ length: seq + 1 }, () => []);
  for (const sample of order) {
    const tokens = samples.tokens(sample);
    let room = tokens;
    while (room <= seq && withRoom[room].length === 0) room++;
    const row = room <= seq ? withRoom[room].pop()! : rows.push([]) - 1;
    rows[row].push(sample);
    used[row] = (used[row] ?? 0) + tokens;
    withRoom[seq - used[row]].push(row);
  }
  return { length: rows.length, tokens: (row) => used[row], samples: (row) => rows[row] };
}
