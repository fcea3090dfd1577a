/** @file What a model is asked, and which part of its answer counts. */
import { assert, assertEquals } from "@std/assert";
import type { RenderChat } from "../../data/chat.ts";
import type { Task } from "./load.ts";
import { cutAt, extractCompletion, promptOf } from "./prompts.ts";

const task = (benchmark: Task["benchmark"], prompt: string): Task => ({
  id: "",
  benchmark,
  prompt,
  entry: "f",
  canonical: "",
  atol: 0,
  base: [],
  plus: [],
});

Deno.test("prompts are Magicoder's, byte for byte", () => {
  const head =
    "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable " +
    "responses to user instructions.\n\n@@ Instruction\n";
  const humaneval = promptOf(task("humaneval", '\ndef f():\n    """ One. """\n'), "magicoder");
  assertEquals(
    humaneval.text,
    head + 'Write a solution to the following problem:\n```python\ndef f():\n    """ One. """\n```\n\n@@ Response\n' +
      '```python\ndef f():\n    """ One. """',
  );
  assertEquals(
    humaneval.solution("\n    return 1\n```\nIt returns one."),
    'def f():\n    """ One. """\n    return 1\n',
  );
  for (const stop of ["", "."]) {
    const mbpp = promptOf(
      task("mbpp", `"""\nWrite a function to add${stop}\nassert f(1, 2) == 3\n"""\n`),
      "magicoder",
    );
    assertEquals(
      mbpp.text,
      head + "Write a function to add. Your code should satisfy the following assertion:\n```python\n" +
        "assert f(1, 2) == 3\n```\n\n@@ Response\n```python",
    );
    assertEquals(mbpp.solution("\ndef f(a, b): return a + b\n```"), "\ndef f(a, b): return a + b\n");
  }
  assertEquals([extractCompletion("a"), extractCompletion("a```b```c"), cutAt("abc", ["c", "b"])], ["a", "a", "a"]);
});

Deno.test("base and chat prompts, and where their answers end, are evalplus'", () => {
  const humaneval = task("humaneval", 'def one():\n    """Returns 1."""\n\n'), mbpp = task("mbpp", '"""\nOne\n"""\n');
  const plain = promptOf(humaneval, "base");
  assertEquals([plain.text, plain.begins], ['def one():\n    """Returns 1."""\n', true]);
  assertEquals(plain.solution("\treturn 1\nimport os"), 'def one():\n    """Returns 1."""\n    return 1');
  assertEquals(plain.solution("    return 1\n\nprint(one())"), 'def one():\n    """Returns 1."""\n    return 1\n');
  assertEquals(
    promptOf(mbpp, "base").solution('def f(): return 1\nassert f()\n"""'),
    '"""\nOne\n"""\ndef f(): return 1',
  );
  const render: RenderChat = (messages) =>
    messages.map(({ role, content }) => `<${role}>${content.trim()}<end>`).join("");
  const { text, begins, solution } = promptOf(humaneval, "chat", render);
  // What evalplus' make_raw_chat_prompt gives for this template.
  assertEquals(
    text,
    "<user>Please provide a self-contained Python script that solves the following problem in a markdown code " +
      'block:\n```\ndef one():\n    """Returns 1."""\n```<end><assistant>Below is a Python script with a ' +
      "self-contained function that solves the problem and passes corresponding tests:\n```python\n",
  );
  assert(!begins);
  assertEquals(solution("def one():\n\treturn 1\n```\nIt returns 1."), "def one():\n    return 1");
});
