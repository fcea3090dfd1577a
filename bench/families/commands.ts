/** @file What a user waits for before anything is computed: the start of commands, tracing and compiling of steps. */
import type { Case, StartWork } from "../case.ts";
import { cases, compileTimes } from "../compile.ts";
import { repeated, root, type Running, xftCommand } from "../processes.ts";

/** Commands that only print. */
export const startCases: readonly Case[] = [["--help"], ["train", "--help"], ["completion", "bash"]].map((words) => ({
  name: `start/${words.join(" ")}`,
  work: { kind: "start", words },
}));

/** The mixture's step with 24 layers of DeepSeek-1.3B's sizes. */
export const compileCases: readonly Case[] = [{ name: "compile/moe, 24 layers", work: { kind: "compile" } }];

/** A command from its start to its end. */
export const startCommand = ({ words }: StartWork, signal?: AbortSignal): Promise<Running> =>
  Promise.resolve(repeated(xftCommand(words), signal));

/** An empty script: what Deno takes to start. */
export async function startEmpty(signal?: AbortSignal): Promise<Running> {
  const path = await Deno.makeTempFile({ prefix: "xft-bench-", suffix: ".ts" });
  const running = repeated({ words: [Deno.execPath(), "run", "--no-lock", path] }, signal);
  return { ...running, [Symbol.asyncDispose]: () => Deno.remove(path) };
}

/** Tracing and compiling, in a process that did nothing before. */
export const startCompile = (signal?: AbortSignal): Promise<Running> => {
  const words = [Deno.execPath(), "run", "--quiet", "--allow-env", `${root}bench/families/commands.ts`] as const;
  return Promise.resolve(repeated({ words }, signal));
};

if (import.meta.main) {
  console.log(JSON.stringify({ seconds: compileTimes(cases[0]).seconds }));
}
