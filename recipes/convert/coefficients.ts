/** @file coefficients.json: what `learn` found and `merge` uses. */
import { UserError } from "../../dsl/errors.ts";
import { isJsonObject, type JsonObject } from "./fields.ts";
import { readJson } from "./huggingface.ts";

/** Merging coefficients: W = λ·W_shared + (1 − λ)·Σᵢ softmax(α)ᵢ·Wᵢ in every layer. */
export interface Coefficients {
  /** Version of the file's layout. */
  readonly version: 1;
  /** Name of the objective that α was learned by. */
  readonly objective: string;
  /** Share of the shared expert, between 0 and 1; a list where each layer has its own. */
  readonly lambda: number | readonly number[];
  /** Unnormalised α: [layer][routed expert]. */
  readonly alpha: readonly (readonly number[])[];
  /** What it was learned on: file, samples, fingerprint. */
  readonly data?: JsonObject;
}

/**
 * Checks the content of a coefficients.json.
 *
 * @param json the parsed file
 * @param where the file's name, for messages
 * @throws {UserError} if it is of another version or a value is impossible
 */
export function parseCoefficients(json: unknown, where: string): Coefficients {
  const fail = (sentence: string): never => {
    throw new UserError(`${where}: ${sentence}`);
  };
  if (!isJsonObject(json)) return fail("a JSON object was expected.");
  const { version, objective, lambda, alpha, data } = json;
  if (version !== 1) return fail(`version ${JSON.stringify(version)} is not supported (1 is).`);
  if (typeof objective !== "string") return fail('"objective" must be a text.');
  const shares: unknown[] = Array.isArray(lambda) ? lambda : [lambda];
  if (!shares.every((share) => typeof share === "number" && share >= 0 && share <= 1)) {
    return fail(`"lambda" is ${JSON.stringify(lambda)}: λ is a share, between 0 and 1.`);
  }
  if (!Array.isArray(alpha) || alpha.length === 0) return fail('"alpha" must hold one list per layer.');
  const layers = alpha.map((layer: unknown, index): number[] => {
    if (!Array.isArray(layer) || !layer.every((value) => typeof value === "number" && Number.isFinite(value))) {
      return fail(`layer ${index} of "alpha" is no list of numbers.`);
    }
    return layer;
  });
  const experts = layers[0].length;
  if (experts === 0) return fail('"alpha" has no routed experts.');
  const odd = layers.findIndex((layer) => layer.length !== experts);
  if (odd >= 0) return fail(`layer ${odd} of "alpha" has ${layers[odd].length} values, layer 0 has ${experts}.`);
  if (Array.isArray(lambda) && lambda.length !== layers.length) {
    return fail(`"lambda" has ${lambda.length} values, "alpha" has ${layers.length} layers.`);
  }
  return {
    version,
    objective,
    lambda: lambda as number | number[],
    alpha: layers,
    ...(isJsonObject(data) ? { data } : {}),
  };
}

/**
 * Reads a coefficients.json.
 *
 * @throws {UserError} if it is missing, malformed, or a value is impossible
 */
export function readCoefficients(path: string): Coefficients {
  return parseCoefficients(readJson(path), path);
}

/** The file's text. */
export function formatCoefficients(coefficients: Coefficients): string {
  return `${JSON.stringify(coefficients, null, 2)}\n`;
}
