/** @file Whole training steps: dense, mixture, coefficients; and how their time grows with what they are made of. */
import { compile, free, number } from "../../backend/compile.ts";
import { open } from "../../backend/open.ts";
import { tensor, valueAndGradWith } from "../../dsl/mod.ts";
import { type LearnParameters, learnStep } from "../../recipes/training/learn.ts";
import { type Batch, toBatch } from "../../recipes/model/batch.ts";
import { type AnyModel, layout } from "../../recipes/model/layout.ts";
import type { Model } from "../../recipes/model/llama.ts";
import { lossFor } from "../../recipes/model/loss.ts";
import type { Moe } from "../../recipes/model/moe.ts";
import { xft } from "../../recipes/objectives/xft.ts";
import { adamw, optimizer } from "../../recipes/optim/mod.ts";
import { randomFor, trainStep } from "../../recipes/training/step.ts";
import type { Case, Prepared, StepWork } from "../case.ts";
import { batchOf, modelOf } from "../weights.ts";
import { touched } from "./long.ts";
import { denseOf, mixtureOf, type SizeName, sizes } from "./sizes.ts";

/** Learning rate of weights, and of coefficients. */
const RATE = 1e-3;
const LAMBDA = 0.75;
/** Steps that every contestant makes before it is timed. */
const WARM_UP = 2;

const step = (kind: StepWork["step"], size: SizeName, changes: Partial<StepWork> = {}): StepWork => ({
  kind: "step",
  step: kind,
  config: kind === "dense" ? denseOf(size) : mixtureOf(size),
  batch: sizes[size].batch,
  seq: sizes[size].seq,
  checkpoint: false,
  storage: "f32",
  ...changes,
});

const one = (kind: StepWork["step"], size: SizeName, changes: Partial<StepWork> = {}): Case => {
  const work = step(kind, size, changes);
  return {
    name: `${kind}/${size}`,
    work,
    ...(kind !== "coefficients" && {
      variants: {
        "checkpointed layers": { ...work, checkpoint: true },
        "bf16, rounded by chance": { ...work, storage: "bf16" as const },
      },
    }),
  };
};

/** The steps at the sizes of the issue. */
export const stepCases: readonly Case[] = [
  ...(["tiny", "small"] as const).flatMap((size) => [
    one("dense", size),
    one("moe", size),
    one("coefficients", size),
  ]),
  one("dense", "smollm2"),
  one("moe", "smollm2", { batch: 1 }),
  one("moe", "wide"),
  {
    name: "wgpu/dense",
    work: step("dense", "tiny", { batch: 1, seq: 128, device: "wgpu" }),
    variants: { 'fuse: "off"': step("dense", "tiny", { batch: 1, seq: 128, device: "wgpu", fuse: "off" }) },
  },
];

const curve = (name: string, over: string, points: readonly (readonly [at: number, work: StepWork])[]): Case[] =>
  points.map(([at, work]) => ({ name: `scaling/${name}/${at}`, work, curve: { name, over, at } }));

/** How the mixture's step grows. */
export const scalingCases: readonly Case[] = [
  ...curve("tokens", "rows of 256 tokens", [1, 2, 4, 8].map((batch) => [batch, step("moe", "tiny", { batch })])),
  ...curve(
    "layers",
    "layers",
    [2, 4, 8].map((layers) => [layers, step("moe", "tiny", { batch: 2, config: mixtureOf("tiny", { layers }) })]),
  ),
  ...curve(
    "length",
    "tokens of one row",
    [256, 512, 1024, 2048].map((seq) => [seq, step("moe", "tiny", { batch: 1, seq })]),
  ),
  ...curve(
    "experts, forward and backward alone",
    "experts, 6 of them active",
    [8, 16, 32, 64].map((
      experts,
    ) => [experts, step("moe", "tiny", { config: mixtureOf("tiny", { experts }), update: false })]),
  ),
  ...curve(
    "experts",
    "experts, 6 of them active",
    [8, 16, 32, 64].map((experts) => [experts, step("moe", "tiny", { config: mixtureOf("tiny", { experts }) })]),
  ),
];

/** The smallest case of each kind, for tests. */
export const toySteps: readonly Case[] = (["dense", "moe", "coefficients"] as const).map((kind) => one(kind, "toy"));

/** A step in a device's memory, warmed up. */
export async function prepareStep(work: StepWork): Promise<Prepared> {
  const device = await open(work.device ?? "cpu"), { config } = work;
  const batch = toBatch(batchOf(config, work.batch, work.seq)), losses: number[] = [];
  let once: () => Promise<number>, bytes: () => number;
  if (work.step === "coefficients" && config.kind === "moe" && xft.kind === "loss") {
    const run = compile(learnStep(config, xft), device, { donate: [0, 1], fuse: work.fuse });
    const model = modelOf(config, device, work.storage) as Model<Moe>;
    const shares = Array.from({ length: config.layers }, () => tensor({}, [LAMBDA])), rate = tensor({}, [RATE]);
    let parameters: LearnParameters = {
      alpha: shares.map(() => tensor({ expert: config.experts - 1 }, new Float64Array(config.experts - 1))),
    };
    let state = await compile((p: LearnParameters) => adamw().init(p), device)(parameters);
    once = async () => {
      const out = await run(parameters, state, model, batch, shares, rate), loss = await number(out.value, device);
      free(out.value, device);
      ({ parameters, state } = out);
      return loss;
    };
    bytes = () => run.report(parameters, state, model, batch, shares, rate).moved;
  } else if (work.update === false) {
    const run = compile(
      (parameters: AnyModel, data: Batch) => {
        const { value, grad } = valueAndGradWith(lossFor(config, work))(parameters, data, null);
        return { loss: value.nll, gradients: touched(grad) };
      },
      device,
      { fuse: work.fuse },
    );
    const model = modelOf(config, device, work.storage);
    once = async () => {
      const out = await run(model, batch), loss = await number(out.loss, device);
      free(out, device);
      return loss;
    };
    bytes = () => run.report(model, batch).moved;
  } else {
    const { checkpoint, storage } = work, rate = tensor({}, [RATE]);
    const updates = { optimizer: "adafactor", precision: storage === "f32" ? "f32" : "bf16" } as const,
      random = randomFor(config, updates, 0);
    const run = compile(trainStep(config, { ...updates, checkpoint }), device, {
      donate: [0, 1],
      fuse: work.fuse,
    });
    let model = modelOf(config, device, work.storage);
    let state = await compile(
      (p: typeof model) => optimizer(updates, layout(config)).init(p),
      device,
    )(model);
    once = async () => {
      const out = await run(model, state, batch, random, rate), loss = await number(out.metrics.nll, device);
      free(out.metrics, device);
      ({ model, state } = out);
      return loss;
    };
    bytes = () => run.report(model, state, batch, random, rate).moved;
  }
  for (let i = 0; i < WARM_UP; i++) losses.push(await once());
  return { losses, bytes: bytes(), run: async () => void await once() };
}
