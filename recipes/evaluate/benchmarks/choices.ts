/**
 * @file Questions with answers to choose from, one JSON object a line: `prompt` (or `context`, or `question`), `choices`
 * and `answer`, the right one's number from 0 on.
 */
import { UserError } from "../../../dsl/errors.ts";
import { parseObject, readLines } from "./lines.ts";

/** A question. */
export interface Question {
  /** What is asked. */
  readonly prompt: string;
  /** What may follow it, as it stands in the text (with its space). */
  readonly choices: readonly string[];
  /** The right one's number. */
  readonly answer: number;
}

/** A file of questions. */
export interface Questions {
  /** SHA-256 of the file as it is. */
  readonly sha256: string;
  /** In the file's order. */
  readonly questions: readonly Question[];
}

/** Reads questions. @throws {UserError} naming the line that is none */
export async function loadQuestions(path: string, limit?: number): Promise<Questions> {
  const { sha256, rows } = await readLines(path);
  return { sha256, questions: rows.slice(0, limit).map(({ text, where }) => readQuestion(text, where)) };
}

function readQuestion(text: string, where: string): Question {
  const row = parseObject(text, where);
  const prompt = row.prompt ?? row.context ?? row.question, choices = row.choices, answer = row.answer;
  if (typeof prompt !== "string") throw new UserError(`${where}: no "prompt" (or "context", or "question").`);
  if (
    !Array.isArray(choices) || choices.length < 2 || choices.some((each) => typeof each !== "string" || each === "")
  ) {
    throw new UserError(`${where}: "choices" is no list of two texts or more.`);
  }
  if (!Number.isInteger(answer) || (answer as number) < 0 || (answer as number) >= choices.length) {
    throw new UserError(
      `${where}: "answer" is ${JSON.stringify(answer)}, expected a number from 0 to ${choices.length - 1}.`,
    );
  }
  return { prompt, choices, answer: answer as number };
}

/**
 * Text and choice as token ids. Spaces at the text's end go with the choice, and the border lies where it lies when both
 * are one text: tokens begin with a space.
 *
 * @param first the token that stands for an empty text
 */
export function splitAtChoice(
  prompt: string,
  choice: string,
  encode: (text: string) => readonly number[],
  first: number | undefined,
): { readonly context: readonly number[]; readonly continuation: readonly number[] } {
  const trimmed = prompt.trimEnd(), context = encode(trimmed);
  const whole = encode(prompt + choice);
  if (context.length === 0 && first !== undefined) return { context: [first], continuation: whole };
  // A choice that is one token with the text's last letters is judged with them.
  const border = Math.min(context.length, whole.length - 1);
  return { context: whole.slice(0, border), continuation: whole.slice(border) };
}
