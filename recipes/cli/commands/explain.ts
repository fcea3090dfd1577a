/** @file `xft explain`: the kernels that a step of a model compiles to, and what each costs. */
import { pageOf, textOf } from "../../../backend/compiler/report.ts";
import { capabilitiesOf } from "../../../backend/open.ts";
import { checkTarget, writeFile } from "../../convert/files.ts";
import { readConfig } from "../../convert/huggingface.ts";
import { explainStep } from "../../explain.ts";
import { loadObjective } from "../../objectives/mod.ts";
import type { commands } from "../commands.ts";
import type { Context, JsonResult } from "../context.ts";
import type { Arguments } from "../schema.ts";

/** Runs the command. */
export async function run(args: Arguments<typeof commands.explain>, context: Context): Promise<JsonResult> {
  const { model, step, batch, seq, optimizer, checkpoint, out, overwrite } = args;
  if (out) checkTarget(out, "file", { overwrite });
  const objective = await loadObjective(args.objective);
  const capabilities = await capabilitiesOf(args.device);
  const report = explainStep(readConfig(model), capabilities, { step, batch, seq, optimizer, checkpoint, objective });
  const title = `${step} step of ${model}, ${batch} × ${seq} tokens, planned for ${capabilities.name}`;
  context.print(textOf(report));
  if (out) writeFile(out, pageOf(report, title), { overwrite });
  return { ...(out && { out }), title, ...report };
}
