/** @file What erasing names must and must not merge. */
import { assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { normalisedSyntax, shape } from "./syntax.ts";

Deno.test("names, spacing, comments and docstrings leave no trace", () => {
  assertEquals(
    normalisedSyntax('def f(s):\n    """ turn it; return it """\n    # upper\n    t = s.upper()\n\n    return t'),
    normalisedSyntax("def g( a ):\n  a=a.lower( )\n  return a"),
  );
});

Deno.test("operators, constants, keywords and indentation stay", () => {
  const base = normalisedSyntax("if a > 1:\n    b = a\n    c = a");
  for (
    const other of ["if a < 1:\n    b = a\n    c = a", "if a > 2:\n    b = a\n    c = a", "if a > 1:\n    b = a\nc = a"]
  ) {
    assertNotEquals(normalisedSyntax(other), base);
  }
  assertNotEquals(normalisedSyntax("return x in y"), normalisedSyntax("return x is y"));
  assertNotEquals(normalisedSyntax("f(x, True)"), normalisedSyntax("f(x, y)"));
});

Deno.test("a shape forgets constants of every kind", () => {
  assertEquals(shape("x = y.replace('a', '')"), shape("s = s.count('# no comment', 3)"));
  assertEquals(shape("f(True)"), shape("f(2)"));
  assertNotEquals(shape("x[-2:]"), shape("x[2:]"));
});

Deno.test("what is no Python is refused", () => {
  assertThrows(() => normalisedSyntax("x = 'open"), Error, "column 4");
});
