/** @file Distances between experts and from the dense block: as written down, and told at the steps asked for. */
import { assert, assertEquals } from "@std/assert";
import { free } from "../../backend/compile.ts";
import { nodeOf } from "../../dsl/tensor.ts";
import { allDevices, treeValues, withDevice } from "../../tests/devices.ts";
import { withTempDir } from "../../tests/support.ts";
import { tinyMixture, tinyModel, tinySamples } from "../../tests/fixtures/tiny.ts";
import { distancesOf, SAMPLED_ROWS } from "./expert_distances.ts";
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
        using measures = distancesOf(config, device, `${folder}/moe`);
        const found = await measures.exact(now.model), { expertDrift, sharedDrift, expertSpread } = found;
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
        // Matrices of fewer rows than are sampled: every row is looked at.
        const sampled = await measures.sampled(now.model);
        for (const name of ["expertSpread", "sharedSpread", "expertDrift", "sharedDrift"] as const) {
          const [got, want] = [sampled[name]!.flat(), found[name]!.flat()];
          got.forEach((x, i) => assert(Math.abs(x - want[i]) < 1e-5 * want[i], `${name}: ${x}, expected ${want[i]}`));
        }
        for (const measure of [measures.exact, measures.sampled]) {
          assertEquals((await measure(before.model)).sharedDrift, Array(config.layers).fill(0));
        }
        free([before.model, now.model], device);
      })));
}

Deno.test("distances of some rows are those of all, to a few percent, and cost no look at the others", () =>
  withDevice("cpu", async (device) => {
    const config = tinyMixture({ hidden_size: 96, intermediate_size: 8 * SAMPLED_ROWS + 5, head_dim: 24 });
    const { model } = tinyModel(config, device);
    using measures = distancesOf(config, device);
    const [all, some] = [await measures.exact(model), await measures.sampled(model)];
    for (const name of ["expertSpread", "sharedSpread"] as const) {
      const [got, want] = [some[name]!.flat(), all[name]!.flat()];
      got.forEach((x, i) => assert(Math.abs(x - want[i]) < 0.05 * want[i], `${name}: ${x}, expected ${want[i]}`));
    }
    assertEquals(some.expertDrift, undefined);
    // A row that is not looked at, of a shared expert: the exact measure alone sees it.
    const place = nodeOf(model.layers[0].ffn.shared.gate), weights = await device.read(place) as Float32Array;
    device.write(place, weights.map((x, i) => i >= 96 && i < 2 * 96 ? 100 : x));
    assert((await measures.exact(model)).sharedSpread![0] > 2 * all.sharedSpread![0]);
    assertEquals(await measures.sampled(model), some);
    free(model, device);
  }));

Deno.test("distances are told at every step or as seldom as asked, and grow from where the experts began", () =>
  withDevice("cpu", (device) =>
    withTempDir(async (folder) => {
      const samples = tinySamples(8), origin = `${folder}/moe`;
      await saveModel(origin, tinyModel(config, device), device);
      const told = async (healthEvery?: number): Promise<TrainLine[]> => {
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
      const every = await told(), seldom = await told(2);
      assertEquals(seldom.map(({ sharedDrift }) => sharedDrift !== undefined), [false, true, false, true]);
      assertEquals([seldom[1].expertDrift, seldom[3].sharedSpread], [every[1].expertDrift, every[3].sharedSpread]);
      for (const [i, { sharedDrift }] of every.entries()) {
        assert(sharedDrift!.every((far, layer) => far > (every[i - 1]?.sharedDrift?.[layer] ?? 0)), `${sharedDrift}`);
      }
    })));
