/**
 * @file When the method wins: regimes of the miniature run, from one base model, against controls that cost as much. All
 * is chosen on the validation split; the test split is read only where asked, once for each row's chosen setting.
 *
 * Controls: SFT for the mixture's FLOPs (longer), the mean of as many plain SFT runs as the mixture costs (averaging
 * without experts), and a running mean of one SFT run's weights (averaging at no cost).
 */
import { join } from "node:path";
import type { Device } from "../../../backend/runtime.ts";
import { free } from "../../../backend/compile.ts";
import { trainingBatches } from "../../data/batches.ts";
import type { Sandbox } from "../../evaluate/sandbox/pyodide.ts";
import { learn } from "../../training/learn.ts";
import { merger } from "../../merge/device.ts";
import { singleExpert, uniformWeights, weightsOf } from "../../merge/weights.ts";
import { batchesOf, type HostBatch } from "../../model/batch.ts";
import { evaluator } from "../../model/loss.ts";
import { type Dense, loadDense, type Loaded, loadMixture, loadModel, saveModel } from "../../model/parameters.ts";
import { objectives } from "../../objectives/mod.ts";
import { train, type TrainLine } from "../../training/train.ts";
import { upcycle } from "../../upcycle.ts";
import { meanOf } from "./average.ts";
import { tasks } from "../family/mod.ts";
import { type RowContext, rowOfModel } from "../rows.ts";
import { computeRatio, type DemoSettings, settings } from "../settings.ts";
import { encodeTask, vocabulary } from "../tokenizer.ts";
import { type Regime, type RegimeName, regimes, settingsOf, trainingTasks } from "./regimes.ts";

/** One way to tune, at one rate. */
export interface Trial {
  readonly regime: RegimeName;
  readonly seed: number;
  readonly row: string;
  readonly rate: number;
  /** Mean nats of a validation answer's token. */
  readonly loss: number;
  /** Of a mixture: mean distance of its routed experts from their mean, as a share of its norm. */
  readonly spread?: number;
  /** Of a mixture: mean distance of its shared expert from that mean. */
  readonly sharedSpread?: number;
  /** Of learned coefficients: the largest difference of a weight from the uniform one. */
  readonly distance?: number;
  /** Of the row's best rate: share of validation tasks solved. */
  readonly passAt1?: number;
  /** How many tasks those are. */
  readonly tasks?: number;
  /** Of the row's best rate, where asked: mean nats of a test answer's token. */
  readonly testLoss?: number;
}

/** What a study needs. */
export interface StudyOptions {
  readonly device: Device;
  readonly sandbox: Sandbox;
  /** A base model's folder, as the miniature run leaves it. */
  readonly base: string;
  /** For the models; it must exist. */
  readonly folder: string;
  readonly rates: readonly number[];
  readonly seed: number;
  /** Validation tasks whose answers are run for each row's best rate; 0 compares losses alone. */
  readonly answers: number;
  /** Whether the test split is read, once for each row's best rate. */
  readonly test?: boolean;
  readonly signal?: AbortSignal;
  readonly onStage?: (name: string) => void;
  readonly onLine?: (line: TrainLine) => void;
  /** Called with every trial, and once more with the best of each row when its answers have run. */
  readonly onTrial?: (trial: Trial) => void;
}

/** Examples that coefficients are learned from at least: what is few is gone through again. */
const COEFFICIENT_STEPS = 60;
/** Shares of the shared expert in uniform merges; 1 is that expert alone, a row of its own. */
const LAMBDAS = [0, 0.25, 0.5, 0.75, 0.9] as const;

const mean = (numbers: readonly number[]): number => numbers.reduce((sum, each) => sum + each, 0) / numbers.length;

/** A trial with the folder of its model. */
interface Kept {
  readonly trial: Trial;
  readonly folder: string;
}

