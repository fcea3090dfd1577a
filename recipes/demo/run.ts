/**
 * @file The whole method in miniature, from nothing: a tiny Llama is pretrained on generated tasks, tuned, upcycled,
 * tuned as a mixture, its merge learned; every model's answers to held-out tasks run in the sandbox.
 */
import { join } from "node:path";
import { UserError } from "../../dsl/errors.ts";
import type { Device } from "../../backend/runtime.ts";
import { free } from "../../backend/compile.ts";
import type { ModelConfig } from "../convert/config.ts";
import { trainingBatches } from "../data/batches.ts";
import type { Sandbox } from "../evaluate/sandbox/pyodide.ts";
import { learn, type Learned } from "../training/learn.ts";
import { merger } from "../merge/device.ts";
import { singleExpert, uniformWeights, weightsOf } from "../merge/weights.ts";
import { batchesOf, type Sample } from "../model/batch.ts";
import { initModel, loadDense, type Loaded, loadMixture, type Mixture, saveModel } from "../model/parameters.ts";
import { objectives } from "../objectives/mod.ts";
import { train, type TrainLine } from "../training/train.ts";
import { upcycle } from "../upcycle.ts";
import { meanOf } from "./study/average.ts";
import { normalisedSyntax, type Task, tasks } from "./family/mod.ts";
import { pretrainingBatches } from "./pretraining.ts";
import { retriever } from "./retrieve.ts";
import { type Row, type RowContext, rowOfModel, rowOfPrograms } from "./rows.ts";
import { computeRatio, type DemoSettings, type StageSettings } from "./settings.ts";
import { encodeTask, special, tokenizerFiles, vocabulary } from "./tokenizer.ts";

/** What the miniature run needs besides its settings. */
export interface DemoOptions {
  readonly device: Device;
  readonly sandbox: Sandbox;
  /** Folder for the models; it must exist. */
  readonly folder: string;
  /** Which tasks the table is made of: choices are made on the validation split, the test split is for the end. */
  readonly split?: "validation" | "test";
  readonly signal?: AbortSignal;
  /** Called at the start of each stage. */
  readonly onStage?: (name: string) => void;
  /** Called after every training step. */
  readonly onLine?: (line: TrainLine) => void;
  /** Called as soon as a row is known. */
  readonly onRow?: (row: Row) => void;
  readonly onProgress?: RowContext["onProgress"];
}

/** What came of it. */
export interface DemoReport {
  readonly rows: readonly Row[];
  readonly learned: Omit<Learned, "coefficients"> & { readonly alpha: readonly (readonly number[])[] };
  /** Dense steps per mixture step at equal FLOPs. */
  readonly computeRatio: number;
  readonly seconds: number;
}

/** The dense model's settings. */
function modelConfig({ model }: DemoSettings): ModelConfig & { readonly kind: "llama" } {
  return {
    kind: "llama",
    vocabSize: vocabulary.length,
    hiddenSize: model.hiddenSize,
    ffnSize: model.ffnSize,
    layers: model.layers,
    heads: model.heads,
    kvHeads: model.heads,
    headDim: model.hiddenSize / model.heads,
    maxPositions: model.maxPositions,
    normEps: model.normEps,
    ropeTheta: model.ropeTheta,
    ropeScaling: null,
    tied: true,
    bos: special.bos,
    eos: [special.eos],
    pad: special.pad,
  };
}

/** Says no when a held-out solution occurs in training, whatever its names. */
function checkUnseen(training: readonly Task[], heldOut: readonly Task[]): void {
  const seen = new Set(training.map(({ solution }) => normalisedSyntax(solution)));
  const leaked = heldOut.find(({ solution }) => seen.has(normalisedSyntax(solution)));
  if (leaked) throw new UserError(`the held-out task ${leaked.id} has a solution that occurs in training.`);
}

/** One run under way: its settings, its tasks, and the rows that it has so far. */
interface Run {
  readonly settings: DemoSettings;
  readonly options: DemoOptions;
  readonly config: ModelConfig & { readonly kind: "llama" };
  readonly training: readonly Task[];
  readonly validation: readonly Task[];
  readonly samples: readonly Sample[];
  /** Dense steps per mixture step at equal FLOPs. */
  readonly ratio: number;
  /** What rows are made with; its tasks are the held-out ones. */
  readonly context: RowContext;
  readonly rows: Row[];
}

