/** @file Batches: samples of token ids as rectangles of tokens and labels. */
import { tensor } from "../../dsl/mod.ts";
import type { Tokens } from "./llama.ts";

/** Tokens, and for each the token that should follow it. −1: no token (padding), no label (not scored). */
export type Batch = { tokens: Tokens; labels: Tokens };

/** A batch on the host, row by row. Padding (−1) stands on the right; labels are shifted already. */
export interface HostBatch {
  /** Rows. */
  readonly rows: number;
  /** Places in each row. */
  readonly length: number;
  /** Ids, rows · length of them. */
  readonly tokens: Int32Array;
  /** For each place the id that should follow. */
  readonly labels: Int32Array;
}

/** A text to learn from. */
export interface Sample {
  /** All its tokens. */
  readonly ids: readonly number[];
  /** The first token that counts in the loss; those before it are the prompt. */
  readonly scoredFrom: number;
}

/** As tensors, to be given to a compiled step. */
export function toBatch({ rows, length, tokens, labels }: HostBatch): Batch {
  const sizes = { batch: rows, seq: length };
  return { tokens: tensor(sizes, tokens, "i32"), labels: tensor(sizes, labels, "i32") };
}

/**
 * Samples as one rectangle of `length` tokens a row, cut on the right, filled with −1.
 *
 * @example
 * ```ts
 * import { makeBatch } from "./batch.ts";
 * const { tokens, labels } = makeBatch([{ ids: [5, 6, 7], scoredFrom: 2 }], 4);
 * console.assert(tokens.join() === "5,6,7,-1" && labels.join() === "-1,7,-1,-1");
 * ```
 */
export function makeBatch(samples: readonly Sample[], length: number): HostBatch {
  const tokens = new Int32Array(samples.length * length).fill(-1), labels = tokens.slice();
  samples.forEach(({ ids, scoredFrom }, row) => {
    const end = Math.min(ids.length, length);
    for (let i = 0; i < end; i++) {
      tokens[row * length + i] = ids[i];
      if (i > 0 && i >= scoredFrom) labels[row * length + i - 1] = ids[i];
    }
  });
  return { rows: samples.length, length, tokens, labels };
}

/** How samples are put into batches. */
export interface BatchOptions {
  /** Rows of a batch. */
  readonly batch: number;
  /** Longest row in tokens; what is longer is cut on the right. */
  readonly seq: number;
  /** Lengths are rounded up to multiples of it, so that few shapes are compiled (default: always `seq`). */
  readonly bucket?: number;
}

const lengthOf = (samples: readonly Sample[], { seq, bucket = seq }: BatchOptions): number =>
  Math.min(seq, Math.ceil(Math.max(...samples.map(({ ids }) => ids.length), 1) / bucket) * bucket);

/** All samples once, the short ones first: a fixed validation set. The last batch may have fewer rows. */
export function batchesOf(samples: readonly Sample[], options: BatchOptions): HostBatch[] {
  const sorted = samples.toSorted((a, b) => a.ids.length - b.ids.length), batches: HostBatch[] = [];
  for (let start = 0; start < sorted.length; start += options.batch) {
    const rows = sorted.slice(start, start + options.batch);
    batches.push(makeBatch(rows, lengthOf(rows, options)));
  }
  return batches;
}
