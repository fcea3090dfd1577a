/** @file One training step: forward, backward, optimiser and metrics, as functions of tensors and compiled. */
import {
  add,
  div,
  type Key,
  key,
  mapTree,
  maximum,
  mul,
  type Scalar,
  stack,
  type Tensor,
  tensor,
  valueAndGradWith,
  zerosLike,
} from "../../dsl/mod.ts";
import { compile } from "../../backend/compile.ts";
import type { Device } from "../../backend/runtime.ts";
import type { ModelConfig } from "../convert/config.ts";
import { type Batch, type HostBatch, toBatch } from "../model/batch.ts";
import { type AnyModel, layout } from "../model/layout.ts";
import { type Losses, lossFor } from "../model/loss.ts";
import { seeded } from "../random.ts";
import { widened } from "../model/storage.ts";
import { type Chance, clip, globalNorm, leaves, optimizer, type OptimizerState, type Updates } from "../optim/mod.ts";

/** What a step is made of. */
export interface StepOptions extends Updates {
  /**
   * Batches whose gradients are added up for one step (default 1): the step of one large batch, but for a mixture's
   * balance loss, which is each batch's own.
   */
  readonly accumulate?: number;
  /** Largest global norm of the gradient (default: no limit). */
  readonly clip?: number;
  /** Ends the training after a step whose gradient has a larger global norm than this (default: none is too large). */
  readonly stopNorm?: number;
  /** Keep only each layer's input for the backward pass: less memory, more time (default: no). */
  readonly checkpoint?: boolean;
}

/** What a step changes. */
export interface Training {
  /** The weights. */
  readonly model: AnyModel;
  /** What the optimiser keeps. */
  readonly state: OptimizerState;
}

/** What a step gives: the new model and state, what it saw, and the gradient's norm where somebody asked for it. */
export interface Step extends Training {
  readonly metrics: Omit<Losses, "loss">;
  readonly norm?: Scalar;
  /** Where a norm can end the training: of each tensor alone, in the model's order. */
  readonly norms?: Tensor<"leaf">;
}

/** What is random in a step, all of it from one seed. */
export interface Random {
  /** Of the routers' noise; null where they have none. */
  readonly noise: Key | null;
  /** Of what is rounded. */
  readonly chance: Chance;
}

/**
 * The random numbers of a step. Bits to round by come from the host, a word for each leaf: what differs between layers
 * is then data, and their updates are one kernel.
 */
export function randomFor(config: ModelConfig, { precision }: Updates, seed: number): Random {
  const rounded = precision === "bf16" ? layout(config).filter(({ columns }) => columns.length > 0) : [];
  const { unit } = seeded(seed).child("rounding");
  return {
    noise: config.kind === "moe" && config.noise ? key(seed) : null,
    chance: Object.fromEntries(rounded.map(({ path }) => [path, tensor({}, [Math.floor(unit() * 2 ** 32)], "u32")])),
  };
}

/** The norm of each tensor alone, in the tree's order. */
const norms = (tree: unknown): Tensor<"leaf"> => stack("leaf", leaves(tree).map(([, leaf]) => globalNorm(leaf)));

/** The gradient, clipped where that is asked for, and its norm where somebody wants to know. */
function watched<P>(
  gradient: P,
  { clip: limit, stopNorm }: Pick<StepOptions, "clip" | "stopNorm">,
): { readonly gradient: P } & Pick<Step, "norm" | "norms"> {
  const alone = stopNorm === undefined ? {} : { norms: norms(gradient) };
  if (limit !== undefined) return { ...clip(gradient, limit), ...alone };
  return stopNorm === undefined ? { gradient } : { gradient, norm: globalNorm(gradient), ...alone };
}

/** A step on one batch, as a function of tensors: what `train` compiles. */
export function trainStep(
  config: ModelConfig,
  options: StepOptions,
): (model: AnyModel, state: OptimizerState, batch: Batch, random: Random, rate: Scalar) => Step {
  const chosen = optimizer(options, layout(config)), loss = lossFor(config, options);
  return (model, state, batch, { noise, chance }, rate) => {
    const { value, grad } = valueAndGradWith(loss)(widened(model), batch, noise);
    const { loss: _, ...metrics } = value, { gradient, ...seen } = watched(grad, options);
    const { parameters, state: next } = chosen.step(model, gradient, state, rate, chance);
    return { model: parameters, state: next, metrics, ...seen };
  };
}

/** A compiled step on as many batches as it accumulates. */
export type Stepper = (training: Training, hosts: readonly HostBatch[], seed: number, rate: number) => Promise<Step>;

/** The step, compiled. It takes the memory of what it is given. */
export const stepper = (
  config: ModelConfig,
  device: Device,
  options: StepOptions,
): Stepper =>
  (options.accumulate ?? 1) > 1 ? accumulatedStep(config, device, options) : singleStep(config, device, options);

/** One batch, one call. */
function singleStep(config: ModelConfig, device: Device, options: StepOptions): Stepper {
  const run = compile(trainStep(config, options), device, { donate: [0, 1] });
  return ({ model, state }, [host], seed, rate) =>
    run(model, state, toBatch(host), randomFor(config, options, seed), tensor({}, [rate]));
}

/** Gradients of several batches are added up, each weighing as many tokens as it scores; then one update. */
function accumulatedStep(
  config: ModelConfig,
  device: Device,
  options: StepOptions,
): Stepper {
  const chosen = optimizer(options, layout(config)), loss = lossFor(config, options);
  const start = compile(
    (model: AnyModel) => ({
      sum: mapTree((w) => zerosLike(w), widened(model)),
      tokens: tensor({}, [0]),
      nll: tensor({}, [0]),
    }),
    device,
  );
  type Sum = { sum: AnyModel; tokens: Scalar; nll: Scalar };
  const collect = compile(
    (so: Sum, model: AnyModel, batch: Batch, noise: Key | null) => {
      const { value, grad } = valueAndGradWith(loss)(widened(model), batch, noise);
      const { loss: _, ...metrics } = value;
      const sum = mapTree((total, each) => add(total, mul(each, metrics.count as never)), so.sum, grad);
      return {
        so: { sum, tokens: add(so.tokens, metrics.count), nll: add(so.nll, mul(metrics.nll, metrics.count)) },
        metrics,
      };
    },
    device,
    { donate: [0] },
  );
  const update = compile(
    (model: AnyModel, state: OptimizerState, { sum, tokens, nll }: Sum, chance: Chance, rate: Scalar) => {
      const count = maximum(tokens, 1),
        { gradient, ...seen } = watched(mapTree((g) => div(g, count as never), sum), options);
      const { parameters, state: next } = chosen.step(model, gradient, state, rate, chance);
      return { model: parameters, state: next, nll: div(nll, count), count: add(tokens, 0), ...seen };
    },
    device,
    { donate: [0, 1, 2] },
  );
  return async ({ model, state }, hosts, seed, rate) => {
    let so: Sum = await start(model), metrics: Omit<Losses, "loss"> | undefined;
    for (const [i, host] of hosts.entries()) {
      ({ so, metrics } = await collect(so, model, toBatch(host), randomFor(config, options, seed + i).noise));
    }
    const { chance } = randomFor(config, options, seed);
    const { nll, count, ...out } = await update(model, state, so, chance, tensor({}, [rate]));
    return { ...out, metrics: { ...metrics, nll, count } };
  };
}
