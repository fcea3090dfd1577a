/** @file How far a mixture's experts are from each other and from the dense model's block, measured while it trains. */
import { add, div, type Scalar, sqrt, square, sub, sum, type Tensor } from "../../dsl/mod.ts";
import type { Node } from "../../dsl/node.ts";
import { nodeOf, tensorOf } from "../../dsl/tensor.ts";
import { compile, free, number, values } from "../../backend/compile.ts";
import type { Device } from "../../backend/runtime.ts";
import type { ModelConfig } from "../convert/config.ts";
import { openModel } from "../convert/huggingface.ts";
import { spread } from "./health.ts";
import { type AnyModel, layout, type Leaf } from "../model/layout.ts";
import type { Ffn, Model } from "../model/llama.ts";
import type { Moe } from "../model/moe.ts";
import { widened } from "../model/storage.ts";

/** ExpertDistances as numbers of a line of metrics, layer by layer. */
export interface ExpertDistances {
  /** Each routed expert's distance from their mean, as a share of the mean's norm. */
  readonly expertSpread?: readonly (readonly number[])[];
  /** The shared expert's. */
  readonly sharedSpread?: readonly number[];
  /** Each routed expert's distance from the dense model's block, as a share of the block's norm. */
  readonly expertDrift?: readonly (readonly number[])[];
  /** The shared expert's. */
  readonly sharedDrift?: readonly number[];
}

/** Measures a model's experts; nothing for a dense model. */
export type DistanceMeasure = (model: AnyModel) => Promise<ExpertDistances>;

/** ‖Wᵢ − W‖ / ‖W‖ over gate, up and down together, W a dense block: of a layer's routed experts, and its shared one. */
function drift(
  { experts, shared }: Pick<Moe, "experts" | "shared">,
  dense: Ffn,
): { experts: Tensor<"expert">; shared: Scalar } {
  const [gate, up, down] = (["gate", "up", "down"] as const).map((name) => ({
    experts: sum(square(sub(experts[name], dense[name])), "hidden", "embed"),
    shared: sum(square(sub(shared[name], dense[name]))),
    norm: sum(square(dense[name])),
  }));
  const size = add(gate.norm, up.norm, down.norm);
  return {
    experts: sqrt(div(add(gate.experts, up.experts, down.experts), size)),
    shared: sqrt(div(add(gate.shared, up.shared, down.shared), size)),
  };
}

/**
 * A measure of a mixture's experts: some passes over their weights. Of SmolLM2's mixture (692 M weights) it took 4.4 s of
 * threads, 2 s without drift, where a step of 2 × 256 tokens takes about 15: hence not every step.
 *
 * @param origin folder of the mixture as it was upcycled, whose shared experts are the dense model's blocks: they are read
 * layer by layer, so that no second copy lies in memory (default: drift is not measured)
 */
export function distancesOf(config: ModelConfig, device: Device, origin?: string): DistanceMeasure {
  if (config.kind !== "moe") return () => Promise.resolve({});
  const { layers } = config, apart = compile(spread, device);
  const moved = compile(
    (ffn: Pick<Moe, "experts" | "shared">, dense: Ffn) => drift(widened(ffn), dense),
    device,
  );
  return async (model) => {
    const mixture = model as Model<Moe>, out = await apart(mixture);
    const expertSpread = rowsOf(await values(out.experts, device, "layer", "expert"), layers);
    const sharedSpread = [...await values(out.shared, device)];
    free(out, device);
    if (origin === undefined) return { expertSpread, sharedSpread };
    const expertDrift: number[][] = [], sharedDrift: number[] = [];
    for (const [layer, dense] of denseBlocks(origin, layers, device)) {
      const { experts, shared } = mixture.layers[layer].ffn;
      const far = await moved({ experts, shared }, dense);
      expertDrift.push([...await values(far.experts, device)]);
      sharedDrift.push(await number(far.shared, device));
      free(far, device);
    }
    return { expertSpread, sharedSpread, expertDrift, sharedDrift };
  };
}

/** A table's rows: `layers` of them. */
export function rowsOf(data: ArrayLike<number>, layers: number): number[][] {
  const width = data.length / layers;
  return Array.from({ length: layers }, (_, i) => Array.from({ length: width }, (_, j) => data[i * width + j]));
}

/** The shared experts of a mixture's folder, one after another, in the same memory. */
function* denseBlocks(folder: string, layers: number, device: Device): Generator<readonly [number, Ffn]> {
  using opened = openModel(folder);
  const leaves = new Map(layout(opened.config).map((leaf) => [leaf.path, leaf]));
  const leafOf = (layer: number, name: string): Leaf => leaves.get(`layers.${layer}.ffn.shared.${name}`)!;
  const place = (name: string): Node => device.allocate(leafOf(0, name).shape, "f32");
  const block = { gate: tensorOf(place("gate")), up: tensorOf(place("up")), down: tensorOf(place("down")) } as Ffn;
  try {
    for (let layer = 0; layer < layers; layer++) {
      for (const name of ["gate", "up", "down"] as const) {
        device.write(nodeOf(block[name]), opened.checkpoint.read(leafOf(layer, name).names[0]));
      }
      yield [layer, block];
    }
  } finally {
    free(block, device);
  }
}
