/**
 * @file Documents to pretrain on: programs of the train split, bare, commented, with a docstring, and a few as
 * questions with answers. They use only the usual part of each step's phrasings: tuning has something left to teach.
 */
import type { Random } from "../../random.ts";
import { fill } from "./domain.ts";
import { instruction, phrase, program, source } from "./generate.ts";

/** Shares of the kinds of documents (they need not sum to 1), and how varied their wording is. */
export interface Mixture {
  /** Source and nothing else. */
  readonly bare: number;
  /** A comment above each line. */
  readonly commented: number;
  /** A docstring that lists the steps. */
  readonly docstring: number;
  /** An instruction and its solution: this share sets the base model's score, 0 without it. */
  readonly question: number;
  /** Share of each step's phrasings used in comments and docstrings. */
  readonly variety: number;
  /** Share of each step's phrasings used in questions. */
  readonly questionVariety: number;
}

/** A document: text, with the instruction apart where it is a question with its answer. */
export interface PretrainingDocument {
  /** The question, where the document is one. */
  readonly instruction?: string;
  /** Python source. */
  readonly solution: string;
}

/** The miniature run's mixture: much of it in comments, where a model learns to copy an argument from words to code. */
export const usualMixture: Mixture = {
  bare: 25,
  commented: 40,
  docstring: 25,
  question: 10,
  variety: 0.5,
  questionVariety: 0,
};

/**
 * Draws one document. Held-out structures never occur in it.
 *
 * @param random the stream to draw from
 * @param mixture shares of the kinds
 * @returns the document
 */
export function pretrainingDocument(random: Random, mixture: Mixture = usualMixture): PretrainingDocument {
  const drawn = program(random, "train");
  const solution = source(drawn);
  const kind = random.weighted([mixture.bare, mixture.commented, mixture.docstring, mixture.question]);
  if (kind === 0) return { solution };
  if (kind === 3) return { instruction: instruction(random, drawn, mixture.questionVariety), solution };
  const [head, ...body] = solution.split("\n");
  const phrases = drawn.steps.map(({ step, use }) => phrase(random, step, use, mixture.variety));
  if (kind === 1) {
    const lines = drawn.steps.flatMap((
      { step, use },
      index,
    ) => [`    # ${phrases[index]}`, `    ${fill(step.code, use)}`]);
    return { solution: [head, ...lines].join("\n") };
  }
  return { solution: [head, `    """ ${phrases.join("; ")} """`, ...body].join("\n") };
}
