/** @file Batches for training: shuffled by seed, of similar lengths or packed, padded to a few fixed lengths. */
import { seeded } from "../random.ts";
import { type BatchOptions, type HostBatch, makeBatch, type Sample } from "../model/batch.ts";
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
