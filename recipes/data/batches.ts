/** @file Batches for training: shuffled by seed, of similar lengths, padded to a few fixed lengths. */
import { seeded } from "../random.ts";
import { type BatchOptions, type HostBatch, makeBatch, type Sample } from "../model/batch.ts";

/** How training batches are made. */
export interface TrainingOptions extends Pick<BatchOptions, "batch" | "seq"> {
  /** Start of the shuffle. */
  readonly seed: number;
  /** Batches that are made together from rows sorted by length, so that less is padding (default 8; 1: as shuffled). */
  readonly window?: number;
}

/** An endless, repeatable sequence of batches: batch `step` is the same in every run, so a run can be resumed. */
export interface BatchSequence {
  /** The batch of a step, from 0. */
  at(step: number): HostBatch;
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
export function trainingBatches(samples: readonly Sample[], options: TrainingOptions): BatchSequence {
  const { batch, seq, seed, window = 8 } = options;
  const positions = samples.map((_, index) => index);
  let latest: { epoch: number; order: readonly number[] }[] = [];
  const order = (epoch: number): readonly number[] => {
    const known = latest.find((one) => one.epoch === epoch);
    if (known) return known.order;
    const made = seeded(seed).child("epoch").child(epoch).sample(positions, positions.length);
    latest = [{ epoch, order: made }, ...latest].slice(0, 4);
    return made;
  };
  const row = (position: number): Sample =>
    samples[order(Math.floor(position / samples.length))[position % samples.length]];
  const groups = Array.from({ length: window }, (_, index) => index);
  return {
    at(step) {
      const first = step - step % window;
      const rows = Array.from({ length: window * batch }, (_, index) => row(first * batch + index));
      if (window > 1) rows.sort((a, b) => a.ids.length - b.ids.length);
      const group = seeded(seed).child("window").child(first).sample(groups, window)[step - first];
      const chosen = rows.slice(group * batch, (group + 1) * batch);
      return makeBatch(chosen, bucketLength(Math.max(...chosen.map(({ ids }) => ids.length)), seq));
    },
    stepsFor: (epochs) => Math.ceil((epochs * samples.length) / batch),
  };
}
