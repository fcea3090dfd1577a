/** @file What a model is asked, and which part of its answer counts. */
import { assertEquals } from "@std/assert";
import type { Task } from "./load.ts";
import { cutAt, extractCompletion, humanEvalPrompt, mbppPrompt } from "./prompts.ts";

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
  const humaneval = humanEvalPrompt(task("humaneval", '\ndef f():\n    """ One. """\n'));
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
    const mbpp = mbppPrompt(task("mbpp", `"""\nWrite a function to add${stop}\nassert f(1, 2) == 3\n"""\n`));
    assertEquals(
      mbpp.text,
      head + "Write a function to add. Your code should satisfy the following assertion:\n```python\n" +
        "assert f(1, 2) == 3\n```\n\n@@ Response\n```python",
    );
    assertEquals(mbpp.solution("\ndef f(a, b): return a + b\n```"), "\ndef f(a, b): return a + b\n");
  }
  assertEquals([extractCompletion("a"), extractCompletion("a```b```c"), cutAt("abc", ["c", "b"])], ["a", "a", "a"]);
});

Deno.test("a plain prompt ends where the answer's first line break begins, and the answer ends before other code", () => {
  const { text, solution } = humanEvalPrompt(task("humaneval", 'def one():\n    """Returns 1."""\n'), "base");
  assertEquals(text, 'def one():\n    """Returns 1."""');
  assertEquals(solution("\n    return 1\n\nprint(one())"), 'def one():\n    """Returns 1."""\n    return 1\n');
});
