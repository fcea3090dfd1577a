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
import { initModel, loadDense, type Loaded, loadMixture, saveModel } from "../model/parameters.ts";
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

/** Runs the whole method. The table's rows come in the order of the report. */
export async function runDemo(settings: DemoSettings, options: DemoOptions): Promise<DemoReport> {
  const { device, folder, signal, onStage, onRow, onLine } = options, began = performance.now();
  const { seed } = settings, config = modelConfig(settings);
  const training = tasks(seed, "train", settings.tasks.train);
  const validation = tasks(seed, "validation", settings.tasks.validation);
  const heldOut = options.split === "validation" ? validation : tasks(seed, "test", settings.tasks.test);
  checkUnseen(training, heldOut);
  const samples: Sample[] = training.map(encodeTask);
  const rows: Row[] = [],
    // A reference solution needs no run: that they do what they are asked is tested (family/domains_test.ts).
    known = new Map(heldOut.map(({ id, solution }) => [`${id} ${solution}`, true])),
    context: RowContext = { ...options, tasks: heldOut, newTokens: settings.generation.newTokens, known };
  const add = (row: Row): void => {
    rows.push(row);
    onRow?.(row);
  };
  const at = (name: string): string => join(folder, name);
  Deno.mkdirSync(at("tokenizer"), { recursive: true });
  for (const [name, text] of Object.entries(tokenizerFiles())) {
    Deno.writeTextFileSync(join(at("tokenizer"), name), text);
  }
  const save = (name: string, loaded: Loaded): Promise<void> =>
    saveModel(at(name), loaded, device, { tokenizerFrom: at("tokenizer"), overwrite: true });
  const tune = async <L extends Loaded>(
    loaded: L,
    stage: StageSettings,
    epochs = stage.epochs,
    shuffle = seed,
  ): Promise<{ loaded: L; seconds: number }> => {
    const batches = trainingBatches(samples, { batch: stage.batch, seq: config.maxPositions, seed: shuffle });
    const steps = batches.stepsFor(epochs);
    return await train(loaded, device, {
      schedule: { kind: "linear", rate: stage.rate, steps, warmup: Math.round(stage.warmup * steps) },
      optimizer: "adamw",
      batches,
      seed: shuffle,
      signal,
      onLine,
    });
  };

  onStage?.("pretraining");
  const { steps, rows: batch, length, rate, warmup, mixture } = settings.pretraining;
  const base = await train(initModel(config, seed, device, settings.model.gain), device, {
    schedule: { kind: "linear", rate, steps, warmup },
    optimizer: "adamw",
    batches: pretrainingBatches(seed, { rows: batch, length, mixture }),
    signal,
    onLine,
  });
  await save("base", base.loaded);
  onStage?.("evaluating the base model");
  add(await rowOfModel("base", base.loaded, 0, context));
  free(base.loaded.model, device);
  onStage?.("retrieving");
  const nearest = retriever(training);
  add(await rowOfPrograms("retrieval", heldOut.map(({ instruction }) => nearest(instruction).solution), context));

  const ratio = computeRatio(settings, vocabulary.length);
  for (
    const [name, folderName, epochs] of [
      ["SFT", "sft", settings.sft.epochs],
      [`SFT, the MoE's FLOPs (×${ratio.toFixed(1)})`, "sft-matched", settings.sft.epochs * ratio],
    ] as const
  ) {
    onStage?.(name);
    const { loaded, seconds } = await tune(loadDense(at("base"), device), settings.sft, epochs);
    await save(folderName, loaded);
    onStage?.(`evaluating ${name}`);
    add(await rowOfModel(name, loaded, seconds, context));
    free(loaded.model, device);
  }

  const members = Math.round(ratio), meanName = `mean of ${members} SFTs (${members} × SFT's FLOPs)`;
  onStage?.(meanName);
  let dense = [loadDense(at("sft"), device)], spent = rows.find(({ name }) => name === "SFT")!.trainingSeconds;
  for (let member = 1; member < members; member++) {
    const { loaded, seconds } = await tune(loadDense(at("base"), device), settings.sft, undefined, seed + 100 * member);
    dense = [...dense, loaded];
    spent += seconds;
  }
  const average = await meanOf(dense, device);
  await save("sft-mean", average);
  onStage?.(`evaluating ${meanName}`);
  add(await rowOfModel(meanName, average, spent, context));
  for (const { model } of [...dense, average]) free(model, device);

  onStage?.("MoE");
  const { experts, active, noise, balanceWeight } = settings.moe;
  await upcycle(at("base"), at("moe-start"), {
    experts,
    active,
    noise,
    balanceWeight,
    seed,
    routerDeviation: settings.moe.routerDeviation,
  }, { overwrite: true });
  const moe = await tune(loadMixture(at("moe-start"), device), settings.moe);
  await save("moe", moe.loaded);
  onStage?.("evaluating the MoE");
  add(await rowOfModel(`MoE (${experts} experts, ${active} active)`, moe.loaded, moe.seconds, context));

  onStage?.("coefficients");
  const { coefficients: stage } = settings,
    batches = trainingBatches(samples, { batch: stage.batch, seq: config.maxPositions, seed: seed + 1 });
  const learned = await learn(moe.loaded, device, {
    objective: objectives["xft-lambda"],
    name: "xft-lambda",
    lambda: stage.lambda,
    schedule: { kind: "linear", rate: stage.rate, steps: batches.stepsFor(stage.epochs), warmup: 0 },
    batches,
    validation: batchesOf(validation.map(encodeTask), { batch: 64, seq: config.maxPositions, bucket: 16 }),
    signal,
    onLine,
  });
  const merge = merger(moe.loaded, device), { config: mixtureConfig } = moe.loaded;
  for (
    const [name, folderName, weights, seconds] of [
      ["shared expert alone", "shared", singleExpert(mixtureConfig, 0), 0],
      [`uniform merge, λ ${stage.lambda}`, "uniform", uniformWeights(mixtureConfig, stage.lambda), 0],
      ["XFT merge, λ learned", "xft", weightsOf(mixtureConfig, learned.coefficients), learned.seconds],
    ] as const
  ) {
    onStage?.(`evaluating: ${name}`);
    using dense = await merge(weights);
    await save(folderName, dense);
    add(await rowOfModel(name, dense, moe.seconds + seconds, context));
  }
  free(moe.loaded.model, device);
  const { coefficients, ...rest } = learned;
  return {
    rows,
    learned: { ...rest, alpha: coefficients.alpha },
    computeRatio: ratio,
    seconds: (performance.now() - began) / 1000,
  };
}
