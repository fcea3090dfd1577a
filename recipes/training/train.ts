/**
 * @file Training: SFT of dense models and tuning of mixtures. One step is one compiled call: forward, backward,
 * optimiser and metrics; parameters and optimiser state stay on the device and are updated in place.
 */
import { cast, entries, mapTree, mul } from "../../dsl/mod.ts";
import { UserError } from "../../dsl/errors.ts";
import { compile, free, number, values } from "../../backend/compile.ts";
import type { Device } from "../../backend/runtime.ts";
import { findOrigin } from "../metrics/divergence.ts";
import { distancesOf, type ExpertDistances, rowsOf } from "../metrics/expert_distances.ts";
import { healthWatch } from "../metrics/health.ts";
import type { HostBatch } from "../model/batch.ts";
import { type AnyModel, layout } from "../model/layout.ts";
import { evaluator } from "../model/loss.ts";
import type { Loaded } from "../model/parameters.ts";
import { isNarrow, storageOf } from "../model/storage.ts";
import { averageIn, optimizer, type OptimizerState, rateAt, type Schedule } from "../optim/mod.ts";
import { keptAtInterrupt, type Position, type Snapshots } from "./kept.ts";
import { type Step, type StepOptions, stepper, type Training } from "./step.ts";

/** Steps between two looks at a mixture's health for what people should know. */
const WATCHED_STEPS = 50;

/** Batches by step: the same in every run, so that a run can be repeated. */
export interface Batches {
  /** The batch of a step, counted from 0. */
  at(step: number): HostBatch;
}

/** How a model is trained. */
export interface TrainOptions extends StepOptions {
  /** Steps and learning rate. */
  readonly schedule: Schedule;
  /** What is learned from; with `accumulate` n, step i takes batches i·n … i·n + n − 1. */
  readonly batches: Batches;
  /** A fixed set on which the loss is measured before, after, and every `validateEvery` steps. */
  readonly validation?: readonly HostBatch[];
  /** Default: only before and after. */
  readonly validateEvery?: number;
  /**
   * Steps between two looks at how far a mixture's experts are apart, by some rows of each matrix (default 1; 0: only with
   * the validation set, by all of them).
   */
  readonly healthEvery?: number;
  /** Folder of the mixture as it was upcycled: experts' drift from the dense model is measured, too (default: it is not). */
  readonly origin?: string;
  /** Start of what is random in steps: noise of routers, weights rounded by chance. */
  readonly seed?: number;
  /**
   * The model as it was given, once more: where training diverges before the first snapshot, it is gone through again
   * from there to find out in which step and tensor it began.
   */
  readonly reload?: () => AnyModel;
  /** Where the training is kept, so that it can go on after a crash or an interrupt (default: nowhere). */
  readonly snapshots?: Snapshots;
  /** Ends the training between two steps, or in a measurement; with `snapshots` it is kept first. */
  readonly signal?: AbortSignal;
  /** Called after every step and every measurement. */
  readonly onLine?: (line: TrainLine) => void;
  /**
   * Called with a sentence for people: what a mixture's health calls for, every 50 steps, at every measurement and at the
   * end; what was said the time before is not said again.
   */
  readonly onNote?: (note: string) => void;
}

/** What a step, or a measurement on the validation set, had to say: a line of metrics.jsonl. */
export interface TrainLine extends ExpertDistances {
  /** Steps made so far. */
  readonly step: number;
  /** Steps of the stage. */
  readonly steps: number;
  /** Mean nats of a scored token of the batch. */
  readonly loss?: number;
  /** Learning rate of the step. */
  readonly rate?: number;
  /** Scored tokens of the batch. */
  readonly tokens?: number;
  /** Wall time of the step. */
  readonly seconds?: number;
  /** All tokens of the batch, padding included, per second. */
  readonly tokensPerSecond?: number;
  /** Global norm of the gradient, where it is clipped. */
  readonly norm?: number;
  /** The balance loss of a mixture. */
  readonly balance?: number;
  /** Per layer: each routed expert's share of the choices (they sum to 1). */
  readonly load?: readonly (readonly number[])[];
  /** Per layer: each routed expert's share of the probability of what was chosen (they sum to 1). */
  readonly importance?: readonly (readonly number[])[];
  /** Per layer: mean entropy of the router in nats. */
  readonly routerEntropy?: readonly number[];
  /** Per layer: mean gate of the shared expert. */
  readonly sharedGate?: readonly number[];
  /** Mean nats of a scored token of the validation set. */
  readonly validation?: number;
}

