/** @file How far a mixture's experts are from each other and from the dense model's block, measured while it trains. */
import {
  add,
  at,
  div,
  mul,
  type Scalar,
  slice,
  sqrt,
  square,
  stack,
  sub,
  sum,
  type Tensor,
  unflatten,
} from "../../dsl/mod.ts";
import type { Node } from "../../dsl/node.ts";
import { nodeOf, tensorOf } from "../../dsl/tensor.ts";
import { compile, free, number, values } from "../../backend/compile.ts";
import type { Device } from "../../backend/runtime.ts";
import type { ModelConfig } from "../convert/config.ts";
import { openModel } from "../convert/huggingface.ts";
import { type Experts, spread, spreadOf } from "./health.ts";
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

/** Two measures of the same distances, and the memory that they keep. */
export interface DistanceMeasures extends Disposable {
  /** Over all weights: a few passes over them, more than every step should cost. */
  readonly exact: DistanceMeasure;
  /** Over {@link SAMPLED_ROWS} rows of each matrix, the same ones every time: cheap enough for every step. */
  readonly sampled: DistanceMeasure;
}

/**
 * Rows of a matrix that the sampled measure looks at, evenly spaced; all, where there are not twice as many. Channels
 * differ, so that a distance is off by a few percent (SmolLM2's 30 layers of 8 experts: 15% at worst), by the same rows
 * at every step.
 */
export const SAMPLED_ROWS = 64;

type Blocks<B extends string> = {
  readonly gate: Tensor<B | "hidden" | "embed">;
  readonly up: Tensor<B | "hidden" | "embed">;
  readonly down: Tensor<B | "hidden" | "embed">;
};

/** Every so many'th place of an axis, each weighing as many as it stands for: sums of squares are those of the whole. */
function sampledPlaces<A extends string>(matrix: Tensor<A>, axis: NoInfer<A>): Tensor<A> {
  const { shape } = nodeOf(matrix), size = shape[axis], every = Math.max(1, Math.floor(size / SAMPLED_ROWS));
  if (every === 1) return matrix;
  const seen = tensorOf<string, "real">(nodeOf(slice(matrix, axis, 0, every * SAMPLED_ROWS)));
  const first = at(unflatten(seen, axis, { [axis]: SAMPLED_ROWS, among: every }), "among", 0);
  return tensorOf<A, "real">(nodeOf(mul(first, Math.sqrt(size / SAMPLED_ROWS))));
}

/** The rows of a block's matrices that are looked at. */
const sampledRows = <B extends string>({ gate, up, down }: Blocks<B>): Blocks<B> => ({
  gate: sampledPlaces(gate, "hidden"),
  up: sampledPlaces(up, "hidden"),
  down: sampledPlaces(down, "embed"),
});

/** ‖Wᵢ − W‖ / ‖W‖ over gate, up and down together, W a dense block: of a layer's routed experts, and its shared one. */
function drift(
  { experts, shared }: Experts,
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

/** The same of all layers, over some rows; `dense` holds these rows of each dense block already. */
function sampledDistances(model: Model<Moe>, dense: readonly Ffn[]) {
  const layers = model.layers.map(({ ffn: { experts, shared } }) => {
    const whole = widened({ experts, shared });
    return { experts: sampledRows<"expert">(whole.experts), shared: sampledRows<never>(whole.shared) } as Experts;
  });
  const drifts = dense.map((block, layer) => drift(layers[layer], block));
  return {
    ...spreadOf(layers),
    ...(dense.length > 0 && {
      expertDrift: stack("layer", drifts.map((each) => each.experts)),
      sharedDrift: stack("layer", drifts.map((each) => each.shared)),
    }),
  };
}

/**
 * Measures of a mixture's experts. Of SmolLM2's mixture (692 M weights) the exact one takes a seventh of the time of a
 * step of 2 × 256 tokens, and is for the looks at the validation set; the sampled one takes a hundredth.
 *
 * @param origin folder of the mixture as it was upcycled, whose shared experts are the dense model's blocks: they are read
 * layer by layer, so that no second copy lies in memory (default: drift is not measured)
 */
export function distancesOf(config: ModelConfig, device: Device, origin?: string): DistanceMeasures {
  if (config.kind !== "moe") {
    const nothing = (): Promise<ExpertDistances> => Promise.resolve({});
    return { exact: nothing, sampled: nothing, [Symbol.dispose]: () => {} };
  }
  const { layers } = config, apart = compile(spread, device);
  const moved = compile((ffn: Experts, dense: Ffn) => drift(widened(ffn), dense), device);
  const some = compile(sampledDistances, device), keep = compile((block: Ffn) => sampledRows<never>(block), device);
  let kept: Ffn[] | undefined;
  const table = async (x: Tensor<"layer" | "expert">): Promise<number[][]> =>
    rowsOf(await values(x, device, "layer", "expert"), layers);
  return {
    async exact(model) {
      const mixture = model as Model<Moe>, out = await apart(mixture);
      const found = { expertSpread: await table(out.experts), sharedSpread: [...await values(out.shared, device)] };
      free(out, device);
      if (origin === undefined) return found;
      const expertDrift: number[][] = [], sharedDrift: number[] = [];
      for (const [layer, dense] of denseBlocks(origin, layers, device)) {
        const { experts, shared } = mixture.layers[layer].ffn;
        const far = await moved({ experts, shared }, dense);
        expertDrift.push([...await values(far.experts, device)]);
        sharedDrift.push(await number(far.shared, device));
        free(far, device);
      }
      return { ...found, expertDrift, sharedDrift };
    },
    async sampled(model) {
      if (kept === undefined) {
        kept = [];
        if (origin !== undefined) {
          for (const [, dense] of denseBlocks(origin, layers, device)) kept.push(await keep(dense));
        }
      }
      const out = await some(model as Model<Moe>, kept);
      const { expertDrift, sharedDrift } = out;
      const found = {
        expertSpread: await table(out.experts),
        sharedSpread: [...await values(out.shared, device)],
        ...(expertDrift && { expertDrift: await table(expertDrift) }),
        ...(sharedDrift && { sharedDrift: [...await values(sharedDrift, device)] }),
      };
      free(out, device);
      return found;
    },
    [Symbol.dispose]: () => kept && free(kept, device),
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
