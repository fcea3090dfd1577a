/**
 * XFT in Deno: upcycle a dense model into a mixture of experts, tune it on instructions, learn how to merge its experts,
 * and get a dense model of the old size back (arXiv 2404.15247). With it comes what it is written in: a small language
 * of tensors with named axes, its gradients, and a compiler that turns a whole training step into one call.
 *
 * Importing this module does no work and asks for no permission.
 *
 * ## A new merge objective, whole
 *
 * An objective is a function of the coefficients of a merge. Gradients, kernels and memory follow from it. This learns
 * with one of five lines, on a mixture of a few hundred weights, in the f64 interpreter:
 *
 * @example
 * ```ts
 * import {
 *   batchesOf, crossEntropy, exp, initModel, learn, llama, logSoftmax, merged, mul, neg, open, sub, sum, swiglu,
 *   type Loss, type Mixture, type ModelConfig,
 * } from "./mod.ts";
 *
 * // Cross-entropy, less a little for every doubt that the merged model has.
 * const doubtful: Loss = (coefficients, model, { tokens, labels }, config) => {
 *   const { logits } = llama(config, merged(model, coefficients), tokens, swiglu);
 *   const log = logSoftmax(logits, "vocab"), entropy = neg(sum(mul(exp(log), log)));
 *   return sub(crossEntropy(logits, labels), mul(entropy, 1e-4));
 * };
 *
 * const config: ModelConfig = {
 *   kind: "moe", vocabSize: 11, hiddenSize: 8, ffnSize: 6, layers: 2, heads: 4, kvHeads: 2, headDim: 4,
 *   maxPositions: 64, normEps: 1e-5, ropeTheta: 10000, ropeScaling: null, tied: true, experts: 4, active: 3,
 *   router: "linear", normalised: true, noise: false, noiseEpsilon: 0.01, balanceWeight: 0.01,
 * };
 * using device = await open("interpreter"); // or "webgpu", or "cpu" and "wgpu" of the native library
 * const mixture = initModel(config, 1, device, 20) as Mixture;
 * const samples = [[2, 9, 10, 4], [5, 7, 4, 4, 6]].map((ids) => ({ ids: [...ids, 1], scoredFrom: 1 }));
 * const validation = batchesOf(samples, { batch: 2, seq: 8 });
 * const { coefficients, learned, uniform } = await learn(mixture, device, {
 *   objective: { kind: "loss", about: "cross-entropy, less doubt", loss: doubtful }, name: "doubtful",
 *   lambda: 0.75, validation, batches: { at: () => validation[0] },
 *   schedule: { kind: "constant", rate: 0.1, steps: 4, warmup: 0 },
 * });
 * console.assert(learned < uniform && coefficients.alpha.length === 2);
 * ```
 *
 * ## The language
 *
 * A tensor's axes have names, and the names are its type: `Tensor<"batch" | "seq" | "embed">`. Functions build an
 * expression; nothing is computed until a device runs it. The first operand owns the axes, every other one fits into
 * them. A function carries whatever further axes its arguments have: what is written for one example works for a batch.
 *
 * - **Making**: `tensor`, `scalar`, `full`, `iota`, `zerosLike`; `expectAxes` checks what a type cannot.
 * - **Elementwise**: `add`, `sub`, `mul`, `div`, `neg`, `abs`, `square`, `sqrt`, `rsqrt`, `recip`, `maximum`, `minimum`,
 *   `floor`, `cast`, `exp`, `log`, `sin`, `cos`, `sinh`, `tanh`, `erf`, `sigmoid`, `silu`, `gelu`, `softplus`,
 *   `complement`; `less`, `equal`, `and`, `or`, `not`, `where`; of bits `xor`, `shiftLeft`, `shiftRight`.
 * - **Structure**: `expand`, `rename`, `flatten`, `unflatten`, `slice`, `at`, `concat`, `pad`, `write`, `until`.
 * - **Reductions**: `sum`, `mean`, `max`, `logSumExp`, `softmax`, `logSoftmax`; `cumsum`.
 * - **Products**: `contract`, `outer`, and `contractAt`, where an index chooses one operand's part (experts).
 * - **Indices**: `take`, `oneHot`, `topk`, `argmax`, `argsort`.
 * - **Random numbers** from a `key`: `bits`, `uniform`, `normal`, `bernoulli`, `categorical`, `permutation`,
 *   `roundByChance`; `split` and `fold` make further keys.
 * - **Trees** of tensors, which parameters are: `mapTree`, `entries`, `stack`, `mix`, `atTree`.
 * - **Transforms**: `grad`, `valueAndGrad`, `valueAndGradWith`, `vjp`, `jvp`, `checkpoint`, `customVjp`, `stopGradient`.
 * - **Layers**: `rmsNorm`, `ropeFrequencies`, `ropeTable`, `ropeAt`, `ropeInOrder`, `rotate`, `causal`, `maskedSoftmax`.
 * - **Losses**: `crossEntropy`, `crossEntropySum`, `negativeLogLikelihood`, `kl`, `entropy`.
 * - **Looking**: `read`, `readAll` and `item` compute at once, in f64; `show` prints the program, `parse` (with
 *   its `leavesIn`) reads it.
 *
 * ## Devices
 *
 * `open` gives a {@linkcode Device}; `compile` makes a function run on it, in one call; `put` and `free` move trees to
 * its memory and give it back; `values` and `number` read. What a compiled function's kernels do and cost is in its
 * explain(…), and `reportPage` makes a page of its report(…). `installLibrary` fetches and builds the native library for
 * a module that was imported by URL. A mistake of the caller's is a {@linkcode UserError}: one sentence.
 *
 * ## Models
 *
 * - **Parameters**: `loadModel`, `loadDense`, `loadMixture`, `saveModel`, `initModel`, `isMixture`, `layout`,
 *   `countParameters`.
 * - **Llama**: `llama`, `attend`, `ownTokens`, `swiglu`, `unembed`.
 * - **The mixture**: `moe`, `routed`, `route`, `score`, `balance`, `mixtureLoss`, `noiseOf`.
 *
 * ## Training
 *
 * - **Batches**: `makeBatch`, `batchesOf`, `packBatch`, `toBatch`.
 * - **Running**: `train`, `lossFor`, `evaluator`; `recipe` describes a whole run as data.
 * - **Optimisers**: `optimizer` by name; `sgd`, `adamw`, `adafactor`, `lion`, `muon` (its `orthogonal`); around one:
 *   `grouped` rates of parts, `ema` (`averageOf`, `averageIn` a state), `narrow` for weights of 16 bits; `rateAt` and
 *   `budget` of a schedule; to write one: `leaves`, `byPath`, `replant`, `globalNorm`, `clip`.
 *
 * ## The method
 *
 * - **Upcycling**: `upcycle`, `mixtureConfig`, `proveStepZero`.
 * - **Coefficients**: `learn`, `objectives` by name, `loadObjective` from a file.
 * - **Merging**: `merged`, `collapse`, `eachFfn` as formulas; `mergeFolder`, `mergeDense`, `denseConfig` on disk;
 *   `weightsOf`, `uniformWeights`, `singleExpert`, `distanceFromUniform`.
 * - **Using it**: `generate`, `perplexity`, `logLikelihoods` of given continuations.
 *
 * @module
 */

