/** @file mergekit's files: a merge of dense models described in YAML. */
import { resolve } from "node:path";
import { parse } from "npm:yaml@2.9.1";
import { UserError } from "../../dsl/errors.ts";
import type { StoredDtype } from "../../backend/checkpoint.ts";
import { isHubAddress } from "../hub/address.ts";
import { DEFAULT_GAMMA, type DenseMergeOptions } from "./dense.ts";
import { isMethodName, methods } from "./methods/mod.ts";

/** A merge as a file describes it. */
export interface DescribedMerge {
  /** The models' folders (or addresses on the hub, as they are written), without the base. */
  readonly models: readonly string[];
  /** Everything else. */
  readonly options: DenseMergeOptions;
}

type Fields = Readonly<Record<string, unknown>>;

const dtypes: Readonly<Record<string, StoredDtype>> = { float32: "F32", bfloat16: "BF16", float16: "F16" };
/** Fields that change nothing about the weights, or that we do as they ask by default. */
const known = new Set(["merge_method", "models", "base_model", "parameters", "dtype", "out_dtype", "tokenizer_source"]);
const knownParameters = new Set(["weight", "density", "gamma", "normalize", "lambda", "t", "int8_mask"]);

/**
 * Reads one of mergekit's files: `merge_method`, `models`, `base_model`, `parameters`, `dtype`, `out_dtype`. Paths are relative to the
 * current folder, as mergekit has it.
 *
 * @param text YAML (or JSON, which is YAML)
 * @param name the file's, for messages
 * @param folder what relative paths start from
 * @throws {UserError} naming a field that is missing, malformed, or beyond these methods
 */
export function readMergekit(text: string, name: string, folder: string): DescribedMerge {
  const fail = (why: string): never => {
    throw new UserError(`${name}: ${why}`);
  };
  const fields = (value: unknown, what: string, allowed: ReadonlySet<string>): Fields => {
    if (value === undefined || value === null) return {};
    if (typeof value !== "object" || Array.isArray(value)) return fail(`${what} is no table of names and values.`);
    const strange = Object.keys(value).find((key) => !allowed.has(key));
    if (strange !== undefined) return fail(`${what} has "${strange}", which this merge does not know.`);
    return value as Fields;
  };
  const number = (value: unknown, what: string): number | undefined => {
    if (value === undefined || value === null) return undefined;
    return typeof value === "number" ? value : fail(`${what} is no number; values for parts of a model are not known.`);
  };
  let content: unknown;
  try {
    content = parse(text);
  } catch (error) {
    fail(`this is no YAML: ${(error as Error).message.split("\n")[0]}`);
  }
  const file = fields(content, "the file", known), method = file.merge_method;
  if (typeof method !== "string" || !isMethodName(method)) {
    return fail(`merge_method is ${JSON.stringify(method)}; there are ${Object.keys(methods).join(", ")}.`);
  }
  if (!Array.isArray(file.models)) return fail("models is no list of models.");
  const place = (path: unknown, what: string): string => {
    if (typeof path !== "string" || path === "") return fail(`${what} is no path of a model.`);
    return isHubAddress(path) ? path : resolve(folder, path);
  };
  const shared = fields(file.parameters, "parameters", knownParameters);
  const base = file.base_model === undefined || !methods[method].base
    ? undefined
    : place(file.base_model, "base_model");
  const models = file.models.map((entry: unknown, i) => {
    const what = `models[${i}]`, one = fields(entry, what, new Set(["model", "parameters"]));
    const own = { ...shared, ...fields(one.parameters, `${what}.parameters`, knownParameters) };
    return {
      path: place(one.model, `${what}.model`),
      weight: number(own.weight, `${what}: weight`) ?? 1,
      density: number(own.density, `${what}: density`) ?? 1,
      gamma: number(own.gamma, `${what}: gamma`),
    };
  }).filter(({ path }) => path !== base);
  const storage = (name: "dtype" | "out_dtype"): StoredDtype | undefined => {
    const given = file[name];
    if (given === undefined || given === null) return undefined;
    return dtypes[String(given)] ?? fail(`${name} is ${given}; there are ${Object.keys(dtypes).join(", ")}.`);
  };
  // Sums are made in f64 whatever is asked for, so that only how results are stored is left to say.
  const [computed, stored] = [storage("dtype"), storage("out_dtype")], dtype = stored ?? computed;
  const { normalize } = shared;
  return {
    models: models.map(({ path }) => path),
    options: {
      method,
      base,
      weights: models.map(({ weight }) => weight),
      densities: models.map(({ density }) => density),
      gammas: models.map(({ gamma = DEFAULT_GAMMA }) => gamma),
      lambda: number(shared.lambda, "lambda"),
      t: number(shared.t, "t"),
      dtype,
      ...(normalize !== undefined && normalize !== null && { normalize: Boolean(normalize) }),
    },
  };
}
