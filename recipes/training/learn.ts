/**
 * @file Learning how to merge: all weights are frozen, only the coefficients move. The merged weights are computed on
 * the device in the same step, so a step costs what a dense model's step costs.
 */
import { mul, type Scalar, sigmoid, type Tensor, tensor, valueAndGrad } from "../../dsl/mod.ts";
import { UserError } from "../../dsl/errors.ts";
import { compile, free, number, values } from "../../backend/compile.ts";
import type { Device } from "../../backend/runtime.ts";
import type { Coefficients as CoefficientsFile } from "../convert/coefficients.ts";
import { proveCausality } from "./causality.ts";
import { type MergedModel, merger } from "../merge/device.ts";
import { distanceFromUniform, type MergeWeights, uniformWeights, weightsOf } from "../merge/weights.ts";
import { type Batch, type HostBatch, toBatch } from "../model/batch.ts";
import { evaluator } from "../model/loss.ts";
import type { Packing } from "../model/packing.ts";
import type { MoeConfig } from "../convert/config.ts";
import { llama, type Model, swiglu, type Tokens } from "../model/llama.ts";
import type { Moe } from "../model/moe.ts";
import type { Mixture } from "../model/parameters.ts";
import type { Objective } from "../objectives/objective.ts";
import { adamw, type AdamWState, budget, rateAt, type Schedule } from "../optim/mod.ts";
import { keptAtInterrupt, type LearnPoint, type LearnPosition, type Snapshots } from "./kept.ts";
import type { Batches, TrainLine } from "./train.ts";

/** How coefficients are learned. */
export interface LearnOptions {
  /** How coefficients are judged, or counted out. */
  readonly objective: Objective;
  /** Its name, for the coefficients' file. */
  readonly name: string;
  /** The shared expert's share; where λ is learned too, the start. */
  readonly lambda: number;
  /** Steps and learning rate; for objectives that only measure, the number of batches. */
  readonly schedule: Schedule;
  /** What is learned from. */
  readonly batches: Batches;
  /** A fixed set on which points are compared; the best one seen is kept, the start included. */
  readonly validation: readonly HostBatch[];
  /** Steps between two looks at the validation set (default: a quarter of all). */
  readonly validateEvery?: number;
  /** Measure the loss at every vertex, too: one merge and one look at the validation set for each expert. */
  readonly vertices?: boolean;
  /** Measure the loss of the uniform merge at these λ, too: one merge and one look at the validation set for each. */
  readonly lambdas?: readonly number[];
  /** Keeps descent between two steps, and goes on with what was kept. What only measures starts again. */
  readonly snapshots?: Snapshots<LearnPosition, LearnParameters, AdamWState>;
  /** Ends the learning between two steps, or in a measurement; with `snapshots` descent is kept first. */
  readonly signal?: AbortSignal;
  /** Called after every step and every measurement. */
  readonly onLine?: (line: TrainLine) => void;
  /** Called with a sentence for people. */
  readonly onNote?: (note: string) => void;
}

/** What was learned. */
export interface Learned {
  /** The content of coefficients.json. */
  readonly coefficients: CoefficientsFile;
  /** Sum of all learning rates: about how far a coefficient could have moved. */
  readonly budget: number;
  /** Per layer: the largest difference between a weight and the uniform one. */
  readonly distance: readonly number[];
  /** Loss on the validation set with all routed experts alike. */
  readonly uniform: number;
  /** And with the coefficients that were kept. */
  readonly learned: number;
  /** With the shared experts alone. */
  readonly sharedOnly: number;
  /** At each vertex: all routed experts' share goes to one of them, the same in every layer (empty: not asked for). */
  readonly vertices: readonly number[];
  /** Of the uniform merge, at each λ that was asked for. */
  readonly lambdas: readonly { readonly lambda: number; readonly loss: number }[];
  /** Tokens whose logits kept every bit when a later token was changed. */
  readonly causalTokens: number;
  /** The step whose coefficients were kept (0: the start). */
  readonly step: number;
  /** Wall time, measurements included. */
  readonly seconds: number;
}

/** What moves: α, and where it is learned the logit of λ, one for each layer or one for all. */
export type LearnParameters = { alpha: Tensor<"expert">[]; logit?: Scalar[] };

/** Coefficients on their way, on the device. */
interface Descent {
  parameters: LearnParameters;
  state: AdamWState;
}

/** How far a learning is. */
interface Search {
  position: LearnPosition;
  /** Undefined: nothing moves. */
  readonly descent?: Descent;
  /** Are these of the position? A step writes to the memory of what it is given. */
  isWhole: boolean;
  /** Keeps it as it is; undefined: there is nowhere to, or nothing moves. */
  readonly keep?: () => Promise<void>;
}

