/** @file What a model's steps compile to: planned for a device, without weights and without running anything. */
import { tensor } from "../dsl/mod.ts";
import { mapLeaves } from "../dsl/tree.ts";
import { foresee, planned } from "../backend/compile.ts";
import type { ProgramReport } from "../backend/compiler/explain.ts";
import type { Capabilities } from "../backend/device.ts";
import { UserError } from "../dsl/errors.ts";
import type { ModelConfig } from "./convert/config.ts";
import { learnStep, type Parameters } from "./learn.ts";
import { type Batch, type HostBatch, makeBatch, toBatch } from "./model/batch.ts";
import { type AnyModel, layout, treeOf } from "./model/layout.ts";
import type { Model } from "./model/llama.ts";
import { lossFor } from "./model/loss.ts";
import type { Moe } from "./model/moe.ts";
import type { Objective } from "./objectives/mod.ts";
import { adamw, optimizer, type OptimizerName } from "./optim/mod.ts";
import { keyFor, trainStep } from "./train.ts";

/** A step that can be explained. */
export type StepName = "loss" | "train" | "learn";

/** Which step, and how large. */
export interface ExplainOptions {
  /** The loss alone, a training step, or a step of learning coefficients. */
  readonly step: StepName;
  /** Rows of the batch. */
  readonly batch: number;
  /** Tokens of a row. */
  readonly seq: number;
  /** What updates the weights of a training step. */
  readonly optimizer: OptimizerName;
  /** What coefficients are learned by. */
  readonly objective: Objective;
  /** Keep only each layer's input for the backward pass (default: no). */
  readonly checkpoint?: boolean;
}

/** Memory of the leaves' shapes, in place of the leaves. */
const inMemory = <T>(tree: T): T => mapLeaves(({ shape, dtype }) => planned(shape, dtype), tree) as T;

/** A step as a function of trees, with arguments of the right shapes in planned memory. */
export interface PlannedStep {
  /** What is compiled. */
  readonly f: (...args: readonly unknown[]) => unknown;
  /** Weights, state, batch, …, as `f` takes them. */
  readonly args: readonly unknown[];
  /** Arguments (by position) whose memory the results may take. */
  readonly donate: readonly number[];
}

/**
 * A step of a model, without weights.
 *
 * @throws {UserError} if the model has no such step
 */
export function planStep(config: ModelConfig, { step, batch, seq, ...options }: ExplainOptions): PlannedStep {
  const model: AnyModel = treeOf(layout(config), ({ shape }) => planned(shape));
  const rows = Array.from({ length: batch }, () => ({ ids: new Array<number>(seq).fill(0), scoredFrom: 1 }));
  const host: HostBatch = makeBatch(rows, seq), data = toBatch(host), rate = tensor({}, [0]);
  const made = <P extends readonly unknown[]>(
    f: (...args: P) => unknown,
    args: P,
    donate: readonly number[],
  ): PlannedStep => ({ f: f as PlannedStep["f"], args, donate });
  switch (step) {
    case "loss":
      return made((p: AnyModel, b: Batch) => lossFor(config)(p, b, null).loss, [model, data], []);
    case "train": {
      const state = inMemory(optimizer(options.optimizer, layout(config)).init(model));
      return made(trainStep(config, options), [model, state, data, keyFor(config, 0), rate], [0, 1]);
    }
    case "learn": {
      const { objective } = options;
      if (config.kind !== "moe") throw new UserError("--step learn: this model is dense, it has no experts to merge.");
      if (objective.kind !== "loss") {
        throw new UserError(`--step learn: this objective has no steps, it is ${objective.kind}.`);
      }
      const scalars = Array.from({ length: config.layers }, () => planned<never>({}));
      const parameters = {
        alpha: scalars.map(() => planned({ expert: config.experts - 1 })),
        ...(objective.learnsLambda && { logit: scalars }),
      } as Parameters;
      const state = inMemory(adamw().init(parameters)), shares = scalars.map(() => tensor({}, [0]));
      return made(learnStep(config, objective), [parameters, state, model as Model<Moe>, data, shares, rate], [0, 1]);
    }
  }
}

/**
 * What a step of a model compiles to.
 *
 * @throws {UserError} if the model has no such step, or the step needs more than the device has
 */
export function explainStep(config: ModelConfig, capabilities: Capabilities, options: ExplainOptions): ProgramReport {
  const { f, args, donate } = planStep(config, options);
  return foresee(f, args, capabilities, donate);
}
