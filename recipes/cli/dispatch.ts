/** @file Where each command's code is; it is loaded when the command is called. */
import type { CommandName, commands } from "./commands.ts";
import type { Context, JsonResult } from "./context.ts";
import type { Arguments } from "./flags/schema.ts";

/** What a command's file exports. */
export interface CommandModule<N extends CommandName> {
  /** Runs the command; what it returns is its `--json` object. */
  run(args: Arguments<typeof commands[N]>, context: Context): Promise<JsonResult>;
  /** What the files that its command line names ask for on the hub: fetched beforehand, into `context.fetched`. */
  addresses?(args: Arguments<typeof commands[N]>): Promise<readonly string[]>;
}

/** Loads a command's file. */
export const load: { readonly [N in CommandName]: () => Promise<CommandModule<N>> } = {
  demo: () => import("./commands/stages/demo.ts"),
  run: () => import("./commands/stages/run.ts"),
  data: () => import("./commands/data.ts"),
  upcycle: () => import("./commands/stages/upcycle.ts"),
  train: () => import("./commands/stages/train.ts"),
  learn: () => import("./commands/stages/learn.ts"),
  merge: () => import("./commands/stages/merge.ts"),
  generate: () => import("./commands/generate.ts"),
  serve: () => import("./commands/serve.ts"),
  evaluate: () => import("./commands/evaluate/evaluate.ts"),
  compare: () => import("./commands/evaluate/compare.ts"),
  verify: () => import("./commands/evaluate/verify.ts"),
  publish: () => import("./commands/publish.ts"),
  tokenize: () => import("./commands/tokenize.ts"),
  convert: () => import("./commands/convert.ts"),
  inspect: () => import("./commands/inspect.ts"),
  explain: () => import("./commands/explain.ts"),
  doctor: () => import("./commands/doctor.ts"),
};
