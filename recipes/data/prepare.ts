/** @file From files to what `train` and `learn` take: batches by step, and a fixed validation set. */
import { UserError } from "../../dsl/errors.ts";
import type { HostBatch, Sample } from "../model/batch.ts";
import { type BatchSequence, trainingBatches, validationBatches } from "./batches.ts";
import { cleaner, type Removal } from "./clean/mod.ts";
import { parseFields, type Placed, questionOf, readExamples, sha256Of } from "./read/mod.ts";
import { type Samples, SampleStore, selected } from "./samples.ts";
import type { DataSettings } from "./settings.ts";
import { splitByKey, splitKey } from "./split.ts";
import { describeLengths, type Lengths } from "./statistics.ts";
import { templateOf } from "./templates.ts";
import { type Encoder, tokenizeExamples } from "./tokenize.ts";

/** How data is prepared. */
export interface PrepareOptions extends DataSettings {
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
  /** Bytes of ids that stay in memory; more go to a temporary file (default: 256 MiB). */
  readonly memory?: number;
  /** Ends the reading. */
  readonly signal?: AbortSignal;
  /** Called for every example that is left out. */
  readonly onRemoved?: (removal: Removal) => void;
  /** Called for every sample. */
  readonly onSample?: (sample: Sample) => void;
  /** Called now and then with how many examples were read. */
  readonly onProgress?: (examples: number) => void;
}

/** What stands beside every number that was made from the data. */
export interface DataReport {
  /** As given. */
  readonly files: readonly string[];
  /** Over the files' contents. */
  readonly sha256: string;
  /** As given: other settings make other batches of the same files. */
  readonly settings: DataSettings;
  /** Samples trained on. */
  readonly train: number;
  /** Samples validated on. */
  readonly validation: number;
  /** Rows that the samples trained on make. */
  readonly rows: number;
  /** Tokens of the samples trained on. */
  readonly tokens: number;
  /** Samples cut on the right. */
  readonly truncated: number;
  /** Examples left out, by reason. */
  readonly removed: Readonly<Record<Removal["reason"], number>>;
  /** Lengths of all samples before they were cut. */
  readonly lengths: Lengths;
}

/** Data, ready to be learned from. It may hold a temporary file open. */
export interface PreparedData extends Disposable {
  /** Batches by step. */
  readonly batches: BatchSequence;
  /** A fixed set, short rows first; packed where the batches are, in documents that never see each other. */
  readonly validation: readonly HostBatch[];
  /** The samples behind the batches. */
  readonly samples: Samples;
  /** What was read, and what was lost. */
  readonly report: DataReport;
}

/** Examples that are encoded together. */
const GROUP = 256;

/**
 * Reads, cleans, tokenizes and splits instruction data, in one pass over the files.
 *
 * @throws {UserError} naming file and line of what is malformed, or if nothing is left to learn
 */
export async function prepareData(
  files: readonly string[],
  tokenizer: Encoder,
  options: PrepareOptions,
): Promise<PreparedData> {
  const { batch, seq, seed, fields, template, pack, duplicates, decontaminate, ngram, skipMalformed } = options;
  const store = new SampleStore(options.memory);
  try {
    const { keys, lengths, truncated, removed } = await fill(store, files, tokenizer, options);
    if (store.length === 0) {
      throw new UserError(`every prompt is longer than ${seq} tokens: nothing to learn from (--seq).`);
    }
    const split = splitByKey(keys, options.validation);
    const train = selected(store, split.train), held = selected(store, split.validation);
    const batches = trainingBatches(train, { batch, seq, seed, pack });
    let tokens = 0;
    for (let i = 0; i < train.length; i++) tokens += train.tokens(i);
    return {
      batches,
      validation: validationBatches(held, { batch, seq, seed, pack }),
      samples: train,
      report: {
        files,
        sha256: sha256Of(files),
        settings: { fields, template, pack, duplicates, decontaminate, ngram, skipMalformed },
        train: train.length,
        validation: held.length,
        rows: batches.rows,
        tokens,
        truncated,
        removed: { ...removed, "in validation": split.repeats.length },
        lengths: describeLengths(lengths),
      },
      [Symbol.dispose]: () => store[Symbol.dispose](),
    };
  } catch (error) {
    store[Symbol.dispose]();
    throw error;
  }
}

/** What is known of the samples in a store, and of what is not there. */
interface Filled {
  /** For the split, one for each sample. */
  readonly keys: readonly number[];
  /** Of all examples, before they were cut. */
  readonly lengths: readonly number[];
  readonly truncated: number;
  readonly removed: Readonly<Record<Removal["reason"], number>>;
}

/** Reads all files into the store; what is left out is counted and told. */
async function fill(
  store: SampleStore,
  files: readonly string[],
  tokenizer: Encoder,
  options: PrepareOptions,
): Promise<Filled> {
  const { seq, seed, vocab, onRemoved, onSample, onProgress, signal } = options;
  const template = await templateOf(options.template ?? "magicoder", tokenizer);
  const fields = options.fields === undefined ? undefined : parseFields(options.fields);
  const unwanted = await cleaner(options);
  const keys: number[] = [], lengths: number[] = [];
  let truncated = 0, read = 0;
  const removed: Record<Removal["reason"], number> = {
    "malformed": 0,
    "duplicate": 0,
    "near-duplicate": 0,
    "contaminated": 0,
    "too long": 0,
    "in validation": 0,
  };
  const remove = (removal: Removal): void => {
    removed[removal.reason]++;
    onRemoved?.(removal);
  };
  const encode = async (group: readonly Placed[]): Promise<void> => {
    for (const [index, one] of tokenizeExamples(group, tokenizer, { maxTokens: seq, vocab, template }).entries()) {
      const { where, sample, tokens } = one;
      lengths.push(tokens);
      if (tokens > seq) truncated++;
      if (!sample) {
        remove({ where, reason: "too long", detail: `no answer begins within ${seq} tokens` });
        continue;
      }
      keys.push(splitKey(questionOf(group[index].example), seed));
      store.add(sample);
      onSample?.(sample);
    }
    read += group.length;
    onProgress?.(read);
    // Reading waits for nothing: signals get their turn here.
    await new Promise((resolve) => setTimeout(resolve, 0));
    signal?.throwIfAborted();
  };
  const onMalformed = options.skipMalformed
    ? (where: string, detail: string): void => remove({ where, reason: "malformed", detail })
    : undefined;
  let group: Placed[] = [];
  for await (const placed of readExamples(files, { fields, onMalformed })) {
    const removal = unwanted(placed);
    if (removal) remove(removal);
    else group.push(placed);
    if (group.length < GROUP) continue;
    await encode(group);
    group = [];
  }
  await encode(group);
  return { keys, lengths, truncated, removed };
}
