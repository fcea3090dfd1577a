/** @file `xft explain`: the kernels that a step of a model compiles to, and what each costs. */
import { pageOf, textOf } from "../../../backend/compiler/explain/report.ts";
import { type ProgramReport, withRoofs } from "../../../backend/compiler/explain/explain.ts";
import type { Capabilities } from "../../../backend/device.ts";
import { capabilitiesOf, open } from "../../../backend/open.ts";
import { roofsOf } from "../../../backend/roofs.ts";
import type { ModelConfig } from "../../convert/config.ts";
import { checkTarget, writeFile } from "../../convert/files.ts";
import { readConfig } from "../../convert/huggingface.ts";
import { type ExplainOptions, explainStep, profileStep } from "../../explain.ts";
import { loadObjective } from "../../objectives/mod.ts";
import type { commands } from "../commands.ts";
import type { Context, JsonResult } from "../context.ts";
import type { Arguments } from "../flags/schema.ts";

/** Runs the command. */
export async function run(args: Arguments<typeof commands.explain>, context: Context): Promise<JsonResult> {
  const { model, step, batch, seq, optimizer, precision, checkpoint, out, overwrite } = args;
  if (out) checkTarget(out, "file", { overwrite });
  const objective = await loadObjective(args.objective);
  const capabilities = await capabilitiesOf(args.device), config = readConfig(model);
  const options = { step, batch, seq, optimizer, precision, checkpoint, objective };
  const report = args.profile
    ? await profiled(config, options, capabilities, args, context)
    : explainStep(config, capabilities, options);
  const how = args.profile ? "run on" : "planned for";
  const title = `${step} step of ${model}, ${batch} × ${seq} tokens, ${how} ${capabilities.name}`;
  context.print(textOf(report));
  if (out) writeFile(out, pageOf(report, title), { overwrite });
  return { ...(out && { out }), title, ...report };
}

/** The step run and measured, beside what the device reaches at best. */
async function profiled(
  config: ModelConfig,
  options: ExplainOptions,
  capabilities: Capabilities,
  { device: name, remeasure }: Pick<Arguments<typeof commands.explain>, "device" | "remeasure">,
  { signal }: Context,
): Promise<ProgramReport> {
  using device = await open(name, { signal });
  const report = await profileStep(config, device, options, { signal });
  return report.timed ? withRoofs(report, await roofsOf(device, capabilities, { remeasure })) : report;
}
