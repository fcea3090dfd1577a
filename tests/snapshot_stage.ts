/** @file What the tests of snapshots train: a mixture with noise in its routers, some steps, two batches to a step. */
import type { Device } from "../backend/runtime.ts";
import { batchesOf, makeBatch } from "../recipes/model/batch.ts";
import type { TrainOptions } from "../recipes/train.ts";
import { tinyMixture, tinyModel, tinySamples } from "./tiny.ts";

const samples = tinySamples(24);

/** A stage that depends on all that a snapshot has to keep: weights, moments, position, keys, both losses. */
export function snapshotStage(steps = 140) {
  const config = tinyMixture({ router_noise: true });
  const options: TrainOptions = {
    schedule: { kind: "linear", rate: 0.01, steps, warmup: 3 },
    batches: { at: (step) => makeBatch(samples.slice(step * 2 % 24, step * 2 % 24 + 2), 8) },
    validation: batchesOf(tinySamples(6, 9), { batch: 3, seq: 8 }),
    validateEvery: 5,
    optimizer: "adamw",
    accumulate: 2,
    seed: 3,
  };
  const { schedule, optimizer, accumulate, seed } = options;
  return {
    config,
    options,
    settings: { schedule, optimizer, accumulate, seed },
    model: (device: Device) => tinyModel(config, device, 1, 5),
  };
}
