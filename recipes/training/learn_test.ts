/** @file Learning coefficients: what moves, what does not, and what is kept. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { UserError } from "../../dsl/errors.ts";
import { add, atTree, iota, less, mapTree, mul, neg } from "../../dsl/mod.ts";
import { compile } from "../../backend/compile.ts";
import { allDevices, treeValues, withDevice } from "../../tests/devices.ts";
import { withTempDir } from "../../tests/support.ts";
import { tinyDense, tinyMixture, tinyModel, tinySamples } from "../../tests/fixtures/tiny.ts";
import { proveCausality } from "./causality.ts";
import { learn, type LearnOptions } from "./learn.ts";
import { denseConfig } from "../merge/folder.ts";
import { eachFfn } from "../merge/formula.ts";
import { softmaxOf } from "../merge/weights.ts";
import { batchesOf, type HostBatch, makeBatch } from "../model/batch.ts";
import { type Ffn, llama, type Memory, ownTokens, swiglu } from "../model/llama.ts";
import { evaluator } from "../model/loss.ts";
import { packBatch } from "../model/packing.ts";
import type { Moe } from "../model/moe.ts";
import { loadObjective, type Loss, type Objective, objectives } from "../objectives/mod.ts";
import { openTrainingFolder } from "../snapshots/training_folder.ts";
import { readLearnPosition } from "./kept.ts";
import type { TrainLine } from "./train.ts";

const samples = tinySamples(24), validation = batchesOf(tinySamples(6, 9), { batch: 3, seq: 8 });
const options = (name: string, more: Partial<LearnOptions> = {}): LearnOptions => ({
  objective: objectives[name],
  name,
  lambda: 0.25,
  schedule: { kind: "linear", rate: 0.3, steps: 6, warmup: 1 },
  batches: { at: (step) => makeBatch(samples.slice(step % 6 * 4, step % 6 * 4 + 4), 8) },
  validation,
  ...more,
});

for (const device of allDevices()) {
  Deno.test(`learn, ${device}: every objective gives coefficients; descent is never worse than uniform; no weight moves`, () =>
    withDevice(device, async (device) => {
      const mixture = tinyModel(tinyMixture(), device);
      const before = await treeValues(mixture.model, device);
      for (const [name, { kind }] of Object.entries(objectives)) {
        const { coefficients, learned, uniform, distance, budget } = await learn(mixture, device, options(name));
        assertEquals(coefficients.alpha.map((layer) => layer.length), [3, 3]);
        assertEquals(distance.length, 2);
        if (kind !== "measure") assert(learned <= uniform, name);
        assertEquals(kind === "loss", budget > 0);
        if (name === "xft") {
          assert(learned < uniform && Math.max(...distance) > 0.02, `${learned} of ${uniform}, ${distance}`);
          assertEquals(coefficients.lambda, 0.25);
        }
        if (name === "uniform") assert(learned === uniform && coefficients.alpha.flat().every((a) => a === 0));
        if (name === "router-frequency") {
          const [weights] = coefficients.alpha.map(softmaxOf), lambda = coefficients.lambda as number[];
          assert(weights.every((w) => w >= 0) && lambda.every((share) => share > 0 && share < 1));
        }
      }
      assertEquals(await treeValues(mixture.model, device), before);
    }));
}

// (The interpreter computes in f64, of which a snapshot keeps f32.)
for (const device of allDevices().filter((each) => each !== "interpreter")) {
  Deno.test(`learn, ${device}: interrupted or killed, it goes on to the same bits`, () =>
    withTempDir((folder) =>
      withDevice(device, async (device) => {
        const mixture = tinyModel(tinyMixture(), device), whole = await learn(mixture, device, options("xft-lambda"));
        const out = `${folder}/coefficients.json`, stop = new AbortController();
        const attempt = (resume: boolean, more: Partial<LearnOptions>) => {
          const how = { resume, overwrite: false, keep: 2, every: 2, note: () => {}, work: "learning" as const };
          const kept = openTrainingFolder(out, { objective: "xft-lambda" }, how);
          const onLine = (line: TrainLine): void => {
            kept.add({ ...line, stage: "learn" });
            more.onLine?.(line);
          };
          return learn(
            mixture,
            device,
            options("xft-lambda", { ...more, onLine, snapshots: kept.snapshots(device, readLearnPosition) }),
          );
        };
        // Killed in step 4: what was kept is of step 2. Then stopped by a signal: what is kept is of the step before it.
        const killed = ({ step }: TrainLine): void => {
          if (step === 4) throw new Error("killed");
        };
        await assertRejects(() => attempt(false, { onLine: killed }), Error, "killed");
        const stopped = ({ step, loss }: TrainLine): void => {
          if (step === 3 && loss !== undefined) stop.abort();
        };
        await assertRejects(() => attempt(true, { onLine: stopped, signal: stop.signal }), DOMException);
        const steps: number[] = [];
        const resumed = await attempt(true, { onLine: ({ step, loss }) => void (loss && steps.push(step)) });
        assertEquals(steps, [4, 5, 6]);
        assertEquals({ ...resumed, seconds: 0 }, { ...whole, seconds: 0 });
      })
    ));
}

Deno.test("learn: interrupted while it measures, it goes on from there: no step and no measurement is made twice", () =>
  withTempDir((folder) =>
    withDevice("cpu", async (device) => {
      const mixture = tinyModel(tinyMixture(), device), lines: TrainLine[] = [], steps: number[][] = [];
      const told = ({ seconds: _, tokensPerSecond: __, ...rest }: TrainLine): unknown => rest;
      const all = { vertices: true, lambdas: [0, 0.5], validateEvery: 2 };
      const onLine = (line: TrainLine): void => void lines.push(line);
      const whole = await learn(mixture, device, options("xft", { ...all, onLine }));
      // Interrupts in the middle of a look at the validation set: between its first batch and its second.
      const attempt = async (armedAt: (line: TrainLine) => boolean, resume: boolean): Promise<unknown> => {
        const stop = new AbortController(), made: number[] = [];
        const how = { resume, overwrite: false, keep: 2, every: 100, note: () => {}, work: "learning" as const };
        const kept = openTrainingFolder(`${folder}/c.json`, {}, how);
        let isArmed = armedAt({ step: -1, steps: 6 });
        const first: HostBatch = {
          ...validation[0],
          get labels() {
            if (isArmed) stop.abort();
            return validation[0].labels;
          },
        };
        const onLine = (line: TrainLine): void => {
          kept.add({ ...line, stage: "learn" });
          if (line.loss !== undefined) made.push(line.step);
          if (armedAt(line)) isArmed = true;
        };
        const more = { ...all, validation: [first, ...validation.slice(1)], onLine, signal: stop.signal };
        const run = learn(
          mixture,
          device,
          options("xft", { ...more, snapshots: kept.snapshots(device, readLearnPosition) }),
        );
        const result = await run.catch((error) => error);
        steps.push(made);
        const text = Deno.readTextFileSync(`${folder}/c.json.unfinished/metrics.jsonl`).trim();
        if (!stop.signal.aborted) {
          assertEquals(
            text.split("\n").map((line) => told(JSON.parse(line))),
            lines.map((line) => told({ ...line, stage: "learn" } as TrainLine)),
          );
        }
        return result;
      };
      assert(await attempt(({ step }) => step === -1, false) instanceof DOMException);
      assert(await attempt(({ step, loss }) => step === 4 && loss !== undefined, true) instanceof DOMException);
      assert(
        await attempt(({ step, validation }) => step === 6 && validation !== undefined, true) instanceof DOMException,
      );
      const resumed = await attempt(() => false, true) as typeof whole;
      assertEquals(steps, [[], [1, 2, 3, 4], [5, 6], []]);
      assertEquals({ ...resumed, seconds: 0 }, { ...whole, seconds: 0 });
    })
  ));

Deno.test("learn: with λ learned too, each layer has its own", () =>
  withDevice("interpreter", async (device) => {
    const { coefficients, step } = await learn(tinyModel(tinyMixture(), device), device, options("xft-lambda"));
    assert(step > 0 && Array.isArray(coefficients.lambda) && coefficients.lambda[0] !== coefficients.lambda[1]);
  }));

Deno.test("learn: with one λ learned, all layers share it; shared experts alone and each vertex are measured", () =>
  withDevice("interpreter", async (device) => {
    const mixture = tinyModel(tinyMixture(), device), { config, model } = mixture;
    const learned = await learn(mixture, device, options("xft-one-lambda", { vertices: true, lambdas: [0, 0.25, 1] }));
    const { lambda, alpha } = learned.coefficients;
    assert(learned.step > 0 && typeof lambda === "number" && lambda !== 0.25);
    assertEquals(alpha.length, config.layers);
    // A merge with λ = 1 is the model whose feed-forward blocks are the shared experts; at a vertex, expert i joins them.
    const measure = evaluator(denseConfig(config), device);
    const lossWith = async (block: (ffn: Moe) => Ffn): Promise<number> => {
      const dense = compile((given: typeof model) => eachFfn(given, block), device);
      return (await measure(await dense(model), validation)).nll;
    };
    const sharedOnly = await lossWith(({ shared }) => mapTree((w) => mul(w, 1), shared));
    assert(Math.abs(sharedOnly - learned.sharedOnly) < 1e-9);
    for (const [expert, loss] of learned.vertices.entries()) {
      const at = await lossWith(({ shared, experts }) =>
        mapTree((w, e) => add(mul(w, lambda), mul(e, 1 - lambda)), shared, atTree(experts, "expert", expert))
      );
      assert(Math.abs(at - loss) < 1e-6, `${at}, reported ${loss}`);
    }
    assertEquals(learned.vertices.length, config.experts - 1);
    // At the λ that learning begins with, and with the shared experts alone, the curve has the points known already.
    assertEquals(learned.lambdas.map(({ lambda }) => lambda), [0, 0.25, 1]);
    assertEquals(learned.lambdas.slice(1).map(({ loss }) => loss), [learned.uniform, learned.sharedOnly]);
    assert(Math.abs(learned.lambdas[0].loss - learned.uniform) > 1e-6);
  }));

Deno.test("learn: a model that sees the future is caught before anything is learned", () =>
  withDevice("interpreter", async (device) => {
    const { config, model } = tinyModel(tinyDense(), device);
    const prove = (memory: Memory) =>
      proveCausality((tokens) => llama(config, model, tokens, swiglu, { memory }).logits, validation[0], device);
    assert(await prove(ownTokens) > 1);
    const all: Memory = (key, value) => ({ ...ownTokens(key, value), keep: less(iota("key", key.shape.seq), 99) });
    await assertRejects(() => prove(all), UserError, "the model sees the future");
    // Packed rows are proven with the mask that they are learned with.
    const row = packBatch([tinySamples(3, 4, 6)], 20), seen: boolean[] = [];
    const packed = (memory?: Memory) =>
      proveCausality(
        (tokens, packing) => {
          seen.push(packing !== undefined);
          return llama(config, model, tokens, swiglu, { packing, memory }).logits;
        },
        row,
        device,
      );
    assert(await packed() > 1 && seen.every((each) => each) && seen.length > 0);
    await assertRejects(() => packed(all), UserError, "the model sees the future");
  }));

Deno.test("learn: the start is kept where every step makes it worse, and a small budget is named", () =>
  withDevice("interpreter", async (device) => {
    const notes: string[] = [];
    const loss: Loss = (...args) => neg((objectives.xft as Objective & { kind: "loss" }).loss(...args));
    const worse = { kind: "loss", about: "away from the labels", loss } as const;
    const schedule = { kind: "constant", rate: 0.01, steps: 4, warmup: 0 } as const;
    const result = await learn(
      tinyModel(tinyMixture(), device),
      device,
      options("mine", { objective: worse, schedule, onNote: (note) => void notes.push(note) }),
    );
    assertEquals([result.step, result.learned, Math.max(...result.distance)], [0, result.uniform, 0]);
    assert(notes[0].includes("0.0400") && notes[0].includes("close to the uniform"));
  }));

Deno.test("learn: an objective that is no number ends it with the step, the layer and the samples", () =>
  withDevice("cpu", async (device) => {
    const schedule = { kind: "constant", rate: 1e39, steps: 4, warmup: 0 } as const;
    const batches = {
      at: (step: number) => ({ ...makeBatch(samples.slice(0, 4), 8), sources: [`code.jsonl:${step}`] }),
    };
    const run = (): Promise<unknown> =>
      learn(tinyModel(tinyMixture(), device), device, options("xft", { schedule, batches }));
    const { message } = await assertRejects(run, UserError);
    assertMatch(message, /^step 2 of 4: the objective is NaN; the step before left no numbers in α of layer 0\./);
    assertMatch(message, /The step's samples: code\.jsonl:1\./);
  }));

Deno.test("objectives: by name, by file, and what is neither is refused", () =>
  withTempDir(async (folder) => {
    assertEquals(await loadObjective("xft"), objectives.xft);
    await assertRejects(() => loadObjective("nonsense"), UserError, "xft, xft-lambda");
    Deno.writeTextFileSync(`${folder}/mine.ts`, "export default (coefficients) => coefficients.lambda[0];\n");
    assertEquals((await loadObjective(`${folder}/mine.ts`)).kind, "loss");
    Deno.writeTextFileSync(`${folder}/none.ts`, "export const loss = 1;\n");
    await assertRejects(() => loadObjective(`${folder}/none.ts`), UserError, "default export");
    await assertRejects(() => loadObjective(`${folder}/absent.ts`), UserError, "cannot be loaded");
  }));