/** A model and what its training took. */
interface Tuned<L extends Loaded> {
  readonly loaded: L;
  readonly seconds: number;
}

/** Runs the whole method. The table's rows come in the order of the report. */
export async function runDemo(settings: DemoSettings, options: DemoOptions): Promise<DemoReport> {
  const began = performance.now();
  const run = prepare(settings, options);
  await pretrainBase(run);
  await retrieveNearest(run);
  await tuneDense(run);
  await averageDense(run);
  const moe = await tuneMixture(run);
  const learned = await learnCoefficients(run, moe.loaded);
  await mergeMixture(run, moe, learned);
  free(moe.loaded.model, options.device);
  const { coefficients, ...rest } = learned;
  return {
    rows: run.rows,
    learned: { ...rest, alpha: coefficients.alpha },
    computeRatio: run.ratio,
    seconds: (performance.now() - began) / 1000,
  };
}

/** Makes the tasks, and the tokenizer's folder. */
function prepare(settings: DemoSettings, options: DemoOptions): Run {
  const { seed } = settings;
  const training = tasks(seed, "train", settings.tasks.train);
  const validation = tasks(seed, "validation", settings.tasks.validation);
  const heldOut = options.split === "validation" ? validation : tasks(seed, "test", settings.tasks.test);
  checkUnseen(training, heldOut);
  const tokenizer = join(options.folder, "tokenizer");
  Deno.mkdirSync(tokenizer, { recursive: true });
  for (const [name, text] of Object.entries(tokenizerFiles())) Deno.writeTextFileSync(join(tokenizer, name), text);
  // A reference solution needs no run: that they do what they are asked is tested (family/domains_test.ts).
  const known = new Map(heldOut.map(({ id, solution }) => [`${id} ${solution}`, true]));
  return {
    settings,
    options,
    config: modelConfig(settings),
    training,
    validation,
    samples: training.map(encodeTask),
    ratio: computeRatio(settings, vocabulary.length),
    context: { ...options, tasks: heldOut, newTokens: settings.generation.newTokens, known },
    rows: [],
  };
}

/** The folder of one of the run's models. */
const folderOf = ({ options }: Run, name: string): string => join(options.folder, name);

const save = (run: Run, name: string, loaded: Loaded): Promise<void> =>
  saveModel(folderOf(run, name), loaded, run.options.device, {
    tokenizerFrom: folderOf(run, "tokenizer"),
    overwrite: true,
  });

function add({ rows, options }: Run, row: Row): void {
  rows.push(row);
  options.onRow?.(row);
}

/** Trains a model on the instructions. */
async function tune<L extends Loaded>(
  { settings, options, config, samples }: Run,
  loaded: L,
  stage: StageSettings,
  epochs = stage.epochs,
  seed = settings.seed,
): Promise<Tuned<L>> {
  const batches = trainingBatches(samples, { batch: stage.batch, seq: config.maxPositions, seed });
  const steps = batches.stepsFor(epochs);
  return await train(loaded, options.device, {
    schedule: { kind: "linear", rate: stage.rate, steps, warmup: Math.round(stage.warmup * steps) },
    optimizer: "adamw",
    batches,
    seed,
    signal: options.signal,
    onLine: options.onLine,
  });
}

/** The base model, from nothing. */
async function pretrainBase(run: Run): Promise<void> {
  const { device, signal, onStage, onLine } = run.options, { seed, model, pretraining } = run.settings;
  onStage?.("pretraining");
  const { steps, rows, length, rate, warmup, mixture } = pretraining;
  const { loaded } = await train(initModel(run.config, seed, device, model.gain), device, {
    schedule: { kind: "linear", rate, steps, warmup },
    optimizer: "adamw",
    batches: pretrainingBatches(seed, { rows, length, mixture }),
    signal,
    onLine,
  });
  await save(run, "base", loaded);
  onStage?.("evaluating the base model");
  add(run, await rowOfModel("base", loaded, 0, run.context));
  free(loaded.model, device);
}

/** What copying the nearest training task's answer would reach. */
async function retrieveNearest(run: Run): Promise<void> {
  run.options.onStage?.("retrieving");
  const nearest = retriever(run.training);
  const programs = run.context.tasks.map(({ instruction }) => nearest(instruction).solution);
  add(run, await rowOfPrograms("retrieval", programs, run.context));
}

