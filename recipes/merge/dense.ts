/** @file Dense models of one architecture → one: tensor by tensor, from folder to folder. */
import { UserError } from "../../dsl/errors.ts";
import type { TensorOut } from "../../backend/checkpoint.ts";
import type { ModelConfig } from "../convert/config.ts";
import { type ModelOutOptions, type OpenModel, openModel, writeModelFolder } from "../convert/huggingface.ts";
import { elementsOf, expectedTensors } from "../convert/names.ts";
import { merged, type MergeSettings, type MethodName, methods } from "./methods/mod.ts";

/** Share of the largest changes that breadcrumbs drops, where nothing else is said: mergekit's. */
export const DEFAULT_GAMMA = 0.01;

/** How dense models are merged. */
export interface DenseMergeOptions
  extends ModelOutOptions, Partial<Omit<MergeSettings, "weights" | "densities" | "gammas">> {
  /** By which method. */
  readonly method: MethodName;
  /** One a model (default: all 1; they are normalised where the method does so). */
  readonly weights?: readonly number[];
  /** One a model, or one for all (default 0.5): shares of changes that TIES, DARE and breadcrumbs keep. */
  readonly densities?: readonly number[];
  /** One a model, or one for all (default 0.01): shares of changes that breadcrumbs drops for being the largest. */
  readonly gammas?: readonly number[];
  /** Folder of the model that the others are compared with, where the method needs one. */
  readonly base?: string;
}

/**
 * Merges dense models of one architecture into a Hugging Face folder (with the first model's tokenizer). It appears
 * whole or not at all; only pieces of the models' tensors are in memory.
 *
 * @returns the merged model's settings
 * @throws {UserError} if models differ in architecture, the method needs something else, or something is in the way
 * @example
 * ```ts ignore
 * import { mergeDense } from "./dense.ts";
 * await mergeDense(["models/a", "models/b"], "models/merged", { method: "linear", weights: [0.7, 0.3] });
 * ```
 */
export async function mergeDense(
  folders: readonly string[],
  out: string,
  options: DenseMergeOptions,
): Promise<ModelConfig> {
  const method = methods[options.method], settings = settingsOf(folders.length, options);
  checkModels(folders, options);
  using opened = new DisposableStack();
  const open = (folder: string): OpenModel => opened.use(openModel(folder));
  const models = folders.map(open), base = options.base === undefined ? undefined : open(options.base);
  const all = base ? [base, ...models] : models;
  for (const each of all) checkAlike(all[0], each);
  const { config } = all[0];
  const checkpoints = { models: models.map(({ checkpoint }) => checkpoint), base: base?.checkpoint };
  const tensors = expectedTensors(config).map(({ name, shape }): TensorOut => {
    return { name, shape, data: merged(method, { name, elements: elementsOf(shape), ...checkpoints }, settings) };
  });
  await writeModelFolder(out, { config, tensors, tokenizerFrom: all[0].path }, options);
  return config;
}

function settingsOf(count: number, options: DenseMergeOptions): MergeSettings {
  const { method, weights = new Array(count).fill(1), densities = [0.5], gammas = [DEFAULT_GAMMA] } = options;
  const { lambda = 1, t = 0.5, seed = 0 } = options, usage = { usage: true };
  const perModel = (numbers: readonly number[], flag: string): readonly number[] => {
    if (numbers.length === 1) return new Array<number>(count).fill(numbers[0]);
    if (numbers.length === count) return numbers;
    throw new UserError(`${flag}: ${numbers.length} numbers for ${count} models: give one, or one for each.`, usage);
  };
  if (weights.length !== count) {
    throw new UserError(`--weights: ${weights.length} numbers for ${count} models: give one for each.`, usage);
  }
  const kept = perModel(densities, "--density"), dropped = perModel(gammas, "--gamma");
  const wrong = kept.find((density) => !(density > 0 && density <= 1));
  if (wrong !== undefined) throw new UserError(`--density ${wrong}: a share, above 0 and at most 1.`, usage);
  const outside = dropped.find((gamma) => !(gamma >= 0 && gamma < 1));
  if (outside !== undefined) throw new UserError(`--gamma ${outside}: a share, at least 0 and below 1.`, usage);
  const how = methods[method];
  // Where signs are elected, each element is divided by the weights of those models that agree on it.
  const elects = how.kind === "changes" && how.elect, normalizes = options.normalize ?? method === "linear";
  if (normalizes && !elects && Math.abs(weights.reduce((sum, weight) => sum + weight, 0)) < 1e-8) {
    throw new UserError("--weights: they add up to 0, and cannot be normalised.", usage);
  }
  return { weights, densities: kept, gammas: dropped, lambda, t, seed, normalize: options.normalize };
}

function checkModels(folders: readonly string[], { method: name, base }: DenseMergeOptions): void {
  const method = methods[name];
  const usage = { usage: true };
  if (method.base && base === undefined) {
    throw new UserError(`--method ${name}: it compares models with a base model: give --base FOLDER.`, usage);
  }
  if (!method.base && base !== undefined) {
    throw new UserError(`--method ${name}: it takes no --base; name the model among the others.`, usage);
  }
  if (folders.length === 0) throw new UserError("no model to merge was given.", usage);
  const { least, most } = method.models ?? { least: 1, most: Infinity };
  if (folders.length < least || folders.length > most) {
    const takes = least === most ? `${least} model` : `at least ${least} models`;
    throw new UserError(`--method ${name}: it takes ${takes} beside the base, ${folders.length} were given.`, usage);
  }
}

/** Settings that say which tensors a model has, and what they compute. */
const architecture = [
  "kind",
  "vocabSize",
  "hiddenSize",
  "ffnSize",
  "layers",
  "heads",
  "kvHeads",
  "headDim",
  "tied",
  "ropeTheta",
  "normEps",
  "attentionBias",
] as const satisfies readonly (keyof ModelConfig)[];

function checkAlike(first: OpenModel, other: OpenModel): void {
  if (other.config.kind !== "llama") {
    throw new UserError(
      `${other.path}: this is a mixture; merge it alone first, dense models are merged with each other.`,
    );
  }
  for (const name of architecture) {
    const [one, two] = [first.config[name], other.config[name]];
    if (one !== two) {
      throw new UserError(
        `${other.path}: its ${name} is ${two ?? "none"}, that of ${first.path} is ${
          one ?? "none"
        }: only models of one architecture merge.`,
      );
    }
  }
}
