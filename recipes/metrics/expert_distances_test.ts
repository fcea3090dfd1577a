/** @file Distances between experts and from the dense block: as written down, and told at the steps asked for. */
import { assert, assertEquals } from "@std/assert";
import { free } from "../../backend/compile.ts";
import { allDevices, treeValues, withDevice } from "../../tests/devices.ts";
import { withTempDir } from "../../tests/support.ts";
import { tinyMixture, tinyModel, tinySamples } from "../../tests/fixtures/tiny.ts";
import { distancesOf } from "./expert_distances.ts";
import { makeBatch } from "../model/batch.ts";
import { saveModel } from "../model/parameters.ts";
import { train, type TrainLine } from "../training/train.ts";

const config = tinyMixture(), routed = config.experts - 1;

for (const name of allDevices()) {
  Deno.test(`distances, ${name}: from the shared experts of a folder, as written down`, () =>
    withDevice(name, (device) =>
      withTempDir(async (folder) => {
        const before = tinyModel(config, device, 1), now = tinyModel(config, device, 2);
        await saveModel(`${folder}/moe`, before, device);
        const dense = await treeValues(before.model, device), weights = await treeValues(now.model, device);
        const { expertDrift, sharedDrift, expertSpread } = await distancesOf(config, device, `${folder}/moe`)(
          now.model,
        );
        for (let layer = 0; layer < config.layers; layer++) {
          const far = new Array<number>(routed + 1).fill(0);
          let size = 0;
          for (const matrix of ["gate", "up", "down"]) {
            const block = dense.get(`layers.${layer}.ffn.shared.${matrix}`)!;
            const experts = weights.get(`layers.${layer}.ffn.experts.${matrix}`)!;
            const shared = weights.get(`layers.${layer}.ffn.shared.${matrix}`)!;
            for (let i = 0; i < block.length; i++) {
              for (let expert = 0; expert < routed; expert++) {
                far[expert] += (experts[expert * block.length + i] - block[i]) ** 2;
              }
              far[routed] += (shared[i] - block[i]) ** 2;
              size += block[i] ** 2;
            }
          }
          [...expertDrift![layer], sharedDrift![layer]].forEach((x, i) => {
            const want = Math.sqrt(far[i] / size);
            assert(Math.abs(x - want) < 1e-4 * want, `${x}, expected ${want}`);
          });
        }
        assertEquals(expertSpread!.map((row) => row.length), Array(config.layers).fill(routed));
        const { sharedDrift: still } = await distancesOf(config, device, `${folder}/moe`)(before.model);
        assertEquals(still, Array(config.layers).fill(0));
        free([before.model, now.model], device);
      })));
}

Deno.test("distances are told at every step or as seldom as asked, and grow from where the experts began", () =>
  withDevice("cpu", (device) =>
    withTempDir(async (folder) => {
      const samples = tinySamples(8), origin = `${folder}/moe`;
      await saveModel(origin, tinyModel(config, device), device);
      const told = async (healthEvery: number): Promise<TrainLine[]> => {
        const lines: TrainLine[] = [];
        const { loaded } = await train(tinyModel(config, device), device, {
          schedule: { kind: "constant", rate: 0.01, steps: 4, warmup: 0 },
          optimizer: "adamw",
          batches: { at: () => makeBatch(samples, 8) },
          onLine: (line) => void lines.push(line),
          ...{ origin, healthEvery },
        });
        free(loaded.model, device);
        return lines;
      };
      const every = await told(1), seldom = await told(2);
      assertEquals(seldom.map(({ sharedDrift }) => sharedDrift !== undefined), [false, true, false, true]);
      assertEquals([seldom[1].expertDrift, seldom[3].sharedSpread], [every[1].expertDrift, every[3].sharedSpread]);
      for (const [i, { sharedDrift }] of every.entries()) {
        assert(sharedDrift!.every((far, layer) => far > (every[i - 1]?.sharedDrift?.[layer] ?? 0)), `${sharedDrift}`);
      }
    })));
