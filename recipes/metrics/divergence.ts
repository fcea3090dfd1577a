/**
 * @file Where a training that diverged began to: it is gone through again from the last snapshot, for a step is the same
 * whenever it is made, and looked at tensor by tensor.
 */
import { compile, free } from "../../backend/compile.ts";
import type { Device } from "../../backend/runtime.ts";
import { entriesOf } from "../../dsl/tree.ts";
import type { ModelConfig } from "../convert/config.ts";
import { type Batch, type HostBatch, toBatch } from "../model/batch.ts";
import type { AnyModel } from "../model/layout.ts";
import { type Hidden, llama, type Model, swiglu } from "../model/llama.ts";
import { type Moe, moe } from "../model/moe.ts";

/** A training that can be gone through again. */
export interface Replay<T extends { readonly model: AnyModel }> {
  /** Weights and optimiser state after `done` steps. */
  readonly from: T;
  readonly done: number;
  /** Makes a step, counted from 0. */
  step(training: T, step: number): Promise<T>;
  /** The batches of a step. */
  hosts(step: number): readonly HostBatch[];
  /** The step whose loss is no number. */
  readonly failed: number;
}

/** Where numbers ended. */
export interface Origin {
  /** The step, counted from 0. */
  readonly step: number;
  /** What happened in it, as the end of a sentence. */
  readonly what: string;
}

const firstBad = async (tree: unknown, device: Device): Promise<[path: string, values: number][]> => {
  const found: [string, number][] = [];
  for (const [path, leaf] of entriesOf(tree)) {
    // On the host: a shader may assume that all numbers are finite.
    const bad = (await device.read(leaf) as Float32Array).find((value) => !Number.isFinite(value));
    if (bad !== undefined) found.push([path, bad]);
  }
  return found;
};

/** What each layer's feed-forward block sees, and the last hidden state. */
function activations(config: ModelConfig): (model: AnyModel, batch: Batch) => { seen: Hidden[]; hidden: Hidden } {
  return (model, { tokens, packing }) => {
    const { seen, hidden } = config.kind === "llama"
      ? llama(config, model as Model, tokens, swiglu, { packing })
      : llama(config, model as Model<Moe>, tokens, moe(config), { packing });
    return { seen: [...seen], hidden };
  };
}

/** In which part of the forward pass a batch's numbers end, with weights that are all finite. */
async function inForwardPass(
  config: ModelConfig,
  model: AnyModel,
  hosts: readonly HostBatch[],
  device: Device,
): Promise<string> {
  const run = compile(activations(config), device);
  for (const host of hosts) {
    const out = await run(model, toBatch(host)), [bad] = await firstBad(out, device);
    free(out, device);
    const layer = bad && /^seen\.(\d+)$/.exec(bad[0])?.[1];
    if (layer === "0") return "its forward pass ended in the attention of layer 0";
    if (layer) return `its forward pass ended in the attention of layer ${layer}, or the feed-forward block before it`;
    if (bad) return `its forward pass ended in the feed-forward block of layer ${config.layers - 1}`;
  }
  return "its hidden states are finite: it was the output projection, the loss or the balance of the experts";
}

/** Goes through a training again, up to the step whose loss is no number. */
export async function findOrigin<T extends { readonly model: AnyModel }>(
  config: ModelConfig,
  device: Device,
  { from, done, step, hosts, failed }: Replay<T>,
): Promise<Origin> {
  let training = from;
  for (let at = done; at < failed; at++) {
    training = await step(training, at);
    const bad = await firstBad(training.model, device);
    if (bad.length === 0) continue;
    // Gradients flow from the last layer to the first: the last tensor is where they ended.
    const [path, value] = bad[bad.length - 1], others = bad.length - 1;
    const more = others === 0 ? "" : `, and in ${others} tensor${others === 1 ? "" : "s"} before it`;
    return { step: at, what: `its update left ${value} in ${path}${more}` };
  }
  return { step: failed, what: await inForwardPass(config, training.model, hosts(failed), device) };
}
