/** @file What a model is asked, and which part of its answer counts. */
import { assertEquals } from "@std/assert";
import { promptOf } from "./prompts.ts";
import type { Task } from "./benchmarks.ts";

const task = {
  benchmark: "humaneval",
  id: "HumanEval/0",
  prompt: 'def one():\n    """Returns 1."""\n',
  canonical: "    return 1\n",
  entry: "one",
  atol: 0,
  base: [],
  plus: [],
} satisfies Task;

Deno.test("a plain prompt ends where the answer's first line break begins, and the answer ends before other code", () => {
  const { text, solution } = promptOf(task, "base");
  assertEquals(text, 'def one():\n    """Returns 1."""');
  assertEquals(
    solution("\n    return 1\n\nprint(one())"),
    'def one():\n    """Returns 1."""\n    return 1\n',
  );
});

Deno.test("Magicoder's prompt opens the fence that the answer closes", () => {
  const { text, solution } = promptOf(task, "magicoder");
  assertEquals(text.endsWith('@@ Response\n```python\ndef one():\n    """Returns 1."""'), true);
  assertEquals(
    solution("\n    return 1\n```\nThis returns 1."),
    'def one():\n    """Returns 1."""\n    return 1\n',
  );
});
