/** @file What a user waits for before anything is computed: the start of commands, tracing and compiling of steps. */
import { traced } from "../../backend/compile.ts";
import { pipeline, type PipelineOptions } from "../../backend/compiler/pipeline.ts";
import { runnable } from "../../backend/plans/cache.ts";
import { planStep } from "../../recipes/explain.ts";
import { xft } from "../../recipes/objectives/xft.ts";
import type { Case, CompileWork, StartWork } from "../case.ts";
import { cases, compileTimes } from "../compile.ts";
import { processor } from "../plan.ts";
import { type Command, repeated, root, runCommand, type Running, xftCommand } from "../processes.ts";
import { mixtureOf } from "./sizes.ts";

/** Commands that only print. */
export const startCases: readonly Case[] = [["--help"], ["train", "--help"], ["completion", "bash"]].map((words) => ({
  name: `start/${words.join(" ")}`,
  work: { kind: "start", words },
}));

/** The mixture's step with 24 layers of DeepSeek-1.3B's sizes. */
export const compileCases: readonly Case[] = [
  { name: "compile/moe, 24 layers", work: { kind: "compile" } },
  { name: "compile/moe, 24 layers, again", work: { kind: "compile", cached: true } },
];

/** A command from its start to its end. */
export const startCommand = ({ words }: StartWork, signal?: AbortSignal): Promise<Running> =>
  Promise.resolve(repeated(xftCommand(words), signal));

/** An empty script: what Deno takes to start. */
export async function startEmpty(signal?: AbortSignal): Promise<Running> {
  const path = await Deno.makeTempFile({ prefix: "xft-bench-", suffix: ".ts" });
  const running = repeated({ words: [Deno.execPath(), "run", "--no-lock", path] }, signal);
  return { ...running, [Symbol.asyncDispose]: () => Deno.remove(path) };
}

const compiling = (...rest: string[]): Command => ({
  words: [
    Deno.execPath(),
    "run",
    "--quiet",
    "--allow-read",
    "--allow-write",
    "--allow-env",
    `${root}bench/families/commands.ts`,
    ...rest,
  ],
});

/** Tracing and compiling, in a process that did nothing before. */
export async function startCompile({ cached }: CompileWork, signal?: AbortSignal): Promise<Running> {
  if (!cached) return repeated(compiling(), signal);
  const folder = await Deno.makeTempDir({ prefix: "xft-bench-" }), command = compiling(folder);
  const dispose = (): Promise<void> => Deno.remove(folder, { recursive: true });
  try {
    await runCommand(command, signal);
  } catch (error) {
    await dispose();
    throw error;
  }
  return { ...repeated(command, signal), [Symbol.asyncDispose]: dispose };
}

/** Seconds until the step's plan is there, by way of a folder where it may lie. */
function cachedTime(folder: string): number {
  const options = { step: "train", optimizer: "adafactor", objective: xft, batch: 1, seq: 1024 } as const;
  const { f, args, donate } = planStep(mixtureOf("1.3B"), { ...options, checkpoint: true });
  const began = performance.now();
  const { program, donated, hosted } = traced(f, args, donate);
  const build: PipelineOptions = { donated, hosted, capabilities: processor, fuse: "on", poison: false };
  runnable(program, build, () => pipeline(program, build), folder);
  return (performance.now() - began) / 1e3;
}

if (import.meta.main) {
  const [folder] = Deno.args;
  console.log(JSON.stringify({ seconds: folder ? cachedTime(folder) : compileTimes(cases[0]).seconds }));
}
