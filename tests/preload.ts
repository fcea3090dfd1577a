/**
 * @file Loaded before every test: an example's `console.assert` that does not hold fails its test, and the compiler
 * checks the result of each of its passes.
 */
console.assert = (condition?: boolean, ...words: unknown[]): void => {
  if (!condition) throw new Error(["console.assert failed", ...words].join(" "));
};

Deno.env.set("XFT_DEBUG", "validate");