/** The inverse of sigmoid; 0 and 1, which it never reaches, are taken as close to them. */
function logitOf(share: number): number {
  const inside = Math.min(0.999, Math.max(0.001, share));
  return Math.log(inside / (1 - inside));
}

/** λ of every layer from what is learned. */
const lambdasOf = (layers: number, logit?: readonly Scalar[]): Scalar[] | undefined =>
  logit && Array.from({ length: layers }, (_, layer) => sigmoid(logit[logit.length === 1 ? 0 : layer]));

/** A step of descent on coefficients, as a function of tensors: what `learn` compiles. */
export function learnStep(
  config: MoeConfig,
  objective: Objective & { kind: "loss" },
): (
  parameters: LearnParameters,
  state: AdamWState,
  model: Model<Moe>,
  batch: Batch,
  shares: Scalar[],
  rate: Scalar,
) => { value: Scalar; parameters: LearnParameters; state: AdamWState } {
  return (parameters, state, model, batch, shares, rate) => {
    const loss = ({ alpha, logit }: LearnParameters): Scalar =>
      objective.loss({ alpha, lambda: lambdasOf(alpha.length, logit) ?? shares }, model, batch, config);
    const { value, grad } = valueAndGrad(loss)(parameters);
    return { value, ...adamw().step(parameters, grad, state, rate) };
  };
}

/** Reads the parameters; a λ that is not learned is `lambda`. */
async function pointOf({ alpha, logit }: LearnParameters, lambda: number, device: Device): Promise<LearnPoint> {
  const point: { alpha: number[][]; lambda: number[] } = { alpha: [], lambda: [] }, learned: number[] = [];
  for (const each of alpha) point.alpha.push([...await values(each, device)]);
  for (const each of logit ?? []) learned.push(1 / (1 + Math.exp(-await number(each, device))));
  for (const layer of alpha.keys()) point.lambda.push(learned[learned.length === 1 ? 0 : layer] ?? lambda);
  return point;
}

/** A search where it starts, or where it was kept. */
async function begin({ config }: Mixture, device: Device, options: LearnOptions): Promise<Search> {
  const { objective, lambda, snapshots } = options, optimizer = adamw();
  const fresh: LearnPosition = { step: 0, measured: -1, losses: {} };
  if (objective.kind !== "loss") return { position: fresh, isWhole: true };
  const { learnsLambda } = objective;
  const logits = (count: number): Scalar[] => Array.from({ length: count }, () => tensor({}, [logitOf(lambda)]));
  const zeros = new Float64Array(config.experts - 1);
  const start: LearnParameters = {
    alpha: Array.from({ length: config.layers }, () => tensor({ expert: config.experts - 1 }, zeros)),
    ...(learnsLambda && { logit: logits(learnsLambda === "each" ? config.layers : 1) }),
  };
  // Results are tensors of the device, into whose memory a snapshot is read.
  const descent: Descent = await compile((given: LearnParameters) => ({
    parameters: {
      alpha: given.alpha.map((each) => mul(each, 1)),
      ...(given.logit && { logit: given.logit.map((each) => mul(each, 1)) }),
    },
    state: optimizer.init(given),
  }), device)(start);
  const search: Search = {
    position: snapshots?.restore(descent.parameters, descent.state) ?? fresh,
    descent,
    isWhole: true,
    ...(snapshots && {
      keep: () => snapshots.save({ position: search.position, model: descent.parameters, state: descent.state }),
    }),
  };
  return search;
}

