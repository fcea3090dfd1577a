/**
 * @file How GGUF says that rotary frequencies are stretched: keys for linear and YaRN, a tensor of divisors for Llama 3.
 */
import type { Checkpoint } from "../../../backend/checkpoint.ts";
import { UserError } from "../../../dsl/errors.ts";
import { ropeFrequencies, type RopeScaling } from "../../../dsl/nn/rope.ts";
import type { LlamaConfig } from "../config.ts";
import { yarnAttentionFactor } from "../rope_config.ts";
import type { MetadataOut } from "./header.ts";
import type { Metadata } from "./metadata.ts";
import { ropeFactors } from "./tensors.ts";

/** Llama 3.1's and 3.2's settings: the tensor holds what comes of them, not them. */
const llama3 = [8, 32].map((factor) => ({
  type: "llama3",
  factor,
  lowFrequencyFactor: 1,
  highFrequencyFactor: 4,
  originalMaxPositions: 8192,
} as const));

/** What each pair's frequency is divided by. */
function divisors(headDim: number, theta: number, scaling: RopeScaling): Float32Array<ArrayBuffer> {
  const stretched = ropeFrequencies(headDim, { theta, scaling });
  return Float32Array.from(ropeFrequencies(headDim, { theta }), (plain, pair) => plain / stretched[pair]);
}

/**
 * Reads the stretching.
 *
 * @throws {UserError} if it is one that we do not compute
 */
export function readRopeScaling(
  checkpoint: Checkpoint,
  metadata: Metadata,
  headDim: number,
  theta: number,
): RopeScaling | null {
  const key = (name: string): string => metadata.own(`rope.${name}`);
  const type = metadata.text(key("scaling.type"));
  const factor = metadata.number(key("scaling.factor")) ?? metadata.number(key("scale_linear"));
  if (checkpoint.tensors.has(ropeFactors)) {
    const found = checkpoint.read(ropeFactors);
    const scaling = llama3.find((scaling) =>
      divisors(headDim, theta, scaling).every((x, pair) => Math.abs(x - found[pair]) <= 1e-4 * x)
    );
    return scaling ?? metadata.fail(`the divisors in "${ropeFactors}" are not those of Llama 3.1 or 3.2.`);
  }
  if (type === undefined && factor === undefined || type === "none") return null;
  if (factor === undefined || factor <= 0) return metadata.fail("the metadata has no factor for RoPE scaling.");
  switch (type) {
    case undefined:
    case "linear":
      return { type: "linear", factor };
    case "yarn": {
      const scale = metadata.number(key("scaling.yarn_attn_factor")) ?? metadata.number(key("scaling.attn_factor")) ??
        1;
      return {
        type,
        factor,
        originalMaxPositions: metadata.size(key("scaling.original_context_length")),
        betaFast: metadata.number(key("scaling.yarn_beta_fast")) ?? 32,
        betaSlow: metadata.number(key("scaling.yarn_beta_slow")) ?? 1,
        truncate: true,
        attentionFactor: scale * yarnAttentionFactor(factor),
      };
    }
    default:
      return metadata.fail(`RoPE scaling "${type}" is not supported (linear and yarn are).`);
  }
}

/** The stretching as metadata, and the tensor of divisors where there is one. */
export interface RopeScalingOut {
  /** Keys after the architecture's name. */
  readonly metadata: MetadataOut;
  /** One number for each pair of a head's channels. */
  readonly divisors?: Float32Array<ArrayBuffer>;
}

/**
 * The stretching as llama.cpp reads it.
 *
 * @param where the model's name, for messages
 * @throws {UserError} if llama.cpp has no such stretching
 */
export function formatRopeScaling({ ropeScaling, ropeTheta, headDim }: LlamaConfig, where: string): RopeScalingOut {
  if (ropeScaling === null) return { metadata: {} };
  const { type, factor } = ropeScaling;
  const keys: MetadataOut = {
    "rope.scaling.type": { type: "text", value: type },
    "rope.scaling.factor": { type: "f32", value: factor },
  };
  switch (ropeScaling.type) {
    case "linear":
      return { metadata: keys };
    case "llama3":
      return { metadata: {}, divisors: divisors(headDim, ropeTheta, ropeScaling) };
    case "yarn": {
      const { originalMaxPositions, betaFast, betaSlow, truncate, attentionFactor } = ropeScaling;
      if (!truncate) throw new UserError(`${where}: llama.cpp has no YaRN whose ramp begins within a pair.`);
      const scale = attentionFactor / yarnAttentionFactor(factor);
      // Later versions read these keys, earlier ones compute with the usual values.
      const others: MetadataOut = {
        ...(betaFast !== 32 && { "rope.scaling.yarn_beta_fast": { type: "f32", value: betaFast } }),
        ...(betaSlow !== 1 && { "rope.scaling.yarn_beta_slow": { type: "f32", value: betaSlow } }),
        ...(Math.abs(scale - 1) > 1e-6 && { "rope.scaling.yarn_attn_factor": { type: "f32", value: scale } }),
      };
      const original: MetadataOut = {
        "rope.scaling.original_context_length": { type: "u32", value: originalMaxPositions },
      };
      return { metadata: { ...keys, ...original, ...others } };
    }
    case "dynamic":
      throw new UserError(`${where}: llama.cpp has no RoPE scaling that grows with the text ("dynamic").`);
  }
}
