/** @file Batches to pretrain on: documents one after another, cut into rows, none of it padding. */
import type { HostBatch } from "../model/batch.ts";
import { type Mixture, pretrainingDocument, usualMixture } from "./family/mod.ts";
import { seeded } from "../random.ts";
import { encodeDocument } from "./tokenizer.ts";

/** The size of a batch, and what it is made of. */
export interface PretrainingOptions {
  /** Rows of a batch. */
  readonly rows: number;
  /** Tokens of a row. */
  readonly length: number;
  /** Shares of the kinds of documents. */
  readonly mixture?: Mixture;
}

/**
 * An endless sequence of batches. Each batch depends on the seed and its step alone, so a run can be resumed.
 *
 * @param seed the seed of all batches
 * @param options sizes and mixture
 * @returns batches by step, from 0; every token is scored
 */
export function pretrainingBatches(
  seed: number | string,
  { rows, length, mixture = usualMixture }: PretrainingOptions,
): { at(step: number): HostBatch } {
  return {
    at(step) {
      const random = seeded(seed).child("pretraining").child(step);
      const stream: number[] = [];
      while (stream.length <= rows * length) stream.push(...encodeDocument(pretrainingDocument(random, mixture)).ids);
      const tokens = Int32Array.from(stream.slice(0, rows * length));
      return { rows, length, tokens, labels: Int32Array.from(stream.slice(1, rows * length + 1)) };
    },
  };
}
