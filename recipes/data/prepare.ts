/** @file From files to what `train` and `learn` take: batches by step, and a fixed validation set. */
import { batchesOf, type HostBatch, type Sample } from "../model/batch.ts";
import { type BatchSequence, trainingBatches } from "./batches.ts";
import { type Encoder, splitInstructions, tokenizeInstructions } from "./examples.ts";
import { readInstructions } from "./instructions.ts";

/** How data is prepared. */
export interface PrepareOptions {
  /** Rows of a batch. */
  readonly batch: number;
  /** Longest row in tokens. */
  readonly seq: number;
  /** Rows of the model's embedding. */
  readonly vocab: number;
  /** Examples kept for validation. */
  readonly validation: number;
  /** Start of the split and of the shuffle. */
  readonly seed: number;
  /** Leave out malformed records and count them. */
  readonly skipMalformed?: boolean;
}

/** What stands beside every number that was made from the data. */
export interface DataReport {
  /** As given. */
  readonly files: readonly string[];
  /** Over the files' contents. */
  readonly sha256: string;
  /** Samples trained on. */
  readonly train: number;
  /** Samples validated on. */
  readonly validation: number;
  /** Tokens of the samples trained on. */
  readonly tokens: number;
  /** Malformed records left out. */
  readonly skipped: number;
  /** Samples cut on the right. */
  readonly truncated: number;
  /** Examples whose prompt alone is too long. */
  readonly dropped: number;
  /** Examples left out because their instruction is in the validation set. */
  readonly duplicates: number;
}

/** Data, ready to be learned from. */
export interface PreparedData {
  /** Batches by step. */
  readonly batches: BatchSequence;
  /** A fixed set, short samples first. */
  readonly validation: readonly HostBatch[];
  /** The samples behind the batches. */
  readonly samples: readonly Sample[];
  /** What was read, and what was lost. */
  readonly report: DataReport;
}

/**
 * Reads, splits and tokenizes instruction data.
 *
 * @throws {UserError} naming file and line of what is malformed, or if nothing is left to learn
 */
export function prepareData(files: readonly string[], tokenizer: Encoder, options: PrepareOptions): PreparedData {
  const { batch, seq, vocab, seed } = options;
  const { examples, skipped, sha256 } = readInstructions(files, options);
  const split = splitInstructions(examples, options.validation, seed);
  const limits = { maxTokens: seq, vocab };
  const train = tokenizeInstructions(split.train, tokenizer, limits);
  const held = split.validation.length > 0 ? tokenizeInstructions(split.validation, tokenizer, limits) : undefined;
  return {
    batches: trainingBatches(train.samples, { batch, seq, seed }),
    validation: held ? batchesOf(held.samples, { batch, seq, bucket: 32 }) : [],
    samples: train.samples,
    report: {
      files,
      sha256,
      train: train.samples.length,
      validation: held?.samples.length ?? 0,
      tokens: train.samples.reduce((sum, { ids }) => sum + ids.length, 0),
      skipped,
      truncated: train.truncated + (held?.truncated ?? 0),
      dropped: train.dropped + (held?.dropped ?? 0),
      duplicates: split.duplicates,
    },
  };
}
