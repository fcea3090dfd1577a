/** @file Loaded before every test: an example's `console.assert` that does not hold fails its test. */
console.assert = (condition?: boolean, ...words: unknown[]): void => {
  if (!condition) throw new Error(["console.assert failed", ...words].join(" "));
};
