/** @file Judges a sample by what it returned, outside the sandbox: the sandbox never sees an expected value. */

/**
 * Whether two values are equal as Python's `==` would have them: `True` is 1, 2 is 2.0 (and an int may come as a
 * bigint), lists are equal item by item; a number is no text and a tuple no list.
 *
 * @param a a JSON value, or a value from the sandbox
 * @param b a JSON value, or a value from the sandbox
 * @returns whether they are equal
 */
export function equal(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && a.length === b.length &&
      a.every((item, index) => equal(item, b[index]));
  }
  if (isNumeric(a) && isNumeric(b)) return wide(a) == wide(b); // == compares a bigint with a number by value
  return typeof a === "object" && a !== null ? false : a === b;
}

function isNumeric(value: unknown): value is number | bigint | boolean {
  return typeof value === "number" || typeof value === "bigint" || typeof value === "boolean";
}

function wide(value: number | bigint | boolean): number | bigint {
  return typeof value === "boolean" ? Number(value) : value;
}

/**
 * Judges one sample.
 *
 * @param outputs what the sample returned, one value per input; undefined where it failed to run
 * @param expected what the reference returns
 * @returns whether every output is there and equal
 */
export function judge(outputs: readonly unknown[] | undefined, expected: readonly unknown[]): boolean {
  return outputs !== undefined && outputs.length === expected.length &&
    outputs.every((output, index) => equal(output, expected[index]));
}