/** What came of a training. */
export interface Trained<L extends Loaded> {
  /** The trained model; it lies in the memory of the one that was given. */
  readonly loaded: L;
  /** Loss on the validation set before the first step. */
  readonly before?: number;
  /** And after the last one. */
  readonly after?: number;
  /** Scored tokens seen. */
  readonly tokens: number;
  /** Wall time, measurements included. */
  readonly seconds: number;
}

const shares = (rows: readonly (readonly number[])[]): number[][] =>
  rows.map((row) => {
    const total = row.reduce((a, b) => a + b, 0);
    return row.map((each) => total > 0 ? each / total : 0);
  });

/** A step's metrics as numbers. */
async function lineOf(
  { metrics: { nll, count, balance, health }, norm }: Pick<Step, "metrics" | "norm">,
  layers: number,
  device: Device,
): Promise<Omit<TrainLine, "step" | "steps">> {
  return {
    loss: await number(nll, device),
    tokens: await number(count, device),
    ...(norm && { norm: await number(norm, device) }),
    ...(balance && { balance: await number(balance, device) }),
    ...(health && {
      load: shares(rowsOf(await values(health.load, device, "layer", "expert"), layers)),
      importance: shares(rowsOf(await values(health.importance, device, "layer", "expert"), layers)),
      routerEntropy: [...await values(health.entropy, device)],
      sharedGate: [...await values(health.shared, device)],
    }),
  };
}

/** The running mean of a training's weights, stored as they are; nothing where none was kept. */
async function averageOf({ model, state }: Training, device: Device): Promise<AnyModel | undefined> {
  if (averageIn(model, state) === undefined) return undefined;
  const average = (model: AnyModel, state: OptimizerState): AnyModel =>
    mapTree((mean, w) => cast(mul(mean, 1), storageOf(w)), averageIn(model, state)!, model);
  return await compile(average, device)(model, state);
}

/**
 * The tensor with the largest of some norms, in the model's order: of equal ones, and of those that are no numbers, the
 * last one. Gradients flow from the last tensor to the first: it is where they grew.
 */
function largest(model: AnyModel, norms: ArrayLike<number>): readonly [path: string, norm: number] {
  const sizeOf = (norm: number): number => Number.isNaN(norm) ? Infinity : norm;
  const paths = entries(model).map(([path]) => path);
  const at = paths.reduce((best, _, i) => sizeOf(norms[i]) >= sizeOf(norms[best]) ? i : best, 0);
  return [paths[at], norms[at]];
}

/** Refuses weights that are not stored as the precision says. */
function checkPrecision(model: AnyModel, precision: StepOptions["precision"] = "f32"): void {
  if (isNarrow(model) === (precision !== "f32")) return;
  throw new UserError(
    `precision ${precision}: the model's matrices are stored in ${isNarrow(model) ? "16" : "32"} bits; ` +
      "load it with the storage that belongs to the precision (f32, or bf16).",
  );
}

/**
 * Trains a model: all its weights, on every scored token. The model given is used up (its memory becomes the result's).
 *
 * @throws {UserError} if the loss is no longer a finite number
 * @throws {DOMException} of name AbortError, if the signal says so
 */
