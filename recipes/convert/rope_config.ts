/** @file Rotary settings in a config.json: as transformers 5 writes them, as it did before, and back. */
import type { RopeScaling } from "../../dsl/nn/rope.ts";
import type { Fields, JsonObject } from "./fields.ts";

/** Base of the rotary frequencies, and their stretching. */
export interface RopeConfig {
  /** The base. */
  readonly ropeTheta: number;
  /** The stretching, where there is one. */
  readonly ropeScaling: RopeScaling | null;
}

/** 1 + 0.1·m·ln(factor): how much sharper attention becomes over longer contexts (arXiv 2309.00071). */
const sharpness = (factor: number, m: number): number => factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1;

/** What YaRN multiplies cosines and sines with, where the file does not say it: as transformers computes it. */
export function yarnAttentionFactor(factor: number, mscale = 0, mscaleAllDim = 0): number {
  return mscale && mscaleAllDim ? sharpness(factor, mscale) / sharpness(factor, mscaleAllDim) : sharpness(factor, 1);
}

/**
 * Reads the rotary settings.
 *
 * @param maxPositions what the model's `max_position_embeddings` are
 * @throws {UserError} if the stretching is none that we compute
 */
export function parseRope(fields: Fields, maxPositions: number): RopeConfig {
  // transformers 5 writes `rope_parameters`, earlier versions `rope_theta` and `rope_scaling`.
  const scaling = fields.object("rope_parameters") ?? fields.object("rope_scaling");
  const ropeTheta = scaling?.has("rope_theta") ? scaling.positive("rope_theta") : fields.positive("rope_theta", 10000);
  const rotated = (scaling?.has("partial_rotary_factor") ? scaling : fields).positive("partial_rotary_factor", 1);
  if (rotated !== 1) fields.fail(`only ${rotated} of a head's channels are rotated, which is not supported.`);
  return { ropeTheta, ropeScaling: scaling === undefined ? null : parseScaling(scaling, fields, maxPositions) };
}

function parseScaling(scaling: Fields, fields: Fields, maxPositions: number): RopeScaling | null {
  const type = scaling.text("rope_type") ?? scaling.text("type") ?? "default";
  const original = (): number =>
    fields.has("original_max_position_embeddings")
      ? fields.size("original_max_position_embeddings")
      : scaling.size("original_max_position_embeddings", maxPositions);
  switch (type) {
    case "default":
      return null;
    case "linear":
      return { type, factor: scaling.positive("factor") };
    case "dynamic":
      return { type, factor: scaling.positive("factor"), originalMaxPositions: maxPositions };
    case "llama3":
      return {
        type,
        factor: scaling.positive("factor"),
        lowFrequencyFactor: scaling.positive("low_freq_factor"),
        highFrequencyFactor: scaling.positive("high_freq_factor"),
        originalMaxPositions: original(),
      };
    case "yarn": {
      const originalMaxPositions = original(), factor = scaling.positive("factor", maxPositions / originalMaxPositions);
      const mscales = ["mscale", "mscale_all_dim"].map((name) => scaling.number(name, 0));
      return {
        type,
        factor,
        originalMaxPositions,
        betaFast: scaling.number("beta_fast", 0) || 32,
        betaSlow: scaling.number("beta_slow", 0) || 1,
        truncate: scaling.boolean("truncate", true),
        attentionFactor: scaling.positive("attention_factor", yarnAttentionFactor(factor, ...mscales)),
      };
    }
    default:
      return fields.fail(`RoPE scaling "${type}" is not supported (linear, dynamic, llama3 and yarn are).`);
  }
}

/** The settings as versions of transformers before 5 wrote them, which later ones read, too. */
export function formatRope({ ropeTheta, ropeScaling }: RopeConfig): JsonObject {
  return { rope_theta: ropeTheta, rope_scaling: ropeScaling === null ? null : formatScaling(ropeScaling) };
}

function formatScaling(scaling: RopeScaling): JsonObject {
  const { type, factor } = scaling;
  switch (scaling.type) {
    case "linear":
    case "dynamic":
      // Two spellings of the type: transformers before 4.43 reads the first, later ones the second.
      return { type, rope_type: type, factor };
    case "llama3":
      return {
        rope_type: type,
        factor,
        low_freq_factor: scaling.lowFrequencyFactor,
        high_freq_factor: scaling.highFrequencyFactor,
        original_max_position_embeddings: scaling.originalMaxPositions,
      };
    case "yarn":
      return {
        type,
        rope_type: type,
        factor,
        original_max_position_embeddings: scaling.originalMaxPositions,
        beta_fast: scaling.betaFast,
        beta_slow: scaling.betaSlow,
        truncate: scaling.truncate,
        attention_factor: scaling.attentionFactor,
      };
  }
}