/** Tunes in every way at every rate, then runs the answers of each way's best rate. */
export async function studyRegime(name: RegimeName, options: StudyOptions): Promise<Trial[]> {
  const { device, seed, sandbox, answers, onTrial, onStage, signal } = options;
  const validation = tasks(seed, "validation", settingsOf(regimes[name], 0, seed).tasks.validation);
  const kept: Kept[] = [];
  for (const rate of options.rates) {
    for await (const made of trialsAt(name, rate, batchesFor(validation.map(encodeTask)), options)) {
      kept.push(made);
      onTrial?.(made.trial);
    }
  }
  const asked = validation.slice(0, answers), { newTokens } = settingsOf(regimes[name], 0, seed).generation;
  // A reference solution needs no run: that they do what they are asked is tested (family/domains_test.ts).
  const known = new Map(asked.map(({ id, solution }) => [`${id} ${solution}`, true]));
  const context: RowContext = { device, sandbox, tasks: asked, newTokens, known, signal };
  const test = options.test ? batchesFor(tasks(seed, "test", settings.tasks.test).map(encodeTask)) : undefined;
  const best = Map.groupBy(kept, ({ trial }) => trial.row);
  const results: Trial[] = [];
  for (const [row, all] of best) {
    const { trial, folder } = all.reduce((a, b) => b.trial.loss < a.trial.loss ? b : a);
    onStage?.(`${name}: ${row} at its best rate`);
    const loaded = loadModel(folder, device);
    const result: Trial = {
      ...trial,
      ...(answers > 0 && { passAt1: (await rowOfModel(row, loaded, 0, context)).passAt1, tasks: asked.length }),
      ...(test && { testLoss: (await evaluator(loaded.config, device)(loaded.model, test, signal)).nll }),
    };
    free(loaded.model, device);
    results.push(result);
    onTrial?.(result);
  }
  return results;
}

const batchesFor = (samples: ReturnType<typeof encodeTask>[]): HostBatch[] =>
  batchesOf(samples, { batch: 64, seq: 128, bucket: 16 });

/** Every way of tuning at one rate; where the mixture alone is another, plain SFT is as in the regime it varies. */
async function* trialsAt(
  regime: RegimeName,
  rate: number,
  validation: readonly HostBatch[],
  options: StudyOptions,
): AsyncGenerator<Kept> {
  const { device, folder, base, seed, signal, onLine, onStage } = options;
  const chosen = settingsOf(regimes[regime], rate, seed), given: Regime = regimes[regime];
  const samples = trainingTasks(given, seed).map(encodeTask), ratio = computeRatio(chosen, vocabulary.length);
  const at = (row: string): string => join(folder, `${regime}-${row.replaceAll(/[^a-z0-9.]+/gi, "-")}-${rate}`);
  const keep = async (row: string, loaded: Loaded, loss: number, more: Partial<Trial> = {}): Promise<Kept> => {
    await saveModel(at(row), loaded, device, { overwrite: true });
    return { trial: { regime, seed, row, rate, loss, ...more }, folder: at(row) };
  };
  const measure = async ({ config, model }: Loaded): Promise<number> =>
    (await evaluator(config, device)(model, validation, signal)).nll;
  const tune = async <L extends Loaded>(name: string, loaded: L, shuffle: number, epochs: number, ema?: number) => {
    onStage?.(`${regime}, rate ${rate}: ${name}`);
    const last: { line?: TrainLine } = {}, { batch, warmup } = chosen.sft;
    const batches = trainingBatches(samples, { batch, seq: chosen.model.maxPositions, seed: shuffle });
    const steps = batches.stepsFor(epochs);
    const trained = await train(loaded, device, {
      schedule: { kind: "linear", rate, steps, warmup: Math.round(warmup * steps) },
      ...{ optimizer: "adamw", batches, validation, seed: shuffle, signal, ema },
      onLine(line) {
        if (line.validation !== undefined) last.line = line;
        onLine?.(line);
      },
    });
    return { loaded: trained.loaded, loss: trained.after!, line: last.line! };
  };

  const mixture: Shared = { keep, measure, tune, at, settings: chosen, samples, validation, regime };
  if (given.moe) {
    yield* mixtureTrials(mixture, options);
    return;
  }
  // As many runs as cost the mixture's FLOPs, in other orders; the first is plain SFT.
  const members: Dense[] = [];
  for (let member = 0; member < Math.round(ratio); member++) {
    const { loaded, loss } = await tune(`SFT ${member}`, loadDense(base, device), seed + 100 * member, given.epochs);
    members.push(loaded);
    if (member === 0) yield await keep("SFT", loaded, loss);
  }
  const mixed = await meanOf(members, device);
  yield await keep(`mean of ${members.length} SFT`, mixed, await measure(mixed));
  for (const { model } of [...members, mixed]) free(model, device);

  for (
    const [row, epochs, ema] of [
      ["SFT, running mean", given.epochs, 0.95],
      [`SFT ×${ratio.toFixed(1)}`, given.epochs * ratio, undefined],
    ] as const
  ) {
    const { loaded, loss } = await tune(row, loadDense(base, device), seed, epochs, ema);
    yield await keep(row, loaded, loss);
    free(loaded.model, device);
  }

  yield* mixtureTrials(mixture, options);
}

