/** @file What a model's steps compile to: planned without weights and without running anything, or run and measured. */
import { type DType, full, type Kind, type Tensor, tensor } from "../dsl/mod.ts";
import { nodeOf, tensorOf } from "../dsl/tensor.ts";
import { mapLeaves } from "../dsl/tree.ts";
import { compile, foresee, planned } from "../backend/compile.ts";
import type { ProgramReport } from "../backend/compiler/explain/explain.ts";
import type { Capabilities } from "../backend/device.ts";
import type { Device } from "../backend/runtime.ts";
import { UserError } from "../dsl/errors.ts";
import type { ModelConfig } from "./convert/config.ts";
import { type Cache, emptyCache, type Next, next } from "./generate/decode.ts";
import { type LearnParameters, learnStep } from "./training/learn.ts";
import { type Batch, makeBatch, toBatch } from "./model/batch.ts";
import { type AnyModel, layout, treeOf } from "./model/layout.ts";
import type { Model, Tokens } from "./model/llama.ts";
import type { Moe } from "./model/moe.ts";
import { initModel } from "./model/parameters.ts";
import { lossFor } from "./model/loss.ts";
import { widened } from "./model/storage.ts";
import type { Objective } from "./objectives/mod.ts";
import { adamw, optimizer, type OptimizerName, type Precision } from "./optim/mod.ts";
import { randomFor, trainStep } from "./training/step.ts";

/** A step that can be explained. */
export type StepName = "loss" | "train" | "learn" | "decode";

/** Which step, and how large. */
export interface ExplainOptions {
  /** The loss alone, a training step, a step of learning coefficients, or one new token after `seq` − 1 others. */
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
  /** How weights are kept (default f32). */
  readonly precision?: Precision;
}

/** Where a step's arguments come from: memory that is only planned, or a device's. */
interface Source {
  readonly model: (config: ModelConfig, storage: "f32" | "bf16") => AnyModel;
  readonly zeros: <A extends string>(shape: { readonly [N in A]: number }, dtype?: DType) => Tensor<A, Kind>;
}

const onPaper: Source = {
  model: (config, storage) =>
    treeOf(layout(config), ({ shape, columns }) => planned(shape, columns.length > 0 ? storage : "f32")),
  zeros: planned,
};

/** A step as a function of trees, with arguments of the right shapes. */
export interface PlannedStep {
  /** What is compiled. */
  readonly f: (...args: readonly unknown[]) => unknown;
  /** Weights, state, batch, …, as `f` takes them. */
  readonly args: readonly unknown[];
  /** Arguments (by position) whose memory the results may take. */
  readonly donate: readonly number[];
  /** The arguments of the next call: what a call returned takes the place of what was donated. */
  readonly again: (args: readonly unknown[], result: unknown) => readonly unknown[];
}

/** A step whose function's types are known; `replaced` are the first arguments of the next call. */
const made = <P extends readonly unknown[], R>(
  f: (...args: P) => R,
  args: P,
  donate: readonly number[],
  replaced: (result: R, args: P) => readonly unknown[],
): PlannedStep => ({
  f: f as unknown as PlannedStep["f"],
  args,
  donate,
  again: (given, result) => {
    const first = replaced(result as R, given as unknown as P);
    return [...first, ...given.slice(first.length)];
  },
});

/** Token ids that differ, so that routing does. */
const someIds = (row: number, seq: number, vocab: number): number[] =>
  Array.from({ length: seq }, (_, i) => Math.imul(row * seq + i + 1, 0x9e3779b1) >>> 8).map((id) => id % vocab);

