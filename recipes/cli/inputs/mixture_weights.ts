/** @file How a mixture is merged, as flags say it: into a folder (`merge`), or while it is loaded (`generate`, `serve`). */
import { join } from "node:path";
import type { Device } from "../../../backend/runtime.ts";
import { type Coefficients, readCoefficients } from "../../convert/coefficients.ts";
import type { MoeConfig } from "../../convert/config.ts";
import { kindOf } from "../../convert/files.ts";
import { loadMerged } from "../../merge/load.ts";
import { type MergeWeights, singleExpert, uniformWeights, weightsOf } from "../../merge/weights.ts";
import { type Loaded, loadModel, type WeightType } from "../../model/parameters.ts";

/** λ where neither a file nor a flag says it: the paper's. */
const DEFAULT_LAMBDA = 0.75;

/** What flags say of a mixture's merge. */
export interface MixtureFlags {
  /** A coefficients.json (default: the one in the mixture's folder, unless a method is named). */
  readonly coefficients?: string;
  /** `xft`, `uniform` or `shared`. */
  readonly method?: string;
  /** The shared expert's share. */
  readonly lambda?: number;
  /** Does it win over the file's? */
  readonly overrideLambda?: boolean;
}

/** How a mixture is merged. */
export interface MixtureMerge {
  /** Where the coefficients are from. */
  readonly file?: string;
  /** The method's name. */
  readonly method: string;
  /** The file's content. */
  readonly coefficients?: Coefficients;
  /** What each expert weighs. */
  readonly weights: (config: MoeConfig) => MergeWeights;
}

/** Reads what the flags say. @throws {UserError} if a file is missing or wrong */
export function mixtureWeights(
  moe: string,
  { coefficients: given, method: named, lambda, overrideLambda }: MixtureFlags,
): MixtureMerge {
  // A mixture's folder may carry its own coefficients.
  const beside = join(moe, "coefficients.json");
  const file = given ?? (named === undefined && kindOf(beside) === "file" ? beside : undefined);
  const method = named ?? (file ? "xft" : "uniform");
  const coefficients = file === undefined ? undefined : readCoefficients(file);
  const weights = (mixture: MoeConfig): MergeWeights => {
    if (coefficients) return weightsOf(mixture, coefficients, lambda, overrideLambda);
    return method === "shared" ? singleExpert(mixture, 0) : uniformWeights(mixture, lambda ?? DEFAULT_LAMBDA);
  };
  return { file, method, coefficients, weights };
}

/**
 * A model as it is, or a mixture merged while it is loaded where a flag says how.
 *
 * @throws {UserError} if the folder is none, or the flags do not fit it
 */
export function loadAsTold(
  folder: string,
  device: Device,
  flags: Omit<MixtureFlags, "method"> & { readonly storage: WeightType; readonly merge?: string },
): Loaded {
  const { storage, merge: method, coefficients } = flags;
  if (method === undefined && coefficients === undefined) return loadModel(folder, device, storage);
  return loadMerged(folder, device, mixtureWeights(folder, { ...flags, method }).weights);
}
