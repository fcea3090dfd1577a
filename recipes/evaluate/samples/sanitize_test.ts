/** @file Sanitised answers, against what evalplus 0.3.1 made of the same (under CPython 3.13, tree-sitter-python 0.25.0). */
import { assertEquals } from "@std/assert";
import cases from "./sanitize_cases.json" with { type: "json" };
import { sanitize } from "./sanitize.ts";

Deno.test("odd answers are sanitised as evalplus sanitises them", async () => {
  const got = await sanitize(cases);
  for (const [i, { text, sanitized }] of cases.entries()) assertEquals(got[i], sanitized, JSON.stringify(text));
});
