/** @file `xft merge`: mixture → dense Hugging Face folder, or several dense models → one. */
import { UserError } from "../../../../dsl/errors.ts";
import { readCoefficients } from "../../../convert/coefficients.ts";
import { checkTarget } from "../../../convert/files.ts";
import { readConfig } from "../../../convert/huggingface.ts";
import { mergeDense } from "../../../merge/dense.ts";
import { mergeFolder } from "../../../merge/folder.ts";
import { mergeOther, type OtherMixture, otherMixture } from "../../../merge/other_mixtures.ts";
import { distanceFromUniform, softmaxOf } from "../../../merge/weights.ts";
import { readMergekit } from "../../../merge/mergekit.ts";
import { isMethodName } from "../../../merge/methods/mod.ts";
import type { commands } from "../../commands.ts";
import type { Context, JsonResult } from "../../context.ts";
import { isHubAddress } from "../../../hub/address.ts";
import { readText, workingFolder } from "../../inputs/files.ts";
import { localPath } from "../../inputs/hub_paths.ts";
import { mixtureWeights } from "../../inputs/mixture_weights.ts";
import type { Arguments } from "../../flags/schema.ts";

type MergeArguments = Arguments<typeof commands.merge>;

/** The models on the hub that mergekit's file names. */
export function addresses({ mergekit }: MergeArguments): Promise<readonly string[]> {
  if (mergekit === undefined) return Promise.resolve([]);
  const { models, options } = readMergekit(readText(mergekit), mergekit, workingFolder());
  return Promise.resolve([...models, options.base ?? ""].filter(isHubAddress));
}

/** Runs the command. */
export async function run(args: MergeArguments, context: Context): Promise<JsonResult> {
  const { models: [moe, ...more], out, overwrite, dtype } = args;
  checkTarget(out, "folder", { overwrite });
  const dense = args.mergekit !== undefined || more.length > 0 ||
    (args.method !== undefined && isMethodName(args.method));
  if (dense) return await runDense(args, context);
  const other = otherMixture(moe);
  if (other) return await runOther(other, args, context);
  const config = readConfig(moe);
  if (config.kind !== "moe") {
    throw new UserError(
      `${moe}: this model is dense already, there is nothing to merge; name others to merge it with.`,
    );
  }
  const { file, method, coefficients, weights } = mixtureWeights(moe, args);
  const { lambda: used } = weights(config);
  const shown = new Set(used).size === 1 ? used[0] : used;
  const distance = coefficients ? Math.max(...distanceFromUniform(coefficients.alpha)) : 0;
  const result = { out, method, lambda: shown, coefficients: file, distance_from_uniform: distance };
  if (args.dryRun) {
    context.print(`would merge ${moe} by ${method} (λ ${shown}) and write ${out}`);
    return { dry_run: true, ...result };
  }
  using bar = context.progress("merge", undefined, "tensors");
  await mergeFolder(moe, out, { weights, method, dtype, overwrite, signal: context.signal, progress: bar.of });
  context.print(`${out}: merged by ${method}, λ ${shown}, softmax(α) up to ${distance.toFixed(4)} from uniform`);
  return result;
}

/** Merges another maker's mixture. */
async function runOther(mixture: OtherMixture, args: MergeArguments, context: Context): Promise<JsonResult> {
  const { out, overwrite, dtype, method = "uniform", lambda, coefficients: file } = args, { dense, experts } = mixture;
  if (method === "shared") {
    throw new UserError(`--method shared: it is for mixtures of ours; ${mixture.path} is of type ${mixture.type}.`);
  }
  const coefficients = file === undefined ? undefined : readCoefficients(file);
  const layers = Array.from({ length: dense.layers }, () => lambda);
  const own = coefficients && mixture.sharedSize > 0 ? [coefficients.lambda].flat() : undefined;
  const shares = lambda === undefined ? own : layers.map((each) => each ?? 0);
  const result = { out, method: coefficients ? "xft" : method, lambda: lambda ?? null, coefficients: file, experts };
  if (args.dryRun) {
    context.print(`would merge ${mixture.path} (${mixture.type}, ${experts} experts a layer) and write ${out}`);
    return { dry_run: true, ...result };
  }
  using bar = context.progress("merge", undefined, "tensors");
  await mergeOther(mixture, out, {
    weights: coefficients?.alpha.map(softmaxOf),
    lambda: shares?.length === 1 ? layers.map(() => shares[0]) : shares,
    dtype,
    overwrite,
    signal: context.signal,
    progress: bar.of,
  });
  context.print(`${out}: ${experts} experts a layer of ${mixture.path} (${mixture.type}) merged`);
  return result;
}

/** Merges dense models. */
async function runDense(args: MergeArguments, context: Context): Promise<JsonResult> {
  const { out, overwrite, mergekit, dtype, t, scale, seed } = args, method = args.method ?? "linear";
  if (!isMethodName(method)) {
    throw new UserError(`--method ${method}: it merges a mixture's experts, not several models.`, { usage: true });
  }
  const described = mergekit === undefined
    ? {
      models: args.models,
      options: {
        method,
        weights: args.weights,
        densities: args.density,
        gammas: args.gamma,
        base: args.base,
        t,
        lambda: scale,
      },
    }
    : readMergekit(readText(mergekit), mergekit, workingFolder());
  const { models, options } = described, result = { out, method: options.method, models, base: options.base };
  if (args.dryRun) {
    context.print(`would merge ${models.length} models by ${options.method} and write ${out}`);
    return { dry_run: true, ...result };
  }
  using bar = context.progress("merge", undefined, "tensors");
  const writing = { overwrite, signal: context.signal, progress: bar.of, seed, ...(dtype && { dtype }) };
  const base = options.base && localPath(options.base, context);
  await mergeDense(models.map((model) => localPath(model, context)), out, { ...options, base, ...writing });
  context.print(`${out}: ${models.length} models merged by ${options.method}`);
  return result;
}