/** What the trials of one rate have in common. */
interface Shared {
  readonly keep: (row: string, loaded: Loaded, loss: number, more?: Partial<Trial>) => Promise<Kept>;
  readonly measure: (loaded: Loaded) => Promise<number>;
  readonly tune: <L extends Loaded>(
    name: string,
    loaded: L,
    shuffle: number,
    epochs: number,
  ) => Promise<{ loaded: L; loss: number; line: TrainLine }>;
  readonly at: (row: string) => string;
  readonly settings: DemoSettings;
  readonly samples: ReturnType<typeof encodeTask>[];
  readonly validation: readonly HostBatch[];
  readonly regime: RegimeName;
}

/** The mixture and its merges. */
async function* mixtureTrials(shared: Shared, options: StudyOptions): AsyncGenerator<Kept> {
  const { keep, measure, tune, at, settings, samples, validation } = shared;
  const { device, base, seed, signal, onStage, onLine } = options;
  const { experts, active, noise, balanceWeight, routerDeviation, epochs } = settings.moe;
  const start = at("start");
  await upcycle(base, start, { experts, active, noise, balanceWeight, seed, routerDeviation }, { overwrite: true });
  const { loaded: moe, loss, line } = await tune("MoE", loadMixture(start, device), seed, epochs);
  const spread = mean(line.expertSpread!.flat()), sharedSpread = mean(line.sharedSpread!);
  yield await keep("MoE", moe, loss, { spread, sharedSpread });

  const merge = merger(moe, device), { config } = moe;
  const merged = async (
    row: string,
    weights: Parameters<typeof merge>[0],
    more: Partial<Trial> = {},
  ): Promise<Kept> => {
    using dense = await merge(weights);
    return await keep(row, dense, await measure(dense), more);
  };
  yield await merged("shared expert alone", singleExpert(config, 0));
  for (const lambda of LAMBDAS) yield await merged(`uniform merge, λ ${lambda}`, uniformWeights(config, lambda));
  for (const [row, name] of [["XFT merge, λ 0.5", "xft"], ["XFT merge, λ learned", "xft-lambda"]] as const) {
    onStage?.(`${shared.regime}, rate ${settings.moe.rate}: ${row}`);
    const { batch, rate } = settings.coefficients;
    const batches = trainingBatches(samples, { batch, seq: settings.model.maxPositions, seed: seed + 1 });
    const steps = Math.max(COEFFICIENT_STEPS, batches.stepsFor(1));
    const { coefficients, distance } = await learn(moe, device, {
      ...{ objective: objectives[name], name, lambda: 0.5, batches, validation, signal, onLine },
      schedule: { kind: "linear", rate, steps, warmup: 0 },
      validateEvery: steps,
    });
    yield await merged(row, weightsOf(config, coefficients), { distance: Math.max(...distance) });
  }
  free(moe.model, device);
}

/** The trials of regimes as a table: rows by regime, the best rate of each. */
export function studyTable(results: readonly Trial[]): string {
  const cells = results.map(({ regime, seed, row, rate, loss, passAt1, tasks, testLoss, spread, distance }) => [
    regime,
    String(seed),
    row,
    String(rate),
    loss.toFixed(4),
    testLoss?.toFixed(4) ?? "",
    passAt1 === undefined ? "" : `${(100 * passAt1).toFixed(1)}% of ${tasks}`,
    spread === undefined ? (distance === undefined ? "" : `${distance.toFixed(3)} from uniform`) : spread.toFixed(3),
  ]);
  const all = [["regime", "seed", "row", "rate", "loss", "test loss", "pass@1", "experts apart"], ...cells];
  const widths = all[0].map((_, column) => Math.max(...all.map((line) => line[column].length)));
  return all.map((line) => line.map((cell, column) => cell.padEnd(widths[column])).join("  ").trimEnd()).join("\n");
}