/** Descent on α (and λ) with Adam, one compiled call a step. */
async function descend(
  { config, model }: Mixture,
  device: Device,
  options: LearnOptions & { objective: Objective & { kind: "loss" } },
  search: Search,
  descent: Descent,
  lossOf: (point: LearnPoint) => Promise<number>,
): Promise<void> {
  const { objective, lambda, schedule, batches, signal, onLine, snapshots } = options;
  const { steps } = schedule, every = options.validateEvery ?? Math.max(1, Math.ceil(steps / 4));
  const fixed = Array.from({ length: config.layers }, () => tensor({}, [lambda]));
  const step = compile(learnStep(config, objective), device, { donate: [0, 1] });
  let last: LearnPoint | undefined;
  const look = async (): Promise<void> => {
    const { step: done, measured, best } = search.position;
    if (measured === done || (done % every !== 0 && done !== steps)) return;
    const point = await pointOf(descent.parameters, lambda, device), loss = await lossOf(point);
    onLine?.({ step: done, steps, validation: loss });
    const better = best === undefined || loss < best.loss ? { step: done, loss, point } : best;
    search.position = { ...search.position, measured: done, best: better };
  };
  const advance = async (): Promise<void> => {
    const { step: done } = search.position;
    signal?.throwIfAborted();
    const began = performance.now(), rate = rateAt(schedule, done), host = batches.at(done);
    search.isWhole = false;
    const out = await step(descent.parameters, descent.state, model, toBatch(host), fixed, tensor({}, [rate]));
    descent.parameters = out.parameters;
    descent.state = out.state;
    const loss = await number(out.value, device), seconds = (performance.now() - began) / 1000;
    free(out.value, device);
    if (!Number.isFinite(loss)) throw diverged({ loss, rate, step: done + 1, steps }, last, host);
    search.position = { ...search.position, step: done + 1 };
    search.isWhole = true;
    const tokensPerSecond = host.rows * host.length / seconds;
    onLine?.({ step: done + 1, steps, loss, rate, seconds, tokensPerSecond });
    last = await pointOf(descent.parameters, lambda, device);
  };
  await look();
  while (search.position.step < steps) {
    await advance();
    // After the last step, too: measurements follow, and coefficients are small.
    if (snapshots && (search.position.step % snapshots.every === 0 || search.position.step === steps)) {
      await search.keep?.();
    }
    await look();
  }
}

/** Where the objective stopped being a number. */
function diverged(
  { loss, rate, step, steps }: { loss: number; rate: number; step: number; steps: number },
  last: LearnPoint | undefined,
  { sources = [] }: HostBatch,
): UserError {
  const lost = last?.alpha.findIndex((layer) => !layer.every(Number.isFinite)) ?? -1;
  return new UserError(
    `step ${step} of ${steps}: the objective is ${loss}; ` +
      (lost < 0 ? "all coefficients were numbers before it" : `the step before left no numbers in α of layer ${lost}`) +
      (sources.length > 0 ? `. The step's samples: ${sources.join(", ")}` : "") +
      `. Try a smaller learning rate (it was ${rate.toPrecision(3)}).`,
  );
}

/** Averages over batches; α is the weights' logarithm. */
async function measure(
  { config, model }: Mixture,
  device: Device,
  { objective, schedule, batches, signal, onLine }: LearnOptions & { objective: Objective & { kind: "measure" } },
): Promise<LearnPoint> {
  const run = compile((model: Model<Moe>, batch: Batch) => {
    const { weights, lambda } = objective.measure(model, batch, config);
    // A result must not be a part of another one: both are fresh tensors.
    return { weights: weights.map((each) => mul(each, 1)), lambda: lambda.map((each) => mul(each, 1)) };
  }, device);
  const weights = Array.from({ length: config.layers }, () => new Array<number>(config.experts - 1).fill(0));
  const lambda = new Array<number>(config.layers).fill(0), { steps } = schedule;
  for (let done = 0; done < steps; done++) {
    signal?.throwIfAborted();
    const out = await run(model, toBatch(batches.at(done)));
    for (const [layer, each] of out.weights.entries()) {
      (await values(each, device)).forEach((w, i) => weights[layer][i] += w / steps);
    }
    for (const [layer, each] of out.lambda.entries()) lambda[layer] += await number(each, device) / steps;
    free(out, device);
    onLine?.({ step: done + 1, steps });
  }
  // An expert that nobody asked for still has a finite α.
  return { alpha: weights.map((layer) => layer.map((w) => Math.log(Math.max(w, 1e-6)))), lambda };
}

/** Proves on the first batch that a merged model sees nothing that comes later. The model is released. */
async function checkMask(merged: MergedModel, validation: LearnOptions["validation"], device: Device): Promise<number> {
  using dense = merged;
  const forward = (tokens: Tokens, packing?: Packing) =>
    llama(dense.config, dense.model, tokens, swiglu, { packing }).logits;
  return validation.length > 0 ? await proveCausality(forward, validation[0], device) : 0;
}

