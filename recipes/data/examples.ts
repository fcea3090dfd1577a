/** @file Instructions as samples of token ids, and the split into training and validation. */
import { UserError } from "../../dsl/errors.ts";
import { seeded } from "../random.ts";
import { magicoder } from "../evaluate/prompts.ts";
import type { Sample } from "../model/batch.ts";
import type { Instruction } from "./instructions.ts";

/** The part of a tokenizer that is needed here (`backend/tokenizer.ts` has it). */
export interface Encoder {
  /** Ids of a text; without `special`, no beginning or end token is added. */
  encode(text: string, options?: { readonly special?: boolean }): number[];
  /** Id of the beginning token, if the model has one. */
  readonly bos?: number;
  /** Id of the end token. */
  readonly eos?: number;
}

/** How instructions become ids. */
export interface TokenizeOptions {
  /** Longest example in tokens; longer ones are cut on the right. */
  readonly maxTokens: number;
  /** Rows of the model's embedding: a larger id is an error. */
  readonly vocab: number;
  /** The text before the response (default: Magicoder's). */
  readonly prompt?: (instruction: string) => string;
}

/** Samples, and what was lost on the way. */
export interface TokenizedData {
  /** Every example of which something is left to learn, in order. */
  readonly samples: readonly Sample[];
  /** Examples that were cut. */
  readonly truncated: number;
  /** Examples whose prompt alone fills `maxTokens`: nothing to learn from, left out. */
  readonly dropped: number;
}

/**
 * One instruction as a sample: BOS, prompt, response, EOS; only response and EOS are scored. Prompt and response are
 * encoded separately, so that no token crosses the border.
 *
 * @returns the sample, cut on the right, and whether it was
 * @throws {UserError} if the tokenizer has no end token, or gives an id that the model has no row for
 */
export function tokenizeInstruction(
  example: Instruction,
  tokenizer: Encoder,
  options: TokenizeOptions,
): Sample & { readonly truncated: boolean } {
  const { bos, eos } = tokenizer;
  if (eos === undefined) throw new UserError("the tokenizer names no end token (eos): a response could not end.");
  const template = example.raw ? (text: string): string => text : options.prompt ?? magicoder;
  const prompt = tokenizer.encode(template(example.instruction), { special: false });
  if (bos !== undefined) prompt.unshift(bos);
  const ids = [...prompt, ...tokenizer.encode(example.response, { special: false }), eos];
  const beyond = ids.find((id) => id >= options.vocab || id < 0);
  if (beyond !== undefined) {
    throw new UserError(
      `token id ${beyond} is beyond the embedding's ${options.vocab} rows: this tokenizer does not ` +
        "belong to this model.",
    );
  }
  const truncated = ids.length > options.maxTokens;
  return { ids: ids.slice(0, options.maxTokens), scoredFrom: prompt.length, truncated };
}

/** All instructions as samples. @throws {UserError} as `tokenizeInstruction`, or if nothing is left to learn */
export function tokenizeInstructions(
  examples: readonly Instruction[],
  tokenizer: Encoder,
  options: TokenizeOptions,
): TokenizedData {
  const samples: Sample[] = [];
  let truncated = 0;
  for (const example of examples) {
    const { truncated: cut, ids, scoredFrom } = tokenizeInstruction(example, tokenizer, options);
    if (cut) truncated++;
    if (Math.max(scoredFrom, 1) < ids.length) samples.push({ ids, scoredFrom });
  }
  if (samples.length === 0) {
    throw new UserError(`every prompt is longer than ${options.maxTokens} tokens: nothing to learn from (--seq).`);
  }
  return { samples, truncated, dropped: examples.length - samples.length };
}

/** Examples for training, and others for validation. */
export interface Split<T> {
  /** Shuffled. */
  readonly train: readonly T[];
  /** Exactly as many as asked for. */
  readonly validation: readonly T[];
  /** Examples in neither, because their instruction is one of the validation's. */
  readonly duplicates: number;
}

/**
 * Splits by a seeded shuffle; an instruction that is in the validation set is not trained on, even with another answer.
 *
 * @throws {UserError} if nothing is left to train on
 */
export function splitInstructions(
  examples: readonly Instruction[],
  validation: number,
  seed: number,
): Split<Instruction> {
  const shuffled = seeded(seed).child("split").sample(examples, examples.length);
  const held = shuffled.slice(0, validation);
  const seen = new Set(held.map(({ instruction }) => instruction));
  const rest = shuffled.slice(validation);
  const train = rest.filter(({ instruction }) => !seen.has(instruction));
  if (train.length === 0) {
    throw new UserError(
      `the data has ${examples.length} examples; ${validation} for validation leave none to train on.`,
    );
  }
  return { train, validation: held, duplicates: rest.length - train.length };
}
