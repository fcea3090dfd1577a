/** @file Training, in small: losses fall, accumulated steps equal whole ones, and what goes wrong is said. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { free } from "../../backend/compile.ts";
import { open } from "../../backend/open.ts";
import { UserError } from "../../dsl/errors.ts";
import { allDevices, treeValues, withDevice } from "../../tests/devices.ts";
import { tinyDense, tinyMixture, tinyModel, tinySamples } from "../../tests/fixtures/tiny.ts";
import { batchesOf, makeBatch } from "../model/batch.ts";
import { train, type TrainLine, type TrainOptions } from "./train.ts";

const samples = tinySamples(24), validation = batchesOf(tinySamples(6, 9), { batch: 3, seq: 8 });
const batches = { at: (step: number) => makeBatch(samples.slice(step * 4 % 24, step * 4 % 24 + 4), 8) };
const options = (steps: number, rate: number, more: Partial<TrainOptions> = {}): TrainOptions => ({
  schedule: { kind: "linear", rate, steps, warmup: 1 },
  batches,
  validation,
  optimizer: "adamw",
  ...more,
});

for (const name of allDevices()) {
  for (const optimizer of ["adamw", "adafactor"] as const) {
    Deno.test(`train, ${name}: a dense model learns with ${optimizer}`, () =>
      withDevice(name, async (device) => {
        const lines: TrainLine[] = [];
        const more = { optimizer, onLine: (line: TrainLine) => void lines.push(line) };
        const { before, after, tokens, loaded } = await train(
          tinyModel(tinyDense(), device, 1, 5),
          device,
          options(12, 0.03, more),
        );
        assert(after! < before! - 0.3, `${before} → ${after}`);
        assertEquals(lines.filter(({ loss }) => loss !== undefined).length, 12);
        assert(tokens > 0);
        free(loaded.model, device);
      }));
  }

  Deno.test(`train, ${name}: a mixture learns, with noise in its routers, and reports their health`, () =>
    withDevice(name, async (device) => {
      const lines: TrainLine[] = [];
      const config = tinyMixture({ router_noise: true });
      const more = { onLine: (line: TrainLine) => void lines.push(line), clip: 1 };
      const { before, after, loaded } = await train(tinyModel(config, device, 1, 5), device, options(10, 0.03, more));
      assert(after! < before! - 0.2, `${before} → ${after}`);
      const { load, routerEntropy, sharedGate, norm } = lines[1];
      for (const shares of load!) assert(Math.abs(shares.reduce((a, b) => a + b) - 1) < 1e-6);
      for (const entropy of routerEntropy!) assert(entropy > 0 && entropy <= Math.log(3) + 1e-6);
      for (const gate of sharedGate!) assert(gate > 0 && gate < 1);
      assert(norm! > 0);
      free(loaded.model, device);
    }));

  Deno.test(`train, ${name}: two accumulated batches make the step of both together`, () =>
    withDevice(name, async (device) => {
      const halves = { at: (step: number) => makeBatch(samples.slice(step * 2, step * 2 + 2), 8) };
      const step = { optimizer: "sgd", validation: undefined } as const;
      // How even experts' loads are is a matter of each batch: a balance loss of both together is another one.
      for (const config of [tinyDense(), tinyMixture({ balance_loss_weight: 0 })]) {
        const run = (more: Partial<TrainOptions>) =>
          train(tinyModel(config, device), device, options(2, 0.1, { ...step, ...more }));
        const whole = await run({}), parts = await run({ batches: halves, accumulate: 2 });
        const want = await treeValues(whole.loaded.model, device);
        for (const [path, got] of await treeValues(parts.loaded.model, device)) {
          const other = want.get(path)!;
          got.forEach((x, i) => assert(Math.abs(x - other[i]) < 1e-6, `${path}: ${x}, expected ${other[i]}`));
        }
      }
    }));

  Deno.test(`train, ${name}: a running mean of the weights is what is left; parts have rates of their own, or none`, () =>
    withDevice(name, async (device) => {
      const run = async (more: Partial<TrainOptions>) => {
        const { loaded, after } = await train(tinyModel(tinyDense(), device, 1, 5), device, options(6, 0.03, more));
        const weights = await treeValues(loaded.model, device);
        free(loaded.model, device);
        return { weights, after: after! };
      };
      const plain = await run({}), none = await run({ ema: 0 }), mean = await run({ ema: 0.9 });
      assertEquals(none.weights, plain.weights);
      assert(mean.after > plain.after, "the mean is behind the last weights");
      const start = tinyModel(tinyDense(), device, 1, 5), first = await treeValues(start.model, device);
      const frozen = (await run({ rates: { "ffn.gate": 0, norm: 2 } })).weights;
      for (const [path, values] of frozen) {
        const same = values.every((x, i) => x === first.get(path)![i]);
        assertEquals(same, path.includes("ffn.gate"), path);
      }
    }));

  Deno.test(`train, ${name}: checkpointed layers make the same steps`, () =>
    withDevice(name, async (device) => {
      for (const config of [tinyDense(), tinyMixture()]) {
        const step = { optimizer: "sgd", validation: undefined } as const;
        const run = (checkpoint: boolean) =>
          train(tinyModel(config, device), device, options(2, 0.1, { ...step, checkpoint }));
        const want = await treeValues((await run(false)).loaded.model, device);
        for (const [path, got] of await treeValues((await run(true)).loaded.model, device)) {
          const other = want.get(path)!;
          got.forEach((x, i) => assert(Math.abs(x - other[i]) < 2e-6, `${path}: ${x}, expected ${other[i]}`));
        }
      }
    }));

  Deno.test(`train, ${name}: a loss that is no number ends it in words`, () =>
    withDevice(name, async (device) => {
      await assertRejects(
        () => train(tinyModel(tinyDense(), device), device, options(4, 1e30, { optimizer: "sgd" })),
        UserError,
        "diverged",
      );
    }));
}

Deno.test("train: the signal ends it between two steps", () =>
  withDevice("interpreter", async (device) => {
    const controller = new AbortController();
    const more = { signal: controller.signal, onLine: () => controller.abort() };
    await assertRejects(() => train(tinyModel(tinyDense(), device), device, options(4, 0.1, more)), DOMException);
  }));

Deno.test("train: what an interrupt leaves is kept between two steps, and not where the device ends one in its middle", async () => {
  const interrupted = async (endsSteps: boolean): Promise<number[]> => {
    const stop = new AbortController(), kept: number[] = [];
    using device = await open("cpu", endsSteps ? { signal: stop.signal } : {});
    const more: Partial<TrainOptions> = {
      signal: stop.signal,
      snapshots: {
        every: 100,
        save: ({ position }) => Promise.resolve(void kept.push(position.step)),
        restore: () => undefined,
      },
      batches: {
        at(step) {
          if (step === 2) stop.abort();
          return batches.at(step);
        },
      },
    };
    await assertRejects(() => train(tinyModel(tinyDense(), device), device, options(4, 0.1, more)), DOMException);
    return kept;
  };
  assertEquals([await interrupted(false), await interrupted(true)], [[3], []]);
});

Deno.test("train: an accumulated step is finished where the signal comes in its middle", () =>
  withDevice("interpreter", async (device) => {
    const controller = new AbortController(), steps: number[] = [];
    const more: Partial<TrainOptions> = {
      accumulate: 2,
      validation: [],
      signal: controller.signal,
      batches: {
        at(index) {
          if (index === 3) controller.abort();
          return batches.at(index);
        },
      },
      onLine: ({ step }) => void steps.push(step),
    };
    await assertRejects(() => train(tinyModel(tinyDense(), device), device, options(4, 0.1, more)), DOMException);
    assertEquals(steps, [1, 2]);
  }));
