/** @file Text that grows by tokens: what may be shown already, and where it ends. */

/** Where the first of some texts begins, or −1. */
export function firstOf(text: string, stops: readonly string[]): number {
  const found = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
  return found.length > 0 ? Math.min(...found) : -1;
}

/**
 * How much of a text cannot change any more: not the replacement characters at its end (a character whose bytes have
 * not all come), and not an end that may become a stop text.
 *
 * @example
 * ```ts
 * import { settled } from "./text.ts";
 * console.assert(settled("ab\nde", ["\ndef"]) === 2 && settled("né\uFFFD", []) === 2);
 * ```
 */
export function settled(text: string, stops: readonly string[]): number {
  let end = text.length;
  while (end > 0 && text[end - 1] === "\uFFFD") end--;
  let held = 0;
  for (const stop of stops) {
    for (let length = Math.min(stop.length - 1, end); length > held; length--) {
      if (text.endsWith(stop.slice(0, length), end)) held = length;
    }
  }
  return end - held;
}
