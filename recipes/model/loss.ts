/** @file What training minimises and reports, for dense models and mixtures alike. */
import {
  add,
  crossEntropySum,
  div,
  exp,
  type Key,
  logSoftmax,
  maximum,
  mul,
  neg,
  type Scalar,
  stack,
  sum,
  type Tensor,
  where,
} from "../../dsl/mod.ts";
import { compile, number } from "../../backend/compile.ts";
import type { Device } from "../../backend/runtime.ts";
import type { ModelConfig } from "../convert/config.ts";
import { chosen } from "./balance.ts";
import { type Batch, type HostBatch, toBatch } from "./batch.ts";
import type { AnyModel } from "./layout.ts";
import { llama, type LlamaOptions, type Model, swiglu } from "./llama.ts";
import { widened } from "./storage.ts";
import { mixtureLoss, type Moe, moe, noiseOf, type Routed } from "./moe.ts";

/** How a mixture's routers behave on a batch, layer by layer. */
export type Health = {
  /** Tokens sent to each routed expert. */
  load: Tensor<"layer" | "expert">;
  /** Σ p over the tokens that chose each routed expert. */
  importance: Tensor<"layer" | "expert">;
  /** Mean entropy of softmax(z), in nats. */
  entropy: Tensor<"layer">;
  /** Mean gate of the shared expert. */
  shared: Tensor<"layer">;
};

/** A batch's loss and what it is made of. */
export type Losses = {
  /** What is differentiated: mean cross-entropy, for mixtures with the balance loss. */
  loss: Scalar;
  /** Mean negative log-likelihood of a scored token, in nats. */
  nll: Scalar;
  /** Scored tokens. */
  count: Scalar;
  balance?: Scalar;
  health?: Health;
};

const mean = ({ total, count }: { total: Scalar; count: Scalar }): Scalar => div(total, maximum(count, 1));

function healthOf(routings: readonly Routed[], real: Tensor<"batch" | "seq", "bool">): Health {
  const tokens = maximum(sum(where(real, add(mul(routings[0].rest, 0), 1), 0)), 1);
  const average = (x: Tensor<"batch" | "seq">): Scalar => div(sum(where(real, x, 0)), tokens);
  return {
    load: stack("layer", routings.map((each) => sum(where(real, chosen(each), 0), "batch", "seq"))),
    importance: stack(
      "layer",
      routings.map((each) => sum(where(real, mul(each.p, chosen(each)), 0), "batch", "seq")),
    ),
    entropy: stack(
      "layer",
      routings.map(({ noisy }) => {
        const log = logSoftmax(noisy, "expert");
        return average(neg(sum(mul(exp(log), log), "expert")));
      }),
    ),
    shared: stack("layer", routings.map(({ rest }) => average(rest))),
  };
}

/**
 * The loss of a model of this kind, a pure function to be differentiated and compiled. The key is that of the routers'
 * noise; without one, or in a model whose routers have none, nothing is random.
 */
export function lossFor(
  config: ModelConfig,
  options: Pick<LlamaOptions, "checkpoint"> = {},
): (model: AnyModel, batch: Batch, key: Key | null) => Losses {
  if (config.kind === "llama") {
    return (model, { tokens, labels, packing }) => {
      const { logits } = llama(config, model as Model, tokens, swiglu, { ...options, packing });
      const parts = crossEntropySum(logits, labels);
      return { loss: mean(parts), nll: mean(parts), count: parts.count };
    };
  }
  return (model, batch, key) => {
    const { routings, real, balance, ...parts } = mixtureLoss(config, model as Model<Moe>, batch, {
      ...options,
      noise: key && config.noise ? noiseOf(key, config, batch) : undefined,
    });
    const nll = mean(parts);
    return { loss: add(nll, balance), nll, count: parts.count, balance, health: healthOf(routings, real) };
  };
}

/** Mean negative log-likelihood in nats of every scored token, and their number. */
export interface Measurement {
  /** Nats of a scored token, on average. */
  readonly nll: number;
  /** Scored tokens. */
  readonly tokens: number;
}

/** Measures models of one configuration; compiled once for each shape of batch. */
export type Evaluator = (model: AnyModel, batches: readonly HostBatch[], signal?: AbortSignal) => Promise<Measurement>;

/** A batch's logits as a function of a model of this kind, without noise. */
export const logitsFor =
  (config: ModelConfig) => (model: AnyModel, { tokens, packing }: Batch): Tensor<"batch" | "seq" | "vocab"> =>
    config.kind === "llama"
      ? llama(config, model as Model, tokens, swiglu, { packing }).logits
      : llama(config, model as Model<Moe>, tokens, moe(config), { packing }).logits;

/** An evaluator: no balance loss, no noise. */
export function evaluator(config: ModelConfig, device: Device): Evaluator {
  const logits = logitsFor(config);
  const run = compile(
    (model: AnyModel, batch: Batch) => crossEntropySum(logits(widened(model), batch), batch.labels),
    device,
  );
  return async (model, batches, signal) => {
    let total = 0, tokens = 0;
    for (const batch of batches) {
      signal?.throwIfAborted();
      const out = await run(model, toBatch(batch));
      total += await number(out.total, device);
      tokens += await number(out.count, device);
    }
    return { nll: total / Math.max(1, tokens), tokens };
  };
}
