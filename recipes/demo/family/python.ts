/** @file Python's arithmetic and text methods where JavaScript's differ; texts are ASCII. */

/**
 * Python's `a % b`: takes the sign of the divisor.
 *
 * @param a dividend, a whole number
 * @param b divisor, above 0
 * @returns the remainder, in [0, b)
 */
export function modulo(a: number, b: number): number {
  return ((a % b) + b) % b;
}

/**
 * Python's `a // b`: rounds down, also below zero.
 *
 * @param a dividend, a whole number
 * @param b divisor, above 0
 * @returns the quotient
 */
export function floorDivide(a: number, b: number): number {
  return Math.floor(a / b);
}

/**
 * Python's `s.split()`: words between runs of spaces, without empty ones.
 *
 * @param text the text
 * @returns its words
 */
export function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}

/**
 * Python's `s.title()`: a letter after a letter becomes small, any other letter large.
 *
 * @param text the text
 * @returns the text in title case
 */
export function title(text: string): string {
  return text.replace(/[A-Za-z]+/g, (word) => word[0].toUpperCase() + word.slice(1).toLowerCase());
}

/**
 * Python's `s.swapcase()`.
 *
 * @param text the text
 * @returns the text with large letters small and small letters large
 */
export function swapCase(text: string): string {
  return text.replace(/[A-Za-z]/g, (letter) => letter < "a" ? letter.toLowerCase() : letter.toUpperCase());
}

/**
 * Python's `x[::-1]` of a text.
 *
 * @param text the text
 * @returns its letters in reverse order
 */
export function reversed(text: string): string {
  return [...text].reverse().join("");
}

/**
 * Python's `s.count(letter)`.
 *
 * @param text the text
 * @param letter one letter
 * @returns how often it occurs
 */
export function occurrences(text: string, letter: string): number {
  return text.split(letter).length - 1;
}
