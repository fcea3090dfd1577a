/** @file A model's answers to a benchmark's tasks: greedy or sampled, raw and sanitised. */
import type { Tokenizer } from "../../../../backend/tokenizer.ts";
import type { Device } from "../../../../backend/runtime.ts";
import { chatRenderer } from "../../../data/chat.ts";
import {
  type Benchmark,
  promptOf,
  type PromptStyle,
  type Sample,
  sanitize,
  styleRules,
} from "../../../evaluate/mod.ts";
import { generate, type GenerateOptions } from "../../../generate/mod.ts";
import type { Loaded } from "../../../model/parameters.ts";

/** How tasks are asked. */
export interface SolveOptions
  extends Pick<GenerateOptions, "temperature" | "topP" | "seed" | "batch" | "signal" | "onProgress"> {
  /** How a task becomes a prompt. */
  readonly style: PromptStyle;
  /** New tokens at most; default: what goes with the style. */
  readonly maxTokens?: number;
  /** Samples of each task. */
  readonly samplesPerTask: number;
  /** Texts of an earlier run, by place among all answers; default: none. */
  readonly texts?: ReadonlyMap<number, string>;
  /** Called with each text that was generated. */
  readonly addText?: (place: number, text: string) => void;
}

/** A model's answers. */
export interface Solved {
  /** The programs that are graded, `samplesPerTask` of each task, in the tasks' order. */
  readonly samples: readonly Required<Pick<Sample, "task_id" | "solution">>[];
  /** The same before they were sanitised, where they were. */
  readonly raw?: Solved["samples"];
  /** Where an answer ended. */
  readonly stop: readonly string[];
}

/**
 * Generates solutions for every task.
 *
 * @throws {UserError} if the style is `chat` and the model has no chat template
 */
export async function solve(
  loaded: Loaded,
  tokenizer: Tokenizer,
  device: Device,
  { tasks }: Benchmark,
  { style, samplesPerTask, maxTokens = styleRules[style].maxTokens, texts, addText, ...options }: SolveOptions,
): Promise<Solved> {
  const render = style === "chat" ? await chatRenderer(tokenizer, "--prompt chat") : undefined;
  const prompts = tasks.map((task) => promptOf(task, style, render));
  const ids = prompts.map(({ text, begins }) => tokenizer.encode(text, { special: begins }));
  // The stops of a benchmark are the same for all its tasks.
  const stop = prompts[0]?.stop ?? [];
  const answers = new Map(texts);
  await generate(loaded, tokenizer, device, ids, {
    ...options,
    n: samplesPerTask,
    maxTokens,
    stop,
    skip: (place) => answers.has(place),
    onResult({ text }, place) {
      answers.set(place, text);
      addText?.(place, text);
    },
  });
  const asked = tasks.flatMap((task, i) =>
    Array.from({ length: samplesPerTask }, () => ({ task, prompt: prompts[i] }))
  );
  const raw = asked.map(({ task, prompt }, place) => ({
    task_id: task.id,
    solution: prompt.solution(answers.get(place)!),
  }));
  if (!styleRules[style].sanitized) return { samples: raw, stop };
  const programs = await sanitize(raw.map(({ solution }, i) => ({ text: solution, entry: asked[i].task.entry })));
  return { samples: raw.map(({ task_id }, i) => ({ task_id, solution: programs[i] })), raw, stop };
}
