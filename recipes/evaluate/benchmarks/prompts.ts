/** @file What a model is asked, and which part of its answer is the solution. Magicoder's prompts, byte for byte. */
import type { Task } from "./load.ts";

/** A prompt and how to read what the model adds to it. */
export interface Prompt {
  /** The text that the model continues. */
  readonly text: string;
  /** The model may stop where one of these appears. */
  readonly stop: readonly string[];
  /** The program that grading runs, from what the model added. */
  solution(completion: string): string;
}

/** The ways of asking. */
export type PromptStyle = "magicoder" | "base";

/**
 * Magicoder's instruction prompt.
 *
 * @example
 * ```ts
 * import { magicoder } from "./prompts.ts";
 * console.assert(magicoder("Say hi.").endsWith("@@ Instruction\nSay hi.\n\n@@ Response\n"));
 * ```
 */
export function magicoder(instruction: string, response: string = ""): string {
  return "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable " +
    `responses to user instructions.\n\n@@ Instruction\n${instruction}\n\n@@ Response\n${response}`;
}

/** What ends a function that is continued without instructions (the stops of HumanEval's paper, and a fence). */
const baseStops = ["\nclass ", "\ndef ", "\n#", "\n@", "\nprint(", "\nif __name__", "\n```", "\nassert "] as const;

/** The prompt of a HumanEval task. */
export function humanEvalPrompt(task: Task, style: PromptStyle = "magicoder"): Prompt {
  if (style === "base") return continued(task.prompt);
  const prompt = task.prompt.trim();
  return {
    text: magicoder(
      `Write a solution to the following problem:\n\`\`\`python\n${prompt}\n\`\`\``,
      `\`\`\`python\n${prompt}`,
    ),
    stop: ["\n```"],
    solution: (completion) => prompt + extractCompletion(completion),
  };
}

/** The prompt of an MBPP task. */
export function mbppPrompt(task: Task, style: PromptStyle = "magicoder"): Prompt {
  if (style === "base") return continued(task.prompt);
  const inner = task.prompt.slice(task.prompt.indexOf('"""') + 3, task.prompt.lastIndexOf('"""'));
  const at = inner.indexOf("assert");
  const text = inner.slice(0, at).trim();
  const assertion = inner.slice(at).trim();
  return {
    text: magicoder(
      `${text}${text.endsWith(".") ? "" : "."} Your code should satisfy the following assertion:\n` +
        `\`\`\`python\n${assertion}\n\`\`\``,
      "```python",
    ),
    stop: ["\n```"],
    solution: extractCompletion,
  };
}

/** The prompt of a task of either benchmark. */
export function promptOf(task: Task, style: PromptStyle = "magicoder"): Prompt {
  return task.benchmark === "humaneval" ? humanEvalPrompt(task, style) : mbppPrompt(task, style);
}

/** Without the newline that ends the prompt: a tokenizer joins it with the indentation that the answer starts with. */
function continued(asked: string): Prompt {
  const prompt = asked.trimEnd();
  return { text: prompt, stop: baseStops, solution: (completion) => prompt + cutAt(completion, baseStops) };
}

/** What comes before the first closing fence; all of it where there is none. */
export function extractCompletion(text: string): string {
  return cutAt(text, ["```"]);
}

/** The text up to the first of the stops. */
export function cutAt(text: string, stops: readonly string[]): string {
  const places = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
  return places.length > 0 ? text.slice(0, Math.min(...places)) : text;
}