export async function train<L extends Loaded>(given: L, device: Device, options: TrainOptions): Promise<Trained<L>> {
  const { schedule, accumulate = 1, validation = [], validateEvery = 0, snapshots, signal, seed = 0 } = options;
  const { config } = given, { steps } = schedule, began = performance.now();
  const health = healthWatch(config, (warning) => options.onNote?.(warning));
  const tell = (line: TrainLine): void => {
    health.see(line);
    options.onLine?.(line);
  };
  checkPrecision(given.model, options.precision);
  const measure = evaluator(config, device), step = stepper(config, device, options);
  using distances = distancesOf(config, device, options.origin);
  const begin = async (model: AnyModel): Promise<Training> => ({
    model,
    state: await compile((parameters: AnyModel) => optimizer(options, layout(config)).init(parameters), device)(model),
  });
  let training = await begin(given.model);
  let position: Position = snapshots?.restore(training.model, training.state) ?? { step: 0, tokens: 0, measured: -1 };
  const hostsOf = (at: number): HostBatch[] =>
    Array.from({ length: accumulate }, (_, i) => options.batches.at(at * accumulate + i));
  const make = (from: Training, at: number): Promise<Step> =>
    step(from, hostsOf(at), seed + at * accumulate, rateAt(schedule, at));
  // Are the tensors those of the position? A step writes to the memory of what it is given.
  let isWhole = true;
  /** Where it began, as a sentence; nothing, where there is nothing to begin again from. */
  const origin = async (failed: number): Promise<string> => {
    const { reload } = options;
    const kept = snapshots?.restore(training.model, training.state);
    if (!kept && !reload) return "";
    const from = kept ? training : await begin(reload!());
    const again = async (now: Training, at: number): Promise<Training> => {
      signal?.throwIfAborted();
      const { metrics, norm, norms, ...next } = await make(now, at);
      free([metrics, norm, norms], device);
      return next;
    };
    const found = await findOrigin(config, device, {
      from,
      done: kept?.step ?? 0,
      step: again,
      hosts: hostsOf,
      failed,
    });
    const lines = hostsOf(found.step).flatMap(({ sources = [] }) => sources);
    return ` It began in step ${found.step + 1}: ${found.what}.` +
      (lines.length > 0 ? ` The step's samples: ${lines.join(", ")}.` : "");
  };
  const validate = async (): Promise<void> => {
    const { step: done, measured } = position;
    const due = done === 0 || done === steps || (validateEvery > 0 && done % validateEvery === 0);
    if (!due || measured === done || validation.length === 0) return;
    const { nll } = await measure(training.model, validation, signal);
    const line = { step: done, steps, validation: nll, ...await distances.exact(training.model) };
    tell(line);
    health.warn();
    position = { ...position, measured: done, before: position.before ?? nll, after: nll };
  };
  const advance = async (): Promise<void> => {
    const { step: done, tokens } = position;
    signal?.throwIfAborted();
    const start = performance.now(), rate = rateAt(schedule, done);
    isWhole = false;
    const { metrics, norm, norms, ...next } = await make(training, done);
    training = next;
    const line = await lineOf({ metrics, norm }, config.layers, device), seconds = (performance.now() - start) / 1000;
    const alone = norms ? await values(norms, device) : [];
    free([metrics, norm, norms], device);
    if (!Number.isFinite(line.loss)) {
      throw new UserError(
        `step ${done + 1} of ${steps}: the loss is ${line.loss}, training has diverged.${await origin(done)} Try a ` +
          `smaller learning rate (it was ${rate.toPrecision(3)}) or gradient clipping.`,
      );
    }
    if (line.norm !== undefined && options.stopNorm !== undefined && !(line.norm <= options.stopNorm)) {
      const lines = hostsOf(done).flatMap(({ sources = [] }) => sources), [where, size] = largest(next.model, alone);
      throw new UserError(
        `step ${done + 1} of ${steps}: the gradient's norm is ${line.norm.toPrecision(3)}, more than ` +
          `${options.stopNorm}; it is largest in ${where} (${size.toPrecision(3)})` +
          `${lines.length > 0 ? `. The step's samples: ${lines.join(", ")}` : ""}.`,
      );
    }
    position = { ...position, step: done + 1, tokens: tokens + (line.tokens ?? 0) };
    isWhole = true;
    const all = hostsOf(done).reduce((sum, { rows, length }) => sum + rows * length, 0);
    const near = (done + 1) % (options.healthEvery ?? 1) === 0 ? await distances.sampled(training.model) : {};
    tell({ step: done + 1, steps, rate, seconds, tokensPerSecond: all / seconds, ...line, ...near });
  };
  const run = async (): Promise<AnyModel | undefined> => {
    await validate();
    while (position.step < steps) {
      await advance();
      if (position.step % WATCHED_STEPS === 0) health.warn();
      const due = snapshots && position.step % snapshots.every === 0 && position.step < steps;
      if (due) await snapshots.save({ position, ...training });
      await validate();
    }
    health.warn();
    const averaged = await averageOf(training, device);
    if (averaged && validation.length > 0) {
      position = { ...position, after: (await measure(averaged, validation, signal)).nll };
    }
    return averaged;
  };
  const keep = snapshots && (() => snapshots.save({ position, ...training }));
  const averaged = await keptAtInterrupt(run, signal, () => isWhole ? keep : undefined);
  if (averaged) free(training.model, device);
  free(training.state, device);
  const seconds = (performance.now() - began) / 1000;
  const { before, after, tokens } = position;
  return { loaded: { ...given, model: averaged ?? training.model }, before, after, tokens, seconds };
}
