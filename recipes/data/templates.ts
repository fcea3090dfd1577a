/**
 * @file Examples as text: pieces that are read, and pieces that are learned. Magicoder's prompt, the model's own chat
 * template, or none.
 */
import { UserError } from "../../dsl/errors.ts";
import { chatRenderer, type TemplateTokenizer } from "./chat.ts";
import { magicoder } from "./magicoder.ts";
import { answerOf, type Example, questionOf } from "./read/mod.ts";

/** The ways of putting an example into words. */
export type TemplateName = "magicoder" | "model" | "none";

/** A part of an example's text, encoded by itself: no token crosses its borders. */
export interface Piece {
  readonly text: string;
  /** Counts in the loss. */
  readonly scored: boolean;
}

/** An example as text. */
export interface Rendered {
  readonly pieces: readonly Piece[];
  /** The tokenizer's beginning token comes first (a chat template writes its own). */
  readonly begins: boolean;
}

/** Puts an example into words. @throws {UserError} if the template does not take it */
export type Template = (example: Example) => Rendered;

/**
 * A template by name.
 *
 * @throws {UserError} if the model has no chat template, or none that can be read
 * @example
 * ```ts
 * import { templateOf } from "./templates.ts";
 * const render = await templateOf("none", {});
 * const turns = [{ role: "user", content: "1 + 1 = " }, { role: "assistant", content: "2" }];
 * console.assert(render({ turns, raw: false }).pieces.map(({ text }) => text).join("|") === "1 + 1 = |2");
 * ```
 */
export async function templateOf(name: TemplateName, tokenizer: TemplateTokenizer): Promise<Template> {
  switch (name) {
    case "magicoder":
      return (example) =>
        questionAndAnswer(example, example.raw ? questionOf(example) : magicoder(questionOf(example)));
    case "none":
      return (example) => questionAndAnswer(example, questionOf(example));
    case "model":
      return await chatTemplate(tokenizer);
  }
}

function questionAndAnswer(example: Example, question: string): Rendered {
  const pieces = [{ text: question, scored: false }, { text: answerOf(example), scored: true }];
  return { pieces, begins: true };
}

/**
 * The model's own template. What it adds for an answer of the assistant's, beyond what it puts before one that is yet
 * to come, is what the model is to write, in every turn.
 */
async function chatTemplate(tokenizer: TemplateTokenizer): Promise<Template> {
  const render = await chatRenderer(tokenizer, "--template model");
  return (example) => {
    const { turns, raw } = example;
    if (raw) return questionAndAnswer(example, questionOf(example));
    const whole = render(turns, false), pieces: Piece[] = [];
    let done = 0;
    for (const [index, { role }] of turns.entries()) {
      if (role !== "assistant") continue;
      const before = render(turns.slice(0, index), true), after = render(turns.slice(0, index + 1), false);
      if (!whole.startsWith(before) || !whole.startsWith(after) || before.length < done) {
        throw new UserError(
          "the model's chat template writes a conversation's beginning in another way when it goes on, so that its " +
            "answers cannot be told apart; use another --template.",
        );
      }
      pieces.push({ text: whole.slice(done, before.length), scored: false });
      pieces.push({ text: whole.slice(before.length, after.length), scored: true });
      done = after.length;
    }
    return { pieces, begins: false };
  };
}
