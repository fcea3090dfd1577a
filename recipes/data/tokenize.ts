/** @file Examples as samples of token ids, with what of them is learned. */
import { UserError } from "../../dsl/errors.ts";
import type { Sample, Span } from "../model/batch.ts";
import type { Placed } from "./read/mod.ts";
import type { TemplateTokenizer } from "./chat.ts";
import type { Rendered, Template } from "./templates.ts";

/** The part of a tokenizer that is needed here (`backend/tokenizer.ts` has it). */
export interface Encoder extends TemplateTokenizer {
  /** Ids of texts; without `special`, no beginning or end token is added. */
  encodeBatch(texts: readonly string[], options?: { readonly special?: boolean }): number[][];
}

/** How examples become ids. */
export interface TokenizeOptions {
  /** Longest example in tokens; longer ones are cut on the right. */
  readonly maxTokens: number;
  /** Rows of the model's embedding: a larger id is an error. */
  readonly vocab: number;
  /** How examples are put into words. */
  readonly template: Template;
}

/** An example's sample. */
export interface Tokenized {
  readonly where: string;
  /** Cut on the right; undefined where nothing is left to learn. */
  readonly sample?: Sample;
  /** Tokens before it was cut. */
  readonly tokens: number;
}

/**
 * Examples as samples: what comes before an answer, the answer, and the end token; answers and end tokens are scored.
 * All texts of the group are encoded at once, which is faster.
 *
 * @throws {UserError} if the tokenizer has no end token, gives an id that the model has no row for, or the template
 * refuses an example
 */
export function tokenizeExamples(
  examples: readonly Placed[],
  tokenizer: Encoder,
  { maxTokens, vocab, template }: TokenizeOptions,
): Tokenized[] {
  if (tokenizer.eos === undefined) {
    throw new UserError("the tokenizer names no end token (eos): a response could not end.");
  }
  const rendered = examples.map(({ where, example }) => {
    try {
      return template(example);
    } catch (error) {
      throw error instanceof UserError ? new UserError(`${where}: ${error.message}`) : error;
    }
  });
  const encoded = tokenizer.encodeBatch(rendered.flatMap(({ pieces }) => pieces.map(({ text }) => text)), {
    special: false,
  });
  let next = 0;
  return rendered.map((one, index) => {
    const { ids, scored } = assemble(one, encoded.slice(next, next += one.pieces.length), tokenizer);
    const beyond = ids.find((id) => id >= vocab || id < 0);
    if (beyond !== undefined) {
      throw new UserError(
        `token id ${beyond} is beyond the embedding's ${vocab} rows: this tokenizer does not belong to this model.`,
      );
    }
    const { where } = examples[index], sample = sampleOf(ids.slice(0, maxTokens), scored);
    return { where, tokens: ids.length, ...(sample && { sample: { ...sample, source: where } }) };
  });
}

/** Ids of all pieces in a row, and which of them are scored. */
function assemble(
  { pieces, begins }: Rendered,
  encoded: readonly (readonly number[])[],
  { bos, eos }: Encoder,
): { readonly ids: number[]; readonly scored: Span[] } {
  const ids: number[] = begins && bos !== undefined ? [bos] : [], scored: Span[] = [];
  for (const [index, own] of encoded.entries()) {
    const from = ids.length;
    ids.push(...own);
    if (!pieces[index].scored) continue;
    // A chat template writes the end token itself, and perhaps a newline after it, which no model has to write.
    const end = own.lastIndexOf(eos!), last = index === encoded.length - 1;
    if (end < 0 && last) ids.push(eos!);
    scored.push([from, end < 0 || begins ? ids.length : from + end + 1]);
    if (last && end >= 0 && !begins) ids.length = from + end + 1;
  }
  return { ids, scored };
}

/** The sample of ids, of which these spans are scored; undefined where none of them is left. */
function sampleOf(ids: readonly number[], scored: readonly Span[]): Sample | undefined {
  const left = scored.filter(([from]) => Math.max(from, 1) < ids.length);
  if (left.length === 0) return undefined;
  const unscored = left.slice(1).map(([from], index): Span => [left[index][1], from]).filter(([from, to]) => from < to);
  // Behind the last answer there is nothing to learn.
  return {
    ids: ids.slice(0, left[left.length - 1][1]),
    scoredFrom: left[0][0],
    ...(unscored.length > 0 && { unscored }),
  };
}
