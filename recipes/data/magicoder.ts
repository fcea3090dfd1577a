/** @file Magicoder's words, byte for byte: what models are trained and asked with by default. */

/**
 * Magicoder's instruction prompt.
 *
 * @example
 * ```ts
 * import { magicoder } from "./magicoder.ts";
 * console.assert(magicoder("Say hi.").endsWith("@@ Instruction\nSay hi.\n\n@@ Response\n"));
 * ```
 */
export function magicoder(instruction: string, response: string = ""): string {
  return "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable " +
    `responses to user instructions.\n\n@@ Instruction\n${instruction}\n\n@@ Response\n${response}`;
}
