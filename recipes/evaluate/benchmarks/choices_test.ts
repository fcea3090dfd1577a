/** @file Questions from files, and where a choice begins among the tokens. */
import { assertEquals, assertRejects } from "@std/assert";
import { UserError } from "../../../dsl/errors.ts";
import { withTempDir } from "../../../tests/support.ts";
import { loadQuestions, splitAtChoice } from "./choices.ts";

/** A word with the space before it is a token, and so is "ab". */
const encode = (text: string): number[] => (text.match(/ ?(?:ab|\w|$)/g) ?? []).filter((each) => each !== "").map(hash);
const hash = (text: string): number => [...text].reduce((sum, letter) => sum * 256 + letter.charCodeAt(0), 0);

Deno.test("a choice takes the spaces before it, and what it makes one token of", () => {
  const split = (prompt: string, choice: string): [number, number] => {
    const { context, continuation } = splitAtChoice(prompt, choice, encode, 7);
    assertEquals([...context, ...continuation], context[0] === 7 ? [7, ...encode(choice)] : encode(prompt + choice));
    return [context.length, continuation.length];
  };
  assertEquals(split("x y", " z"), [2, 1]);
  assertEquals(split("x y ", "z"), [2, 1]);
  assertEquals(split("x a", "b"), [1, 1]);
  assertEquals(split("", "x y"), [1, 2]);
});

Deno.test("a line that is no question is named, with what it lacks", () =>
  withTempDir(async (folder) => {
    const path = `${folder}/questions.jsonl`, good = { context: "1 + 1 =", choices: [" 2", " 3"], answer: 0 };
    const load = async (row: unknown, limit?: number) => {
      await Deno.writeTextFile(path, `${JSON.stringify(good)}\n\n${JSON.stringify(row)}\n`);
      return await loadQuestions(path, limit);
    };
    const { questions, sha256 } = await load({ ...good, context: undefined, question: "2 + 1 =", answer: 1 });
    assertEquals([questions.map(({ prompt }) => prompt), questions[1].answer], [["1 + 1 =", "2 + 1 ="], 1]);
    assertEquals([sha256.length, (await load({}, 1)).questions.length], [64, 1]);
    await assertRejects(() => load({ choices: ["a", "b"], answer: 0 }), UserError, 'questions.jsonl:3: no "prompt"');
    await assertRejects(() => load({ ...good, choices: ["a"] }), UserError, 'questions.jsonl:3: "choices"');
    await assertRejects(() => load({ ...good, answer: 2 }), UserError, '"answer" is 2, expected a number from 0 to 1');
    await assertRejects(() => load({ ...good, answer: "0" }), UserError, '"answer" is "0"');
  }));
