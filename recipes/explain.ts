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

/**
 * What a step of a model compiles to.
 *
 * @throws {UserError} if the model has no such step, or the step needs more than the device has
 */
export function explainStep(
  config: ModelConfig,
  capabilities: Capabilities,
  { step, batch, seq, ...options }: ExplainOptions,
): ProgramReport {
  const model: AnyModel = treeOf(layout(config), ({ shape }) => planned(shape));
  const rows = Array.from({ length: batch }, () => ({ ids: new Array<number>(seq).fill(0), scoredFrom: 1 }));
  const host: HostBatch = makeBatch(rows, seq), data = toBatch(host), rate = tensor({}, [0]);
  switch (step) {
    case "loss":
      return foresee((p: AnyModel, b: Batch) => lossFor(config)(p, b, null).loss, [model, data], capabilities);
    case "train": {
      const state = inMemory(optimizer(options.optimizer, layout(config)).init(model));
      return foresee(trainStep(config, options), [model, state, data, keyFor(config, 0), rate], capabilities, [0, 1]);
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
      const args = [parameters, state, model as Model<Moe>, data, shares, rate] as const;
      return foresee(learnStep(config, objective), [...args], capabilities, [0, 1]);
    }
  }
}
