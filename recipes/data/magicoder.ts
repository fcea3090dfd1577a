/** @file Magicoder's words, byte for byte: what models are trained and asked with by default. */
import type { Message } from "./chat.ts";

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

/**
 * A conversation in Magicoder's words, up to where the next answer begins: what is said between two answers is one
 * instruction, a system's message too.
 *
 * @example
 * ```ts
 * import { magicoder, magicoderConversation } from "./magicoder.ts";
 * const messages = [{ role: "system", content: "Be brief." }, { role: "user", content: "Say hi." }];
 * console.assert(magicoderConversation(messages) === magicoder("Be brief.\n\nSay hi."));
 * ```
 */
export function magicoderConversation(messages: readonly Message[]): string {
  let text = "", asked: string[] = [];
  const add = (response: string): void => {
    const instruction = asked.join("\n\n");
    text += text === ""
      ? magicoder(instruction, response)
      : `\n\n@@ Instruction\n${instruction}\n\n@@ Response\n${response}`;
    asked = [];
  };
  for (const { role, content } of messages) role === "assistant" ? add(content) : asked.push(content);
  if (asked.length > 0) add("");
  return text;
}