/** A step of a model, its arguments in memory of a source's. */
function stepIn(source: Source, config: ModelConfig, { step, batch, seq, ...options }: ExplainOptions): PlannedStep {
  const inSource = <T>(tree: T): T => mapLeaves(({ shape, dtype }) => source.zeros(shape, dtype), tree) as T;
  const ids = Array.from({ length: batch }, (_, row) => someIds(row, seq, config.vocabSize));
  const data = toBatch(makeBatch(ids.map((ids) => ({ ids, scoredFrom: 1 })), seq)), rate = tensor({}, [0]);
  const model = source.model(config, (options.precision ?? "f32") === "f32" ? "f32" : "bf16");
  switch (step) {
    case "loss":
      return made(
        (p: AnyModel, b: Batch) => lossFor(config)(widened(p), b, null).loss,
        [model, data],
        [],
        () => [],
      );
    case "train": {
      const state = inSource(optimizer(options, layout(config)).init(model));
      const args = [model, state, data, randomFor(config, options, 0), rate] as const;
      return made(trainStep(config, options), [...args], [0, 1], ({ model, state }) => [model, state]);
    }
    case "learn": {
      const { objective } = options;
      if (config.kind !== "moe") throw new UserError("--step learn: this model is dense, it has no experts to merge.");
      if (objective.kind !== "loss") {
        throw new UserError(`--step learn: this objective has no steps, it is ${objective.kind}.`);
      }
      const each = <T>(make: () => T): T[] => Array.from({ length: config.layers }, make);
      const parameters = {
        alpha: each(() => source.zeros({ expert: config.experts - 1 })),
        ...(objective.learnsLambda && {
          logit: objective.learnsLambda === "each" ? each(() => source.zeros<never>({})) : [source.zeros<never>({})],
        }),
      } as LearnParameters;
      const state = inSource(adamw().init(parameters)), shares = each(() => tensor({}, [0]));
      const args = [parameters, state, model as Model<Moe>, data, shares, rate] as const;
      return made(learnStep(config, objective), [...args], [0, 1], ({ parameters, state }) => [parameters, state]);
    }
    case "decode": {
      const step = (model: AnyModel, kept: Cache, tokens: Tokens, place: Tensor<"batch", "int">): Next =>
        next(config, config.vocabSize, model, kept, tokens, place, { picked: true, logits: false });
      const tokens = tensor({ batch, seq: 1 }, Int32Array.from(ids, ([first]) => first), "i32");
      const place = tensor({ batch }, new Int32Array(batch).fill(seq - 1), "i32");
      const args = [model, inSource(emptyCache(config, batch, seq)), tokens, place] as const;
      return made(step, [...args], [1], ({ cache }, [model]) => [model, cache]);
    }
  }
}

/**
 * A step of a model, without weights.
 *
 * @throws {UserError} if the model has no such step
 */
export const planStep = (config: ModelConfig, options: ExplainOptions): PlannedStep => stepIn(onPaper, config, options);

/**
 * What a step of a model compiles to.
 *
 * @throws {UserError} if the model has no such step, or the step needs more than the device has
 */
export function explainStep(config: ModelConfig, capabilities: Capabilities, options: ExplainOptions): ProgramReport {
  const { f, args, donate } = planStep(config, options);
  return foresee(f, args, capabilities, donate);
}

/**
 * What a step of a model compiles to, and how long each kernel takes on a device: the mean of some runs with weights
 * drawn at random.
 *
 * @throws {UserError} as `explainStep`
 */
export async function profileStep(
  config: ModelConfig,
  device: Device,
  options: ExplainOptions,
  { runs = 3, signal }: { readonly runs?: number; readonly signal?: AbortSignal } = {},
): Promise<ProgramReport> {
  const source: Source = {
    model: (config, storage) => initModel(config, 0, device, 1, storage).model,
    zeros: (shape, dtype = "f32") => tensorOf(device.put(nodeOf(full(shape, 0, dtype)))),
  };
  const { f, args: first, donate, again } = stepIn(source, config, options);
  const step = compile(f, device, { donate, sources: true, timed: true });
  const executable = step.executable(...first);
  let args = first;
  for (let run = 0; run <= runs; run++) {
    signal?.throwIfAborted();
    args = again(args, await step(...args));
    // The first run pays for pages and caches.
    if (run === 0) executable.restart();
  }
  return executable.report();
}