/** Losses of other merges, which say what the coefficients are worth. */
async function lossesBeside(
  { alpha, lambda }: LearnPoint,
  { vertices: atVertices, lambdas: others = [] }: LearnOptions,
  config: MoeConfig,
  known: (what: string, weights: MergeWeights) => Promise<number>,
): Promise<Pick<Learned, "sharedOnly" | "vertices" | "lambdas">> {
  const sharedOnly = await known("shared experts alone", uniformWeights(config, 1)), vertices: number[] = [];
  for (let expert = 0; atVertices && expert < config.experts - 1; expert++) {
    const weights = alpha.map((layer) => layer.map((_, i) => Number(i === expert)));
    vertices.push(await known(`expert ${expert} alone`, { weights, lambda }));
  }
  const lambdas: { lambda: number; loss: number }[] = [];
  for (const each of others) {
    lambdas.push({ lambda: each, loss: await known(`uniform, λ ${each}`, uniformWeights(config, each)) });
  }
  return { sharedOnly, vertices, lambdas };
}

/** Says what descent can do at most; the sum of all learning rates. */
function budgetOf({ objective, schedule, onNote }: LearnOptions): number {
  if (objective.kind !== "loss") return 0;
  const total = budget(schedule);
  onNote?.(
    `${schedule.steps} steps with a sum of learning rates of ${total.toPrecision(3)}: with Adam no coefficient moves ` +
      `much further than that from its start${total < 0.1 ? ", so the merge will stay close to the uniform one" : ""}.`,
  );
  return total;
}

/**
 * Finds coefficients for merging a mixture. The mixture's weights are not changed.
 *
 * @throws {UserError} if the objective is no longer a finite number
 * @throws {DOMException} of name AbortError, if the signal says so
 */
export async function learn(mixture: Mixture, device: Device, options: LearnOptions): Promise<Learned> {
  const began = performance.now(), total = budgetOf(options), search = await begin(mixture, device, options);
  const keep = (): Search["keep"] => search.isWhole ? search.keep : undefined;
  const found = await keptAtInterrupt(() => find(mixture, device, options, search), options.signal, keep);
  if (search.descent) free([search.descent.parameters, search.descent.state], device);
  return { ...found, budget: total, seconds: (performance.now() - began) / 1000 };
}

/** Goes on from where a search is to its end. */
async function find(
  mixture: Mixture,
  device: Device,
  options: LearnOptions,
  search: Search,
): Promise<Omit<Learned, "budget" | "seconds">> {
  const { objective, schedule: { steps }, validation, signal, onLine, onNote } = options, { config } = mixture;
  const merge = merger(mixture, device);
  const file = (point: LearnPoint): CoefficientsFile => ({
    version: 1,
    objective: options.name,
    lambda: new Set(point.lambda).size === 1 ? point.lambda[0] : point.lambda,
    alpha: point.alpha,
  });
  let measureLoss: ReturnType<typeof evaluator> | undefined;
  const lossOf = async (weights: MergeWeights): Promise<number> => {
    using dense = await merge(weights);
    measureLoss ??= evaluator(dense.config, device);
    return (await measureLoss(dense.model, validation, signal)).nll;
  };
  const lossAt = (point: LearnPoint): Promise<number> => lossOf(weightsOf(config, file(point)));
  const known = async (what: string, weights: MergeWeights): Promise<number> => {
    const loss = search.position.losses[what] ?? await lossOf(weights);
    search.position = { ...search.position, losses: { ...search.position.losses, [what]: loss } };
    return loss;
  };
  const uniformly = uniformWeights(config, options.lambda);
  const causalTokens = search.position.causalTokens ?? await checkMask(await merge(uniformly), validation, device);
  search.position = { ...search.position, causalTokens };
  onNote?.(`No logit of ${causalTokens} tokens moved when a later token was changed: the mask is causal.`);
  const uniform = await known("uniform", uniformly);
  if (search.position.best === undefined) {
    onLine?.({ step: 0, steps, validation: uniform });
    const alpha = Array.from({ length: config.layers }, () => new Array<number>(config.experts - 1).fill(0));
    const point = { alpha, lambda: alpha.map(() => options.lambda) };
    search.position = { ...search.position, measured: 0, best: { step: 0, loss: uniform, point } };
  }
  const { descent } = search;
  if (objective.kind === "loss" && descent) {
    await descend(mixture, device, { ...options, objective }, search, descent, lossAt);
  }
  let best = search.position.best!;
  if (objective.kind === "measure") {
    // Nothing was searched, so nothing is chosen: what was measured is the result.
    const point = await measure(mixture, device, { ...options, objective }), loss = await lossAt(point);
    onLine?.({ step: steps, steps, validation: loss });
    best = { step: steps, loss, point };
  }
  const distance = distanceFromUniform(best.point.alpha);
  onNote?.(`Kept the coefficients of step ${best.step}.`);
  const beside = await lossesBeside(best.point, options, config, known);
  const { step, loss: learned, point } = best;
  return { coefficients: file(point), distance, uniform, learned, ...beside, causalTokens, step };
}
