/** @file What a merge needs to know of each layer: how much each routed expert weighs, and λ. */
import { UserError } from "../../dsl/errors.ts";
import type { Coefficients } from "../convert/coefficients.ts";
import type { MoeConfig } from "../convert/config.ts";

/** For every layer the weights of its routed experts (they sum to 1) and the shared one's share λ. */
export interface MergeWeights {
  /** One list a layer, one number a routed expert. */
  readonly weights: readonly (readonly number[])[];
  /** One number a layer. */
  readonly lambda: readonly number[];
}

/** exp(xᵢ) / Σ exp(x) */
export function softmaxOf(x: readonly number[]): number[] {
  const top = Math.max(...x), parts = x.map((each) => Math.exp(each - top));
  const total = parts.reduce((a, b) => a + b, 0);
  return parts.map((part) => part / total);
}

/** For each layer the largest difference between a routed expert's weight and 1/n: 0 means uniform. */
export const distanceFromUniform = (alpha: readonly (readonly number[])[]): number[] =>
  alpha.map((layer) => Math.max(...softmaxOf(layer).map((weight) => Math.abs(weight - 1 / layer.length))));

const forLayers = (config: MoeConfig, weights: readonly number[], lambda: number): MergeWeights => ({
  weights: Array.from({ length: config.layers }, () => weights),
  lambda: Array.from({ length: config.layers }, () => lambda),
});

/** Says no to a λ that is no share. @throws {UserError} */
function checkLambda(lambda: number): void {
  if (!(lambda >= 0 && lambda <= 1)) {
    throw new UserError(`--lambda ${lambda}: λ is a share, between 0 and 1.`, { usage: true });
  }
}

/** Every routed expert weighs the same. */
export function uniformWeights(config: MoeConfig, lambda: number): MergeWeights {
  checkLambda(lambda);
  return forLayers(config, Array.from({ length: config.experts - 1 }, () => 1 / (config.experts - 1)), lambda);
}

/** One expert alone: 0 is the shared one, 1 … N − 1 are the routed ones. @throws {UserError} if there is none of that number */
export function singleExpert(config: MoeConfig, expert: number): MergeWeights {
  if (!Number.isInteger(expert) || expert < 0 || expert >= config.experts) {
    throw new UserError(`expert ${expert}: the model has experts 0 (shared) to ${config.experts - 1}.`, {
      usage: true,
    });
  }
  const routed = Array.from({ length: config.experts - 1 }, (_, i) => Number(i === Math.max(0, expert - 1)));
  return forLayers(config, routed, expert === 0 ? 1 : 0);
}

/**
 * softmax(α) and λ of a coefficients.json.
 *
 * @param lambda another λ; refused unless it is the file's or `override` is set
 * @throws {UserError} if the file belongs to another model, or two λ are given
 */
export function weightsOf(
  config: MoeConfig,
  coefficients: Coefficients,
  lambda?: number,
  override = false,
): MergeWeights {
  const { alpha } = coefficients;
  if (alpha.length !== config.layers || alpha[0].length !== config.experts - 1) {
    throw new UserError(
      `the coefficients are for ${alpha.length} layers of ${alpha[0].length} routed experts, ` +
        `the model has ${config.layers} layers of ${config.experts - 1}.`,
    );
  }
  if (lambda !== undefined) checkLambda(lambda);
  const own = typeof coefficients.lambda === "number" ? [coefficients.lambda] : coefficients.lambda;
  if (lambda !== undefined && !override && own.some((each) => Math.abs(each - lambda) > 1e-9)) {
    const named = own.length === 1 ? String(own[0]) : "one for each layer";
    throw new UserError(
      `--lambda ${lambda}: the coefficients were learned with λ ${named}; leave --lambda out, or add --override-lambda.`,
      { usage: true },
    );
  }
  return {
    weights: alpha.map(softmaxOf),
    lambda: alpha.map((_, layer) => lambda ?? (own.length === 1 ? own[0] : own[layer])),
  };
}
