/** @file What a user waits for before anything is computed: the start of commands, tracing and compiling of steps. */
import { compile, planned } from "../../backend/compile.ts";
import { open } from "../../backend/open.ts";
import { tensor } from "../../dsl/mod.ts";
import { mapLeaves } from "../../dsl/tree.ts";
import { toBatch } from "../../recipes/model/batch.ts";
import { layout, treeOf } from "../../recipes/model/layout.ts";
import { optimizer } from "../../recipes/optim/mod.ts";
import { trainStep } from "../../recipes/train.ts";
import type { Case, CompileWork, StartWork } from "../case.ts";
import { repeated, root, type Running, xftCommand } from "../processes.ts";
import { batchOf } from "../weights.ts";
import { mixtureOf } from "./sizes.ts";

/** Help, a command that reads nothing, and one that opens the native library. */
export const startCases: readonly Case[] = [["--help"], ["train", "--help"], ["completion", "bash"]].map((words) => ({
  name: `start/${words.join(" ")}`,
  work: { kind: "start", words },
}));

/** The mixture's step with 24 layers of DeepSeek-1.3B's sizes. */
export const compileCases: readonly Case[] = [{
  name: "compile/moe, 24 layers",
  work: { kind: "compile", config: mixtureOf("wide", { layers: 24 }), seq: 1024 },
}];

/** A command from its start to its end. */
export const startCommand = ({ words }: StartWork): Promise<Running> => Promise.resolve(repeated(xftCommand(words)));

/** An empty script: what Deno takes to start. */
export async function startEmpty(): Promise<Running> {
  const path = await Deno.makeTempFile({ prefix: "xft-bench-", suffix: ".ts" });
  const running = repeated({ words: [Deno.execPath(), "run", "--no-lock", path] });
  return { ...running, [Symbol.asyncDispose]: () => Deno.remove(path) };
}

/** Tracing and compiling, in a process that did nothing before. */
export const startCompile = (work: CompileWork): Promise<Running> =>
  Promise.resolve(repeated({
    words: [
      Deno.execPath(),
      "run",
      "--quiet",
      "--allow-all",
      `${root}bench/families/commands.ts`,
      JSON.stringify(work),
    ],
  }));

/** Seconds that it takes to trace a step, compile it and hand the plan to the device. Nothing runs. */
async function compiled({ config, seq }: CompileWork): Promise<number> {
  using device = await open("cpu");
  const model = treeOf(layout(config), ({ shape }) => planned(shape));
  const began = performance.now();
  const start = optimizer("adafactor", layout(config)).init(model);
  const state = mapLeaves(({ shape, dtype }) => planned(shape, dtype), start) as typeof start;
  const step = compile(trainStep(config, { optimizer: "adafactor" }), device, { donate: [0, 1] });
  step.executable(model, state, toBatch(batchOf(config, 1, seq)), null, tensor({}, [0]));
  return (performance.now() - began) / 1000;
}

if (import.meta.main) {
  const seconds = await compiled(JSON.parse(Deno.args[0]));
  console.log(JSON.stringify({ seconds }));
  Deno.exit(0);
}
