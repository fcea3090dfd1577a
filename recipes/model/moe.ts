/** @file XFT's mixture: one shared expert, N − 1 routed ones, the K − 1 likeliest of them (arXiv 2404.15247). */
import {
  add,
  at,
  contract,
  contractAt,
  type Key,
  less,
  mul,
  normal,
  not,
  type Scalar,
  silu,
  softplus,
  type Stacked,
  type Tensor,
} from "../../dsl/mod.ts";
import { crossEntropySum } from "../../dsl/nn/loss.ts";
import type { MoeConfig } from "../convert/config.ts";
import { balance } from "./balance.ts";
import type { Batch } from "./batch.ts";
import { type Ffn, type Hidden, llama, type LlamaOptions, type Model, swiglu } from "./llama.ts";
import { type PerExpert, route, type Router, type Routing, score } from "./router.ts";

/** What stands in a mixture where a dense layer has its `Ffn`. */
export type Moe = { router: Router; shared: Ffn; experts: Stacked<Ffn, "expert"> };
/** Standard normal numbers that disturb the routers in training. */
export type Noise = Tensor<"layer" | "batch" | "seq" | "expert">;

/** Noise for every layer, token and routed expert of a batch. It is part of the step; the same key repeats it. */
export const noiseOf = (key: Key, config: MoeConfig, { tokens }: Batch): Noise =>
  normal(key, {
    layer: config.layers,
    batch: tokens.shape.batch,
    seq: tokens.shape.seq,
    expert: config.experts - 1,
  });

/** A token's routing, and the logits it comes from: clean, and disturbed by noise of standard deviation `deviation`. */
export type Routed = Routing & { clean: PerExpert; noisy: PerExpert; deviation?: PerExpert };

/** Logits (in training with ε·(softplus(x·W_noise) + floor) added) and the routing they give. */
export function routed(x: Hidden, { router }: Moe, config: MoeConfig, epsilon?: PerExpert): Routed {
  const clean = score(x, router);
  const deviation = epsilon && router.noise
    ? add(softplus(contract(x, router.noise, "embed")), config.noiseEpsilon)
    : undefined;
  const noisy = deviation && epsilon ? add(clean, mul(deviation, epsilon)) : clean;
  return { clean, noisy, deviation, ...route(noisy, config.active - 1, config.normalised) };
}

/** The mixture in place of a feed-forward block. */
export const moe =
  (config: MoeConfig, noise?: Noise): (x: Hidden, weights: Moe, layer: number) => Hidden => (x, weights, layer) => {
    const { shared, experts: { gate, up, down } } = weights;
    const { expert, gates, rest } = routed(x, weights, config, noise && at(noise, "layer", layer));
    const hidden = mul(silu(contractAt(x, gate, { expert }, "embed")), contractAt(x, up, { expert }, "embed"));
    return add(contract(contractAt(hidden, down, { expert }, "hidden"), gates, "slot"), mul(swiglu(x, shared), rest));
  };

/** How a mixture is trained. */
export interface MixtureOptions extends LlamaOptions {
  /** Noise of the routers (training). */
  readonly noise?: Noise;
  /** The balance loss as the authors' code has it: noise alone is compared, padding counts. For comparisons only. */
  readonly authorsQuirks?: boolean;
}

/** Parts of a mixture's loss, and how its routers decided. */
export type MixtureLoss = {
  /** Σ over scored tokens of −log p(label), in nats. */
  total: Scalar;
  /** Scored tokens. */
  count: Scalar;
  /** Σ over layers of the balance loss. */
  balance: Scalar;
  /** One for each layer. */
  routings: readonly Routed[];
  /** Which tokens are no padding. */
  real: Tensor<"batch" | "seq", "bool">;
};

/** Cross-entropy (total over scored tokens, and their count) and Σ over layers of the balance loss. */
export function mixtureLoss(
  config: MoeConfig,
  model: Model<Moe>,
  { tokens, labels, packing }: Batch,
  options: MixtureOptions = {},
): MixtureLoss {
  const { noise, authorsQuirks = false } = options;
  const { logits, seen } = llama(config, model, tokens, moe(config, noise), { ...options, packing });
  const real = not(less(tokens, 0));
  const routings = model.layers.map(({ ffn }, layer) =>
    routed(seen[layer], ffn, config, noise && at(noise, "layer", layer))
  );
  const [first, ...rest] = routings.map((routing) => balance(routing, config, real, authorsQuirks));
  return { ...crossEntropySum(logits, labels), balance: add(first, ...rest), routings, real };
}
