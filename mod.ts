/**
 * XFT in Deno: upcycle a dense model into a mixture of experts, tune it on instructions, merge it back into a dense
 * model (arXiv 2404.15247), with a small language of named axes, its gradients and its compiler.
 *
 * Importing this module does no work and asks for no permission.
 *
 * @example
 * ```ts
 * import { add, compile, contract, grad, number, open, square, sum, tensor, type Tensor } from "./mod.ts";
 *
 * const loss = (w: Tensor<"embed">, x: Tensor<"batch" | "embed">) => sum(square(contract(x, w, "embed")));
 * const x = tensor({ batch: 2, embed: 2 }, [[1, 2], [3, 4]]), w = tensor({ embed: 2 }, [1, -1]);
 * using device = await open("interpreter");
 * const value = await compile(loss, device)(w, x);
 * console.assert(await number(value, device) === 2);
 * const slope = await compile((w: Tensor<"embed">) => sum(add(grad(loss)(w, x), 0)), device)(w);
 * console.assert(await number(slope, device) === -20);
 * ```
 *
 * @module
 */

// The language: tensors whose axes have names, gradients, checkpoints, neural layers.
export * from "./dsl/mod.ts";

// Running programs: devices, compiling, memory.
export { compile, type Compiled, type CompileOptions, free, number, put, values } from "./backend/compile.ts";
export { installLibrary } from "./backend/install.ts";
export { open } from "./backend/open.ts";
export type { BuildOptions, Device, DeviceArray, Executable, Program } from "./backend/runtime.ts";

// A whole run of XFT as data: what `xft run` takes.
export { type Recipe, recipe, type RecipeBenchmark, type RecipeModel, type RecipeStage } from "./recipes/recipe.ts";

// Models: Llama, XFT's mixture, their parameters.
export {
  attend,
  type Attention,
  type Ffn,
  type Heads,
  type Hidden,
  type Layer,
  llama,
  type LlamaOptions,
  type Memory,
  type Model,
  type Output,
  ownTokens,
  type Seen,
  swiglu,
  type Tokens,
  unembed,
} from "./recipes/model/llama.ts";
export { type PerExpert, route, type Router, type Routing, score } from "./recipes/model/router.ts";
export {
  type MixtureLoss,
  mixtureLoss,
  type MixtureOptions,
  type Moe,
  moe,
  type Noise,
  type Routed,
  routed,
} from "./recipes/model/moe.ts";
export { balance } from "./recipes/model/balance.ts";
export { type AnyModel, countParameters, layout, type Leaf } from "./recipes/model/layout.ts";
export {
  type Dense,
  initModel,
  isMixture,
  loadDense,
  type Loaded,
  loadMixture,
  loadModel,
  type Mixture,
  saveModel,
  type SaveOptions,
} from "./recipes/model/parameters.ts";
export type { LlamaConfig, ModelConfig, MoeConfig, RopeScaling } from "./recipes/convert/config.ts";
export type { ModelOutOptions } from "./recipes/convert/huggingface.ts";
export type { FolderOptions, OverwriteOptions } from "./recipes/convert/files.ts";
export type { JsonObject } from "./recipes/convert/config.ts";
export type { StoredDtype } from "./backend/checkpoint.ts";

// Learning: batches, losses, optimisers, training.
export {
  type Batch,
  batchesOf,
  type BatchOptions,
  type HostBatch,
  makeBatch,
  type Sample,
  toBatch,
} from "./recipes/model/batch.ts";
export {
  type Evaluator,
  evaluator,
  type Health,
  type Losses,
  lossFor,
  type Measurement,
} from "./recipes/model/loss.ts";
export * from "./recipes/optim/mod.ts";
export { type Batches, train, type Trained, type TrainLine, type TrainOptions } from "./recipes/train.ts";

// The method: upcycling, coefficients by any objective, merging, generation.
export { mixtureConfig, proveStepZero, type StepZero, upcycle, type UpcycleSettings } from "./recipes/upcycle.ts";
export { loadObjective, type Loss, type Measured, type Objective, objectives } from "./recipes/objectives/mod.ts";
export { learn, type Learned, type LearnOptions } from "./recipes/learn.ts";
export type { Coefficients as CoefficientsFile } from "./recipes/convert/coefficients.ts";
export { type Coefficients, collapse, eachFfn, merged } from "./recipes/merge/formula.ts";
export { denseConfig, mergeFolder, type MergeOptions } from "./recipes/merge/folder.ts";
export {
  distanceFromUniform,
  type MergeWeights,
  singleExpert,
  uniformWeights,
  weightsOf,
} from "./recipes/merge/weights.ts";
export {
  type Decoder,
  generate,
  type GenerateOptions,
  type GenerateProgress,
  type Generation,
  perplexity,
} from "./recipes/generate.ts";
