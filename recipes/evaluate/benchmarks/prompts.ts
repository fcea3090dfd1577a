/** @file What a model is asked, and which part of its answer is the solution: Magicoder's way and evalplus', byte for byte. */
import type { RenderChat } from "../../data/chat.ts";
import { magicoder } from "../../data/magicoder.ts";
import type { Task } from "./load.ts";

/** A prompt and how to read what the model adds to it. */
export interface Prompt {
  /** The text that the model continues. */
  readonly text: string;
  /** The tokenizer's beginning token comes first (a chat template writes its own). */
  readonly begins: boolean;
  /** The model may stop where one of these appears. */
  readonly stop: readonly string[];
  /** The program that the model wrote, from what it added; not yet sanitised. */
  solution(completion: string): string;
}

/** The ways of asking: Magicoder's instruction, the bare task, or the model's chat template (both as evalplus does). */
export type PromptStyle = "magicoder" | "base" | "chat";

/** What goes with a way of asking. */
export interface StyleRules {
  /** New tokens at most. */
  readonly maxTokens: number;
  /** Solutions go through evalplus' sanitiser. */
  readonly sanitized: boolean;
}

/** Magicoder takes what comes before the first closing fence as it is; evalplus sanitises. */
export const styleRules: Readonly<Record<PromptStyle, StyleRules>> = {
  magicoder: { maxTokens: 512, sanitized: false },
  base: { maxTokens: 768, sanitized: true },
  chat: { maxTokens: 768, sanitized: true },
};

/** What ends an answer in evalplus 0.3.1, however it was asked. */
const everyStop = ["<|endoftext|>", "<|endofmask|>", "</s>", "\nif __name__", "\ndef main(", "\nprint("] as const;

/** What ends a task's continuation, beside those. */
const baseStops = {
  humaneval: ["\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert "],
  mbpp: ['\n"""', "\nassert"],
} as const;

/** Where answers end that were asked in this way. */
export function stopsOf(benchmark: Task["benchmark"], style: PromptStyle): readonly string[] {
  switch (style) {
    case "magicoder":
      return ["\n```"];
    case "base":
      return [...everyStop, ...baseStops[benchmark]];
    case "chat":
      return [...everyStop, "\n```\n"];
  }
}

/** Magicoder's prompt of a task, and its fence rule. */
function asInstruction(task: Task): Prompt {
  const stop = stopsOf(task.benchmark, "magicoder");
  if (task.benchmark === "humaneval") {
    const prompt = task.prompt.trim();
    const asked = `Write a solution to the following problem:\n\`\`\`python\n${prompt}\n\`\`\``;
    const text = magicoder(asked, `\`\`\`python\n${prompt}`);
    return { text, begins: true, stop, solution: (completion) => prompt + extractCompletion(completion) };
  }
  const inner = task.prompt.slice(task.prompt.indexOf('"""') + 3, task.prompt.lastIndexOf('"""'));
  const at = inner.indexOf("assert");
  const text = inner.slice(0, at).trim();
  const asked = `${text}${text.endsWith(".") ? "" : "."} Your code should satisfy the following assertion:\n` +
    `\`\`\`python\n${inner.slice(at).trim()}\n\`\`\``;
  return { text: magicoder(asked, "```python"), begins: true, stop, solution: extractCompletion };
}

/** evalplus' prompt of a model without a chat template. */
function continued(task: Task): Prompt {
  const text = `${task.prompt.trim()}\n`, stop = stopsOf(task.benchmark, "base");
  return { text, begins: true, stop, solution: (completion) => text + cutAsEvalplus(completion, stop) };
}

/** Stands where the model's answer begins, for templates that end a turn with more than what was said. */
const splitter = "-[[]]-this-is-really-our-highest-priority-[[]]-";

/**
 * evalplus' prompt of a model with a chat template: the assistant's turn is begun for it. (evalplus then encodes with a
 * second beginning token where the tokenizer adds one to a template that has its own; here there is one.)
 */
function asChat(task: Task, render: RenderChat): Prompt {
  const asked = "Please provide a self-contained Python script that solves the following problem in a markdown code " +
    `block:\n\`\`\`\n${task.prompt.trim()}\n\`\`\`\n`;
  const begun = "Below is a Python script with a self-contained function that solves the problem and passes " +
    `corresponding tests:\n\`\`\`python\n${splitter}\n\`\`\`\n`;
  const whole = render([{ role: "user", content: asked }, { role: "assistant", content: begun }], false);
  const stop = stopsOf(task.benchmark, "chat");
  return {
    text: whole.slice(0, whole.indexOf(splitter)),
    begins: false,
    stop,
    solution: (completion) => cutAsEvalplus(completion, stop),
  };
}

/**
 * The prompt of a task of either benchmark.
 *
 * @param render the model's chat template, which `chat` needs
 * @example
 * ```ts
 * import { promptOf, type Task } from "../mod.ts";
 * const task = { id: "Mbpp/2", benchmark: "mbpp", prompt: '"""\nAdd.\nassert f(1) == 2\n"""\n' } as Task;
 * console.assert(promptOf(task, "base").text === '"""\nAdd.\nassert f(1) == 2\n"""\n');
 * ```
 */
export function promptOf(task: Task, style: PromptStyle, render?: RenderChat): Prompt {
  switch (style) {
    case "magicoder":
      return asInstruction(task);
    case "base":
      return continued(task);
    case "chat":
      if (!render) throw new RangeError("a chat prompt needs the model's chat template");
      return asChat(task, render);
  }
}

/** evalplus' reading of an answer: up to the first stop, at most 10,000 characters, tabs as four spaces. */
function cutAsEvalplus(completion: string, stops: readonly string[]): string {
  return cutAt(completion, stops).slice(0, 10_000).replaceAll("\t", "    ");
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