/** Supervised fine-tuning of the dense model: its own epochs, and the mixture's FLOPs. */
async function tuneDense(run: Run): Promise<void> {
  const { device, onStage } = run.options, { sft } = run.settings;
  for (
    const [name, folder, epochs] of [
      ["SFT", "sft", sft.epochs],
      [`SFT, the MoE's FLOPs (×${run.ratio.toFixed(1)})`, "sft-matched", sft.epochs * run.ratio],
    ] as const
  ) {
    onStage?.(name);
    const { loaded, seconds } = await tune(run, loadDense(folderOf(run, "base"), device), sft, epochs);
    await save(run, folder, loaded);
    onStage?.(`evaluating ${name}`);
    add(run, await rowOfModel(name, loaded, seconds, run.context));
    free(loaded.model, device);
  }
}

/** The mean of as many fine-tuned models as the mixture's FLOPs pay for. */
async function averageDense(run: Run): Promise<void> {
  const { device, onStage } = run.options, { seed, sft } = run.settings;
  const members = Math.round(run.ratio), name = `mean of ${members} SFTs (${members} × SFT's FLOPs)`;
  onStage?.(name);
  const dense = [loadDense(folderOf(run, "sft"), device)];
  let spent = run.rows.find(({ name }) => name === "SFT")!.trainingSeconds;
  for (let member = 1; member < members; member++) {
    const base = loadDense(folderOf(run, "base"), device);
    const { loaded, seconds } = await tune(run, base, sft, undefined, seed + 100 * member);
    dense.push(loaded);
    spent += seconds;
  }
  const average = await meanOf(dense, device);
  await save(run, "sft-mean", average);
  onStage?.(`evaluating ${name}`);
  add(run, await rowOfModel(name, average, spent, run.context));
  for (const { model } of [...dense, average]) free(model, device);
}

/** The base model upcycled, and tuned as a mixture. */
async function tuneMixture(run: Run): Promise<Tuned<Mixture>> {
  const { device, onStage } = run.options, { seed, moe: stage } = run.settings;
  onStage?.("MoE");
  const { experts, active, noise, balanceWeight, routerDeviation } = stage;
  await upcycle(
    folderOf(run, "base"),
    folderOf(run, "moe-start"),
    { experts, active, noise, balanceWeight, seed, routerDeviation },
    { overwrite: true },
  );
  const moe = await tune(run, loadMixture(folderOf(run, "moe-start"), device), stage);
  await save(run, "moe", moe.loaded);
  onStage?.("evaluating the MoE");
  add(run, await rowOfModel(`MoE (${experts} experts, ${active} active)`, moe.loaded, moe.seconds, run.context));
  return moe;
}

/** The share of each routed expert in the merge. */
async function learnCoefficients(run: Run, moe: Mixture): Promise<Learned> {
  const { device, signal, onStage, onLine } = run.options, { seed, coefficients: stage } = run.settings;
  const seq = run.config.maxPositions;
  onStage?.("coefficients");
  const batches = trainingBatches(run.samples, { batch: stage.batch, seq, seed: seed + 1 });
  return await learn(moe, device, {
    objective: objectives["xft-lambda"],
    name: "xft-lambda",
    lambda: stage.lambda,
    schedule: { kind: "linear", rate: stage.rate, steps: batches.stepsFor(stage.epochs), warmup: 0 },
    batches,
    validation: batchesOf(run.validation.map(encodeTask), { batch: 64, seq, bucket: 16 }),
    signal,
    onLine,
  });
}

/** Dense models of the mixture: one expert, all alike, and by what was learned. */
async function mergeMixture(run: Run, moe: Tuned<Mixture>, learned: Learned): Promise<void> {
  const merge = merger(moe.loaded, run.options.device), { config } = moe.loaded, { lambda } = run.settings.coefficients;
  for (
    const [name, folder, weights, seconds] of [
      ["shared expert alone", "shared", singleExpert(config, 0), 0],
      [`uniform merge, λ ${lambda}`, "uniform", uniformWeights(config, lambda), 0],
      ["XFT merge, λ learned", "xft", weightsOf(config, learned.coefficients), learned.seconds],
    ] as const
  ) {
    run.options.onStage?.(`evaluating: ${name}`);
    using dense = await merge(weights);
    await save(run, folder, dense);
    add(run, await rowOfModel(name, dense, moe.seconds + seconds, run.context));
  }
}
