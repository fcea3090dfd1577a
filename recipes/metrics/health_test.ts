/** @file A mixture's health: distances between experts as written down, from where they were, and warnings when due. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { compile, free, values } from "../../backend/compile.ts";

import { nodeOf } from "../../dsl/tensor.ts";
import { allDevices, treeValues, withDevice } from "../../tests/devices.ts";
import { withTempDir } from "../../tests/support.ts";
import { tinyMixture, tinyModel, tinySamples } from "../../tests/fixtures/tiny.ts";
import { healthWarnings, healthWatch, movedFrom, spread } from "./health.ts";
import { makeBatch, toBatch } from "../model/batch.ts";
import { lossFor } from "../model/loss.ts";
import { saveModel } from "../model/parameters.ts";

const config = tinyMixture(), routed = config.experts - 1;

for (const name of allDevices()) {
  Deno.test(`health, ${name}: how far experts are apart, and how far they have moved`, () =>
    withDevice(name, (device) =>
      withTempDir(async (folder) => {
        const mixture = tinyModel(config, device), weights = await treeValues(mixture.model, device);
        const run = compile(spread, device), out = await run(mixture.model);
        const got = await values(out.experts, device, "layer", "expert"), shared = await values(out.shared, device);
        for (let layer = 0; layer < config.layers; layer++) {
          const far = new Array<number>(routed + 1).fill(0);
          let size = 0;
          for (const matrix of ["gate", "up", "down"]) {
            const all = weights.get(`layers.${layer}.ffn.experts.${matrix}`)!, count = all.length / routed;
            const alone = weights.get(`layers.${layer}.ffn.shared.${matrix}`)!;
            for (let i = 0; i < count; i++) {
              const each = Array.from({ length: routed }, (_, expert) => all[expert * count + i]);
              const middle = each.reduce((a, b) => a + b) / routed;
              each.forEach((x, expert) => far[expert] += (x - middle) ** 2);
              far[routed] += (alone[i] - middle) ** 2;
              size += middle ** 2;
            }
          }
          const want = far.map((each) => Math.sqrt(each / size));
          [...got.slice(layer * routed, (layer + 1) * routed), shared[layer]].forEach((x, i) =>
            assert(Math.abs(x - want[i]) < 1e-4 * want[i], `${x}, expected ${want[i]}`)
          );
        }

        if (name === "interpreter") return;
        await saveModel(`${folder}/moe`, mixture, device);
        assertEquals(
          await movedFrom(`${folder}/moe`, mixture, device),
          Array(config.layers).fill(Array(routed + 1).fill(0)),
        );
        // Everything twice as large: moved by its own norm. The first expert's gate alone: by less.
        const { gate } = mixture.model.layers[1].ffn.experts, place = nodeOf(gate);
        const before = await device.read(place) as Float32Array;
        device.write(place, before.map((x, i) => i < before.length / routed ? 2 * x : x));
        const [still, moved] = await movedFrom(`${folder}/moe`, mixture, device);
        assertEquals(still, Array(routed + 1).fill(0));
        assert(moved[1] > 0.1 && moved[1] < 1, `${moved}`);
        assertEquals([moved[0], ...moved.slice(2)], Array(routed).fill(0));
        free(out, device);
      })));
}

Deno.test("health: padding has no part in load, importance and balance, and the evaluation loss has no balance", () =>
  withDevice("interpreter", async (device) => {
    const { model } = tinyModel(config, device), samples = tinySamples(3, 4, 5);
    const losses = compile((batch: ReturnType<typeof toBatch>) => {
      const { loss: _, ...rest } = lossFor(config)(model, batch, null);
      return rest;
    }, device);
    const [tight, wide] = [await losses(toBatch(makeBatch(samples, 8))), await losses(toBatch(makeBatch(samples, 16)))];
    const of = async ({ balance, health, nll }: typeof tight): Promise<number[]> => [
      ...await values(balance!, device),
      ...await values(nll, device),
      ...await values(health!.load, device),
      ...await values(health!.importance, device),
      ...await values(health!.entropy, device),
      ...await values(health!.shared, device),
    ];
    const [want, got] = [await of(tight), await of(wide)];
    got.forEach((x, i) => assert(Math.abs(x - want[i]) < 1e-9, `${x}, expected ${want[i]}`));
    const tokens = samples.reduce((total, { ids }) => total + ids.length, 0);
    const load = await values(tight.health!.load, device, "layer", "expert");
    assertEquals([...load].slice(0, routed).reduce((a, b) => a + b), tokens * (config.active - 1));
  }));

Deno.test("health: warnings say which layer and expert, and are silent where all is well", () => {
  const settings = { ...config, experts: 8, active: 3, layers: 2 }, even = Array(7).fill(1 / 7);
  const line = (load: number[], gate = 0.6) => ({ load: [even, load], sharedGate: [0.6, gate], routerEntropy: [1, 1] });
  assertEquals(healthWarnings([line(even)], settings), []);
  assertEquals(healthWarnings([], settings), []);
  const hungry = [0.001, ...Array(6).fill(0.999 / 6)];
  assertMatch(healthWarnings([line(hungry)], settings).join(), /^layer 1: expert 0 starves/);
  // Starved in one step, fed in the next: on average it is not hungry.
  assertEquals(healthWarnings([line(hungry), line(even)], settings), []);
  assertMatch(
    healthWarnings([line([0.5, 0.5, 0, 0, 0, 0, 0])], settings).join(),
    /^layer 1: the router has collapsed, .* 2 /,
  );
  assertMatch(healthWarnings([line(even, 0.999)], settings).join(), /shared expert does all the work/);
  assertMatch(healthWarnings([line(even, 0.001)], settings).join(), /shared expert does nothing/);
  const alike = { ...line(even), expertSpread: [even.map(() => 1e-6), even] };
  assertMatch(healthWarnings([alike], settings).join(), /^layer 0: the experts are still alike/);
});

Deno.test("health: a watch says a warning when it begins, not each time, and again when it comes back", () => {
  const settings = { ...config, experts: 8, active: 3, layers: 1 }, even = Array(7).fill(1 / 7), said: string[] = [];
  const watch = healthWatch(settings, (warning) => said.push(warning));
  const window = (gate: number): number => {
    for (const more of [0, 0.001]) watch.see({ load: [even], sharedGate: [gate + more], routerEntropy: [1] });
    watch.warn();
    return said.splice(0).length;
  };
  assertEquals([0.6, 0.993, 0.995, 0.6, 0.994].map(window), [0, 1, 0, 0, 1]);
  watch.warn();
  assertEquals(said, []);
});
