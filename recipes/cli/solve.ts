/** @file A model's answers to a benchmark's tasks: one greedy sample each. */
import type { Tokenizer } from "../../backend/tokenizer.ts";
import type { Device } from "../../backend/runtime.ts";
import { type Benchmark, promptOf, type PromptStyle, type Sample } from "../evaluate/mod.ts";
import { generate, type GenerateOptions } from "../generate.ts";
import type { Loaded } from "../model/parameters.ts";

/** How tasks are asked. */
export interface SolveOptions extends Pick<GenerateOptions, "maxTokens" | "batch" | "signal" | "onProgress"> {
  /** How a task becomes a prompt. */
  readonly style: PromptStyle;
}

/** Generates a solution for every task, greedily, in the tasks' order. */
export async function solve(
  loaded: Loaded,
  tokenizer: Tokenizer,
  device: Device,
  { tasks }: Benchmark,
  { style, ...options }: SolveOptions,
): Promise<Required<Pick<Sample, "task_id" | "solution">>[]> {
  const prompts = tasks.map((task) => promptOf(task, style));
  const ids = prompts.map(({ text }) => tokenizer.encode(text));
  // The stops of a benchmark are the same for all its tasks.
  const generations = await generate(loaded, tokenizer, device, ids, { ...options, stop: prompts[0]?.stop });
  return generations.map(({ text }, index) => ({ task_id: tasks[index].id, solution: prompts[index].solution(text) }));
}