// The language: tensors whose axes have names, gradients, checkpoints, neural layers.
export * from "./dsl/mod.ts";

// Running programs: devices, compiling, memory.
export { pageOf as reportPage } from "./backend/compiler/explain/report.ts";
export type { KernelReport, ProgramReport, Roofs, RoofShare } from "./backend/compiler/explain/explain.ts";
export { compile, type Compiled, type CompileOptions, free, number, put, values } from "./backend/compile.ts";
export { installLibrary } from "./backend/install.ts";
export { open } from "./backend/open.ts";
export type { BuildOptions, Device, DeviceArray, Executable, Program } from "./backend/runtime.ts";

// A whole run of XFT as data: what `xft run` takes.
export type { DataSettings } from "./recipes/data/settings.ts";
export type { Duplicates } from "./recipes/data/clean/mod.ts";
export type { Packing as PackMode } from "./recipes/data/rows.ts";
export type { TemplateName } from "./recipes/data/templates.ts";
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
  noiseOf,
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
  type WeightType,
} from "./recipes/model/parameters.ts";
export type { LlamaConfig, ModelConfig, MoeConfig, RopeScaling } from "./recipes/convert/config.ts";
export type { ModelOutOptions } from "./recipes/convert/huggingface.ts";
export type { FolderOptions, OverwriteOptions } from "./recipes/convert/files.ts";
export type { JsonObject } from "./recipes/convert/fields.ts";
export type { StoredDtype } from "./backend/checkpoint.ts";

// Learning: batches, losses, optimisers, training.
export {
  type Batch,
  batchesOf,
  type BatchOptions,
  type HostBatch,
  makeBatch,
  type Sample,
  type Span,
  toBatch,
} from "./recipes/model/batch.ts";
export { packBatch, type Packing } from "./recipes/model/packing.ts";
export {
  type Evaluator,
  evaluator,
  type Health,
  type Losses,
  lossFor,
  type Measurement,
} from "./recipes/model/loss.ts";
export * from "./recipes/optim/mod.ts";
export { type Batches, train, type Trained, type TrainLine, type TrainOptions } from "./recipes/training/train.ts";
export type { LearnPoint, LearnPosition, Position, Snapshots } from "./recipes/training/kept.ts";
export type { ExpertDistances } from "./recipes/metrics/expert_distances.ts";
export type { StepOptions, Training } from "./recipes/training/step.ts";

// The method: upcycling, coefficients by any objective, merging, generation.
export { mixtureConfig, proveStepZero, type StepZero, upcycle, type UpcycleSettings } from "./recipes/upcycle.ts";
export { loadObjective, type Loss, type Measured, type Objective, objectives } from "./recipes/objectives/mod.ts";
export { learn, type Learned, type LearnOptions, type LearnParameters } from "./recipes/training/learn.ts";
export type { Coefficients as CoefficientsFile } from "./recipes/convert/coefficients.ts";
export { type Coefficients, collapse, eachFfn, merged } from "./recipes/merge/formula.ts";
export { type DenseMergeOptions, mergeDense } from "./recipes/merge/dense.ts";
export type { MergeSettings, MethodName } from "./recipes/merge/methods/mod.ts";
export { denseConfig, mergeFolder, type MergeOptions } from "./recipes/merge/folder.ts";
export {
  distanceFromUniform,
  type MergeWeights,
  singleExpert,
  uniformWeights,
  weightsOf,
} from "./recipes/merge/weights.ts";
export {
  type Continuation,
  type Decoder,
  type Finish,
  generate,
  type GenerateOptions,
  type GenerateProgress,
  type Generation,
  type Likelihood,
  logLikelihoods,
  perplexity,
  type Sampling,
} from "./recipes/generate/mod.ts";
