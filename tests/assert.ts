/**
 * @file Assertions with the names and meanings of Deno's `@std/assert`, over `node:assert/strict`.
 *
 * The build machines reach npm but not JSR, and the npm build of Deno's std has lost most of its `assert` folder. Moving
 * to JSR is one line: the alias `@std/assert` in deno.json.
 */
import assertStrict, { AssertionError } from "node:assert/strict";

export { AssertionError };

/** A class of errors, whatever its constructor takes. */
export type ErrorClass<E extends Error> = abstract new (...parameters: never[]) => E;

/** Fails unless the condition holds. */
export function assert(condition: unknown, message = "expected a true value"): asserts condition {
  if (!condition) fail(message);
}

/** Fails. */
export function fail(message = "failed"): never {
  throw new AssertionError({ message });
}

/** Fails unless both are deeply equal (−0 and 0 differ, NaN equals NaN). */
export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  assertStrict.deepStrictEqual(actual, expected, message);
}

/** Fails if both are deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, message?: string): void {
  assertStrict.notDeepStrictEqual(actual, expected, message);
}

/** Fails unless both are the same value or object. */
export function assertStrictEquals<T>(actual: unknown, expected: T, message?: string): asserts actual is T {
  if (!Object.is(actual, expected)) fail(message ?? `${show(actual)} is not the same as ${show(expected)}`);
}

/** Fails if the value is null or undefined. */
export function assertExists<T>(actual: T, message?: string): asserts actual is NonNullable<T> {
  if (actual === undefined || actual === null) fail(message ?? `expected a value, got ${actual}`);
}

/** Fails unless both numbers differ by no more than the tolerance (default: 1e-7 of the expected one). */
export function assertAlmostEquals(actual: number, expected: number, tolerance?: number, message?: string): void {
  const allowed = tolerance ?? (Number.isFinite(expected) ? Math.abs(expected * 1e-7) : 0);
  if (Object.is(actual, expected) || Math.abs(actual - expected) <= allowed) return;
  fail(message ?? `expected ${expected} ± ${allowed}, got ${actual}`);
}

/** Fails unless actual > expected. */
export function assertGreater<T>(actual: T, expected: T, message?: string): void {
  if (!(actual > expected)) fail(message ?? `expected more than ${show(expected)}, got ${show(actual)}`);
}

/** Fails unless actual ≥ expected. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, message?: string): void {
  if (!(actual >= expected)) fail(message ?? `expected at least ${show(expected)}, got ${show(actual)}`);
}

/** Fails unless actual < expected. */
export function assertLess<T>(actual: T, expected: T, message?: string): void {
  if (!(actual < expected)) fail(message ?? `expected less than ${show(expected)}, got ${show(actual)}`);
}

/** Fails unless actual ≤ expected. */
export function assertLessOrEqual<T>(actual: T, expected: T, message?: string): void {
  if (!(actual <= expected)) fail(message ?? `expected at most ${show(expected)}, got ${show(actual)}`);
}

/** Fails unless the text contains the expected part. */
export function assertStringIncludes(actual: string, expected: string, message?: string): void {
  if (!actual.includes(expected)) fail(message ?? `expected ${show(expected)} in\n${actual}`);
}

/** Fails unless the text matches the pattern. */
export function assertMatch(actual: string, expected: RegExp, message?: string): void {
  if (!expected.test(actual)) fail(message ?? `expected ${expected} in\n${actual}`);
}

/** Fails unless every expected value is in the array. */
export function assertArrayIncludes<T>(actual: ArrayLike<T>, expected: ArrayLike<T>, message?: string): void {
  const present = new Set(Array.from(actual, show));
  const missing = Array.from(expected).filter((value) => !present.has(show(value)));
  if (missing.length > 0) fail(message ?? `missing: ${missing.map(show).join(", ")}`);
}

/** Fails unless the value is an instance of the class. */
export function assertInstanceOf<E extends Error>(
  actual: unknown,
  expected: ErrorClass<E>,
  message?: string,
): asserts actual is E {
  if (!(actual instanceof expected)) fail(message ?? `expected ${expected.name}, got ${show(actual)}`);
}

/** Fails unless the function throws an error of this class whose message contains the part; returns the error. */
export function assertThrows<E extends Error = Error>(
  run: () => unknown,
  errorClass?: ErrorClass<E>,
  part = "",
  message?: string,
): E {
  try {
    run();
  } catch (error) {
    return checkError(error, errorClass, part);
  }
  fail(message ?? "expected an error, none was thrown");
}

/** Fails unless the promise is rejected with an error of this class whose message contains the part; returns it. */
export async function assertRejects<E extends Error = Error>(
  run: () => PromiseLike<unknown>,
  errorClass?: ErrorClass<E>,
  part = "",
  message?: string,
): Promise<E> {
  try {
    await run();
  } catch (error) {
    return checkError(error, errorClass, part);
  }
  fail(message ?? "expected a rejected promise, it was fulfilled");
}

function checkError<E extends Error>(error: unknown, errorClass: ErrorClass<E> | undefined, part: string): E {
  if (!(error instanceof (errorClass ?? Error))) {
    throw new AssertionError({ message: `expected ${errorClass?.name ?? "an Error"}, got ${show(error)}` });
  }
  assertStringIncludes(error.message, part);
  return error as E;
}

function show(value: unknown): string {
  return Deno.inspect(value, { depth: 4 });
}
