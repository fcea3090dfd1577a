/**
 * @file Batches for training: shuffled by seed, of similar lengths or packed, padded to a few fixed lengths; and the fixed
 * ones for validation, packed where training ones are.
 */
import { seeded } from "../random.ts";
import { batchesOf, type BatchOptions, type HostBatch, makeBatch, type Sample } from "../model/batch.ts";
import { packBatch } from "../model/packing.ts";
import { packedRows, type Packing, separateRows } from "./rows.ts";
import { listed, type Samples } from "./samples.ts";

/** How training batches are made. */
export interface TrainingOptions extends Pick<BatchOptions, "batch" | "seq"> {
  /** Start of the shuffle. */
  readonly seed: number;
  /** Batches that are made together from rows sorted by length, so that less is padding (default 8; 1: as shuffled). */
  readonly window?: number;
  /** Whether samples share rows (default: none does). */
  readonly pack?: Packing;
}

/** An endless, repeatable sequence of batches: batch `step` is the same in every run, so a run can be resumed. */
export interface BatchSequence {
  /** The batch of a step, from 0. */
  at(step: number): HostBatch;
  /** Rows of an epoch: as many as samples, fewer where they are packed. */
  readonly rows: number;
  /** Steps that see every example so many times. */
  stepsFor(epochs: number): number;
}

/**
 * A length of the ladder 16, 24, 32, 48, 64, 96, 128, … that holds so many tokens, at most `seq`: few shapes to compile.
 *
 * @example
 * ```ts
 * import { bucketLength } from "./batches.ts";
 * console.assert(bucketLength(70, 512) === 96 && bucketLength(490, 500) === 500);
 * ```
 */
export function bucketLength(tokens: number, seq: number): number {
  let length = 16;
  while (length < tokens) length *= length * 1.5 >= tokens ? 1.5 : 2;
  return Math.min(length, seq);
}

/** Batches for training: the samples in ever new order, epoch after epoch, none left out. */
export function trainingBatches(given: Samples | readonly Sample[], options: TrainingOptions): BatchSequence {
  const { batch, seq, seed, window = 8, pack = "none" } = options;
  const samples = "tokens" in given ? given : listed(given);
  const rows = pack === "none" ? separateRows(samples) : packedRows(samples, seq, seed);
  let latest: { epoch: number; order: Uint32Array }[] = [];
  const order = (epoch: number): Uint32Array => {
    const known = latest.find((one) => one.epoch === epoch);
    if (known) return known.order;
    const made = seeded(seed).child("epoch").child(epoch).order(rows.length);
    latest = [{ epoch, order: made }, ...latest].slice(0, 2);
    return made;
  };
  const row = (position: number): number => order(Math.floor(position / rows.length))[position % rows.length];
  const groups = Array.from({ length: window }, (_, index) => index);
  return {
    at(step) {
      const first = step - step % window;
      const drawn = Array.from({ length: window * batch }, (_, index) => row(first * batch + index));
      if (window > 1) drawn.sort((a, b) => rows.tokens(a) - rows.tokens(b));
      const group = seeded(seed).child("window").child(first).sample(groups, window)[step - first];
      const chosen = drawn.slice(group * batch, (group + 1) * batch);
      const length = bucketLength(Math.max(...chosen.map(rows.tokens)), seq);
      const content = chosen.map((one) => Array.from(rows.samples(one), (index) => samples.at(index)));
      return pack === "none" ? makeBatch(content.flat(), length) : packBatch(content, length, pack === "documents");
    },
    rows: rows.length,
    stepsFor: (epochs) => Math.ceil((epochs * rows.length) / batch),
  };
}

/** How a validation set is put into batches. */
export type ValidationOptions = Pick<TrainingOptions, "batch" | "seq" | "seed" | "pack">;

/**
 * Every sample once, in fixed batches. Where samples share rows they never see each other, in training that joins them
 * too: the loss of a token is the same however a validation set is packed, so that losses of all settings compare.
 *
 * @example
 * ```ts
 * import { validationBatches } from "./batches.ts";
 * const samples = [3, 4, 9].map((length) => ({ ids: new Array<number>(length).fill(5), scoredFrom: 1 }));
 * const [{ rows, packing }] = validationBatches(samples, { batch: 4, seq: 16, seed: 1, pack: "documents" });
 * console.assert(rows === 1 && packing !== undefined);
 * ```
 */
export function validationBatches(given: Samples | readonly Sample[], options: ValidationOptions): HostBatch[] {
  const { batch, seq, seed, pack = "none" } = options;
  const samples = "tokens" in given ? given : listed(given);
  const chosen = (row: ArrayLike<number>): Sample[] => Array.from(row, (index) => samples.at(index));
  if (pack === "none") {
    const all = Array.from({ length: samples.length }, (_, index) => index);
    return batchesOf(chosen(all), { batch, seq, bucket: 32 });
  }
  const rows = packedRows(samples, seq, seed);
  const order = Array.from({ length: rows.length }, (_, row) => row).sort((a, b) => rows.tokens(a) - rows.tokens(b));
  return Array.from({ length: Math.ceil(order.length / batch) }, (_, index) => {
    const some = order.slice(index * batch, (index + 1) * batch), longest = Math.max(...some.map(rows.tokens));
    return packBatch(some.map((row) => chosen(rows.samples(row))), Math.min(seq, Math.ceil(longest / 32) * 32));
  });
}
