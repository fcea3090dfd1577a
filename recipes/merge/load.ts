/** @file A mixture merged while it is loaded: the dense model on a device, without a folder of its own. */
import { UserError } from "../../dsl/errors.ts";
import { tensorOf } from "../../dsl/tensor.ts";
import type { Device } from "../../backend/runtime.ts";
import type { MoeConfig } from "../convert/config.ts";
import { openModel } from "../convert/huggingface.ts";
import { layout, sizeOf, treeOf } from "../model/layout.ts";
import type { Model } from "../model/llama.ts";
import type { Dense } from "../model/parameters.ts";
import { type Combined, denseConfig, denseTensors } from "./folder.ts";
import type { MergeWeights } from "./weights.ts";

/**
 * The dense model of a mixture's folder, in f32: W = λ·W_shared + (1 − λ)·Σ wᵢ·Wᵢ, summed in f64. One tensor at a time
 * passes through the host.
 *
 * @throws {UserError} if the folder holds no mixture, or the weights do not fit it
 */
export function loadMerged(folder: string, device: Device, weights: (config: MoeConfig) => MergeWeights): Dense {
  using opened = openModel(folder);
  const { config, checkpoint } = opened;
  if (config.kind !== "moe") throw new UserError(`${folder}: this model is dense already, there is nothing to merge.`);
  const dense = denseConfig(config);
  const tensors = new Map([...denseTensors(config, checkpoint, weights(config))].map((each) => [each.name, each]));
  const model = treeOf(layout(dense), (leaf) => {
    const place = device.allocate(leaf.shape, "f32"), piece = sizeOf(leaf) / leaf.names.length;
    leaf.names.forEach((name, i) => device.write(place, combined(tensors.get(name)!), i * piece));
    return tensorOf(place);
  });
  return { config: dense, model: model as Model };
}

/** The weighted sum that stands for a tensor. */
function combined({ data: { terms: [first, ...rest] } }: Combined): Float32Array {
  const whole = first.checkpoint.read(first.name);
  if (first.weight === 1 && rest.length === 0) return whole;
  const sum = Float64Array.from(whole, (each) => each * first.weight);
  for (const { checkpoint, name, weight } of rest) {
    checkpoint.read(name).forEach((each, i) => sum[i] += weight * each);
  }
  return Float32Array.from(sum);
}
