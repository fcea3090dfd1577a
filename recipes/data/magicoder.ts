/** @file Magicoder's prompt, byte for byte: what XFT tunes and evaluates with. */

/**
 * The prompt around an instruction; the response follows it directly.
 *
 * @example
 * ```ts
 * import { magicoderPrompt } from "./magicoder.ts";
 * console.assert(magicoderPrompt("Add two numbers.").endsWith("@@ Instruction\nAdd two numbers.\n\n@@ Response\n"));
 * ```
 */
export function magicoderPrompt(instruction: string): string {
  return "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable " +
    `responses to user instructions.\n\n@@ Instruction\n${instruction}\n\n@@ Response\n`;
}
