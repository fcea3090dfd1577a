/** @file Batches: samples of token ids as rectangles of tokens and labels. */
import { tensor } from "../../dsl/mod.ts";
import type { Tokens } from "./llama.ts";
import type { Packing } from "./packing.ts";

/**
 * Tokens, and for each the token that should follow it. −1: no token (padding), no label (not scored). Where several
 * documents share a row and must not see each other, `packing` says which tokens belong together.
 */
export type Batch = { tokens: Tokens; labels: Tokens; packing?: Packing };

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
  /** Where the samples of the rows come from (`code.jsonl:14`), for messages. */
  readonly sources?: readonly string[];
  /** For each place its document within the row, and its position in that document (−1: padding). */
  readonly packing?: { readonly documents: Int32Array; readonly positions: Int32Array };
}

/** A text to learn from. */
export interface Sample {
  /** All its tokens. */
  readonly ids: ArrayLike<number>;
  /** The first token that counts in the loss; those before it are the prompt. */
  readonly scoredFrom: number;
  /** Tokens after that which do not count either, from … up to …: other people's turns of a conversation. */
  readonly unscored?: readonly Span[];
  /** Where it comes from (`code.jsonl:14`), for messages. */
  readonly source?: string;
}

/** Places from the first number up to, without, the second. */
export type Span = readonly [from: number, to: number];

/** As tensors, to be given to a compiled step. */
export function toBatch({ rows, length, tokens, labels, packing }: HostBatch): Batch {
  const ids = (data: Int32Array): Tokens => tensor({ batch: rows, seq: length }, data, "i32");
  return {
    tokens: ids(tokens),
    labels: ids(labels),
    ...(packing && { packing: { documents: ids(packing.documents), positions: ids(packing.positions) } }),
  };
}

/** Whether a token of a sample counts in the loss. The first one never does: nothing predicts it. */
const isScored = ({ scoredFrom, unscored = [] }: Sample, at: number): boolean =>
  at > 0 && at >= scoredFrom && !unscored.some(([from, to]) => from <= at && at < to);

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
  samples.forEach((sample, row) => place(sample, row * length, length, tokens, labels));
  return { rows: samples.length, length, tokens, labels, ...sourcesOf(samples) };
}

/** Where samples come from, where that is known. */
export function sourcesOf(samples: readonly Sample[]): Pick<HostBatch, "sources"> {
  const sources = samples.flatMap(({ source }) => source === undefined ? [] : [source]);
  return sources.length > 0 ? { sources } : {};
}

/** Writes a sample's ids, and its labels one place earlier, from `start` on; at most `room` of them. Returns how many. */
export function place(sample: Sample, start: number, room: number, tokens: Int32Array, labels: Int32Array): number {
  const count = Math.min(sample.ids.length, room);
  for (let i = 0; i < count; i++) {
    tokens[start + i] = sample.ids[i];
    if (isScored(sample, i)) labels[start + i - 1] = sample.ids[i];
  }
  return count;
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
