/**
 * @file Weights of 16 bits over 200 steps: rounded by chance, or beside masters, they learn what f32 learns; rounded to
 * nearest they do not. And what has to be said about them.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { denseOf, mixtureOf } from "../../bench/families/sizes.ts";
import { processor } from "../../bench/plan.ts";
import { compile, free } from "../../backend/compile.ts";
import type { Device } from "../../backend/runtime.ts";
import { type Scalar, tensor, valueAndGradWith } from "../../dsl/mod.ts";
import { UserError } from "../../dsl/errors.ts";
import { entriesOf } from "../../dsl/tree.ts";
import { allDevices, treeValues, withDevice } from "../../tests/devices.ts";
import { withTempDir } from "../../tests/support.ts";
import { tinyDense, tinyMixture, tinySamples } from "../../tests/fixtures/tiny.ts";
import { type Batch, batchesOf, makeBatch, toBatch } from "../model/batch.ts";
import { explainStep } from "../explain.ts";
import { type AnyModel, layout, sizeOf } from "../model/layout.ts";
import { evaluator, lossFor } from "../model/loss.ts";
import { type Dense, initModel, loadModel, saveModel } from "../model/parameters.ts";
import { widened } from "../model/storage.ts";
import { xft } from "../objectives/xft.ts";
import { adamw, type AdamWState, narrow, type NarrowState, type OptimizerName, type Precision } from "../optim/mod.ts";
import { train, type TrainOptions } from "./train.ts";

const config = tinyDense({ hidden_size: 32, intermediate_size: 48, num_key_value_heads: 4, head_dim: 8 });
const samples = tinySamples(48), held = batchesOf(samples, { batch: 48, seq: 8 });
const batches = { at: (step: number) => makeBatch(samples.slice(step * 8 % 48, step * 8 % 48 + 8), 8) };
const steps = 200;

const start = (device: Device, precision: Precision): Dense =>
  initModel(config, 1, device, 10, precision === "f32" ? "f32" : "bf16") as Dense;
const settings = (name: OptimizerName, rate: number, precision: Precision): TrainOptions => ({
  ...{ optimizer: name, precision, batches, validation: held, seed: 5 },
  schedule: { kind: "constant", rate, steps, warmup: 1 },
});

/** The loss after 200 steps whose results are rounded to the nearest number of 16 bits. */
async function naively(device: Device, rate: number): Promise<number> {
  const rounding = narrow(adamw(), "nearest"), loss = lossFor(config);
  const run = compile(
    (model: AnyModel, state: NarrowState<AdamWState>, batch: Batch, rate: Scalar) => {
      const { grad } = valueAndGradWith(loss)(widened(model), batch, null);
      const { parameters, state: next } = rounding.step(model, grad, state, rate);
      return { model: parameters, state: next };
    },
    device,
    { donate: [0, 1] },
  );
  let model: AnyModel = start(device, "bf16").model;
  let state = await compile((parameters: AnyModel) => rounding.init(parameters), device)(model);
  for (let step = 0; step < steps; step++) {
    ({ model, state } = await run(model, state, toBatch(batches.at(step)), tensor({}, [rate])));
  }
  const { nll } = await evaluator(config, device)(model, held);
  free([model, state], device);
  return nll;
}

Deno.test("precision: 200 steps in 16 bits reach f32's loss to 0.5% of the way, rounded to nearest they do not", () =>
  withDevice("cpu", async (device) => {
    const rate = 3e-4,
      run = async (precision: Precision): Promise<{ before: number; after: number }> => {
        const { loaded, before, after } = await train(
          start(device, precision),
          device,
          settings("adamw", rate, precision),
        );
        free(loaded.model, device);
        return { before: before!, after: after! };
      };
    const { before, after } = await run("f32"), margin = 0.005 * (before - after);
    assert(after < before / 4, `f32 learned too little for this to show anything: ${before} → ${after}`);
    for (const precision of ["bf16", "bf16-master"] as const) {
      const reached = (await run(precision)).after;
      assert(Math.abs(reached - after) < margin, `${precision}: ${reached}, f32 ${after} ± ${margin}`);
    }
    const naive = await naively(device, rate);
    assert(naive > after + 5 * margin, `rounded to nearest: ${naive}, f32 ${after}`);
  }));

for (const name of allDevices().filter((each) => each !== "interpreter")) {
  Deno.test(`precision, ${name}: a mixture is tuned in 16 bits, and written in them as it was left`, () =>
    withDevice(name, (device) =>
      withTempDir(async (folder) => {
        for (const precision of ["bf16", "bf16-master"] as const) {
          const mixture = initModel(tinyMixture({ router_noise: true }), 1, device, 10, "bf16");
          const options = {
            ...settings("adafactor", 1e-3, precision),
            schedule: { kind: "constant", rate: 1e-3, steps: 3, warmup: 1 },
          } as const;
          const { loaded } = await train(mixture, device, options);
          const types = new Map(entriesOf(loaded.model).map(([path, { dtype }]) => [path, dtype]));
          for (const { path, columns } of layout(loaded.config)) {
            assertEquals(types.get(path), columns.length > 0 ? "bf16" : "f32", path);
          }
          await saveModel(`${folder}/${precision}`, loaded, device, { dtype: "BF16" });
          const again = loadModel(`${folder}/${precision}`, device, "stored");
          const [want, got] = [await treeValues(loaded.model, device), await treeValues(again.model, device)];
          for (const { path, columns } of layout(loaded.config)) {
            if (columns.length > 0) assertEquals(got.get(path), want.get(path), path);
          }
          free([loaded.model, again.model], device);
        }
      })));
}

Deno.test("precision: weights that are not stored as it says are refused", () =>
  withDevice("cpu", async (device) => {
    const run = (stored: Precision, precision: Precision) =>
      train(start(device, stored), device, settings("sgd", 1e-3, precision));
    await assertRejects(() => run("f32", "bf16"), UserError, "stored in 32 bits");
    await assertRejects(() => run("bf16", "f32"), UserError, "stored in 16 bits");
  }));

Deno.test("precision: layers of 1.3 B's sizes are planned in 16 bits with half the weights, and the largest leaf as the only gradient", () => {
  const layers = 4,
    seq = 1024,
    options = { batch: 1, seq, step: "train", optimizer: "adafactor", checkpoint: true } as const;
  for (const sizes of [denseOf("1.3B"), mixtureOf("1.3B")]) {
    const config = { ...sizes, layers };
    const arena = (precision: Precision): number =>
      explainStep(config, processor, { ...options, precision, objective: xft }).arena;
    const [f32, bf16] = [arena("f32"), arena("bf16")], leaves = layout(config).map((leaf) => 4 * sizeOf(leaf));
    assert(bf16 <= f32, `${bf16} bytes of arena, ${f32} in f32`);
    const gradient = Math.max(...leaves), inputs = 4 * layers * seq * config.hiddenSize;
    const active = config.kind === "moe" ? config.active : 1;
    // What a layer computes again: its feed-forward block's gate, up, product, and a gradient of each.
    const block = 6 * 4 * active * seq * config.ffnSize + 16 * 4 * seq * config.hiddenSize;
    assert(bf16 < gradient + inputs + block, `${bf16} bytes of arena, ${gradient} + ${inputs} + ${block} expected`);
  }
});
