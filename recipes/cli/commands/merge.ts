/** @file `xft merge`: mixture → dense Hugging Face folder. */
import { join } from "node:path";
import { UserError } from "../../../dsl/errors.ts";
import { readCoefficients } from "../../convert/coefficients.ts";
import type { MoeConfig } from "../../convert/config.ts";
import { checkTarget, kindOf } from "../../convert/files.ts";
import { readConfig } from "../../convert/huggingface.ts";
import { mergeFolder } from "../../merge/folder.ts";
import {
  distanceFromUniform,
  type MergeWeights,
  singleExpert,
  uniformWeights,
  weightsOf,
} from "../../merge/weights.ts";
import type { commands } from "../commands.ts";
import type { Context, JsonResult } from "../context.ts";
import type { Arguments } from "../schema.ts";

/** λ where neither a file nor a flag says it: the paper's. */
const DEFAULT_LAMBDA = 0.75;

/** Runs the command. */
export async function run(args: Arguments<typeof commands.merge>, context: Context): Promise<JsonResult> {
  const { moe, out, overwrite, lambda, overrideLambda, dtype } = args;
  checkTarget(out, "folder", { overwrite });
  const config = readConfig(moe);
  if (config.kind !== "moe") throw new UserError(`${moe}: this model is dense already, there is nothing to merge.`);
  // A mixture's folder may carry its own coefficients.
  const beside = join(moe, "coefficients.json");
  const file = args.coefficients ?? (args.method === undefined && kindOf(beside) === "file" ? beside : undefined);
  const method = args.method ?? (file ? "xft" : "uniform");
  const coefficients = file === undefined ? undefined : readCoefficients(file);
  const weights = (mixture: MoeConfig): MergeWeights => {
    if (coefficients) return weightsOf(mixture, coefficients, lambda, overrideLambda);
    return method === "shared" ? singleExpert(mixture, 0) : uniformWeights(mixture, lambda ?? DEFAULT_LAMBDA);
  };
  const { lambda: used } = weights(config);
  const shown = new Set(used).size === 1 ? used[0] : used;
  const distance = coefficients ? Math.max(...distanceFromUniform(coefficients.alpha)) : 0;
  const result = { out, method, lambda: shown, coefficients: file, distance_from_uniform: distance };
  if (args.dryRun) {
    context.print(`would merge ${moe} by ${method} (λ ${shown}) and write ${out}`);
    return { dry_run: true, ...result };
  }
  using bar = context.progress("merge", undefined, "tensors");
  await mergeFolder(moe, out, { weights, dtype, overwrite, signal: context.signal, progress: bar.of });
  context.print(`${out}: merged by ${method}, λ ${shown}, softmax(α) up to ${distance.toFixed(4)} from uniform`);
  return result;
}
