/** @file Optimisers against trajectories of the reference implementations: torch, transformers, the papers. */
import { assert, assertEquals } from "@std/assert";
import { compile, put, values } from "../../backend/compile.ts";
import { mul, type Scalar, type Tensor, tensor, valueAndGrad } from "../../dsl/mod.ts";
import { openInterpreter } from "../../backend/interpreter.ts";
import { allDevices, withDevice } from "../../tests/devices.ts";
import { golden } from "../../tests/support.ts";
import { tinyDense, tinyModel, tinySamples } from "../../tests/fixtures/tiny.ts";
import { makeBatch, toBatch } from "../model/batch.ts";
import { seeded } from "../random.ts";
import { layout, type Leaf } from "../model/layout.ts";
import { lossFor } from "../model/loss.ts";
import type { Model } from "../model/llama.ts";
import {
  adafactor,
  adamw,
  type AdamWState,
  averageOf,
  budget,
  clip,
  ema,
  type EmaState,
  grouped,
  type GroupedState,
  lion,
  muon,
  type Optimizer,
  rateAt,
  sgd,
  type SgdState,
} from "./mod.ts";

type Parameters = { experts: Tensor<"expert" | "hidden" | "embed">; norm: Tensor<"embed"> };
const leaves: Leaf[] = [
  {
    path: "experts",
    shape: { expert: 2, hidden: 3, embed: 4 },
    names: [],
    each: ["expert"],
    rows: ["hidden"],
    columns: ["embed"],
  },
  { path: "norm", shape: { embed: 4 }, names: [], each: [], rows: ["embed"], columns: [] },
];
const random = seeded(11);
const numbers = (count: number, scale: number): Float64Array =>
  Float64Array.from({ length: count }, () => scale * random.normal());
const tree = (experts: Float64Array, norm: Float64Array): Parameters => ({
  experts: tensor({ expert: 2, hidden: 3, embed: 4 }, experts),
  norm: tensor({ embed: 4 }, norm),
});
const start = [numbers(24, 1), numbers(4, 1)] as const;
// One gradient is large, so that the update's clipping is seen, and one is zero.
const steps = [0.1, 30, 0, 0.1].map((scale) => [numbers(24, scale), numbers(4, scale)] as const);
const rates = [0.1, 0.05, 0.1, 0.02];

// Adam's 1 − β₂ᵗ is 0.001 after the first step, of which f32 (where the references compute it in f64) keeps four digits.
const close = (got: ArrayLike<number>, want: ArrayLike<number>): void => {
  assertEquals(got.length, want.length);
  for (let i = 0; i < want.length; i++) {
    assert(Math.abs(got[i] - want[i]) <= 1e-5 * Math.max(1, Math.abs(want[i])), `${i}: ${got[i]}, expected ${want[i]}`);
  }
};

/** Trajectories of reference implementations (`tests/golden/optim/make.py`), by name, by parameter, step by step. */
type Trajectories = Readonly<Record<string, Readonly<Record<string, readonly (readonly number[])[]>>>>;
const { rates: goldenRates, ...trajectories }: { rates: readonly number[] } & Trajectories = JSON.parse(
  Deno.readTextFileSync(golden("optim/trajectories.json")),
);

type Pair = { matrix: Tensor<"hidden" | "embed">; vector?: Tensor<"embed"> };
const sizes = { matrix: { hidden: 3, embed: 4 }, tall: { hidden: 6, embed: 2 }, vector: { embed: 4 } } as const;
const pairLayout = (matrix: "matrix" | "tall"): Leaf[] => [
  { path: "matrix", shape: sizes[matrix], names: [], each: [], rows: ["hidden"], columns: ["embed"] },
  { path: "vector", shape: sizes.vector, names: [], each: [], rows: ["embed"], columns: [] },
];
const wave = (count: number, seed: number): Float64Array =>
  Float64Array.from({ length: count }, (_, i) => Math.sin(1.3 * i + 0.7 * seed) + 0.3 * Math.cos(2.1 * i * seed));
/** The formula of make.py: one gradient is large, so that the update's clipping is seen, and one is zero. */
const slope = (count: number, seed: number, step: number): Float64Array =>
  wave(count, seed + 10 * (step + 1)).map((x) => x * ({ 3: 30, 5: 0 }[step] ?? 0.1 + 0.05 * step));

const both = (xs: [Float64Array, Float64Array]): Pair => ({
  matrix: tensor(sizes.matrix, xs[0]),
  vector: tensor(sizes.vector, xs[1]),
});
const [matrixLayout, tallLayout] = [pairLayout("matrix"), pairLayout("tall")];
const references: readonly { name: string; optimizer: Optimizer<unknown>; rate?: number; tall?: boolean }[] = [
  { name: "adafactor", optimizer: adafactor(matrixLayout) },
  { name: "adafactor, decay", optimizer: adafactor(matrixLayout, { weightDecay: 0.1 }) },
  {
    name: "adafactor, relative",
    optimizer: adafactor(matrixLayout, { relativeStep: true, scaleParameter: true }),
    rate: 1,
  },
  { name: "adamw", optimizer: adamw() },
  { name: "adamw, decay", optimizer: adamw({ weightDecay: 0.1 }) },
  { name: "sgd", optimizer: sgd() },
  { name: "sgd, momentum", optimizer: sgd({ momentum: 0.9, weightDecay: 0.1 }) },
  { name: "sgd, nesterov", optimizer: sgd({ momentum: 0.9, nesterov: true }) },
  { name: "lion", optimizer: lion({ weightDecay: 0.1 }) },
  { name: "muon", optimizer: muon(matrixLayout, { weightDecay: 0.1 }) },
  { name: "muon", optimizer: muon(tallLayout, { weightDecay: 0.1 }), tall: true },
];

for (const name of allDevices()) {
  for (const { name: reference, optimizer, rate, tall } of references) {
    Deno.test(`optim, ${name}: ${reference}${tall ? " of a tall matrix" : ""} follows the reference's trajectory`, () =>
      withDevice(name, async (device) => {
        const run = compile(
          (p: Pair, g: Pair, s: unknown, rate: Scalar) => optimizer.step(p, g, s, rate),
          device,
          { donate: [0, 2] },
        );
        const want = trajectories[reference],
          shape = sizes[tall ? "tall" : "matrix"],
          count = shape.hidden * shape.embed;
        // Where the reference has a matrix alone, the vector beside it is not looked at.
        const make = (values: (count: number, seed: number) => Float64Array): Pair => ({
          matrix: tensor(shape, values(count, tall ? 2 : 1)),
          vector: tensor(sizes.vector, values(4, 2)),
        });
        let parameters = put(make(wave), device),
          state = await compile((p: Pair) => optimizer.init(p), device)(parameters);
        for (const [i, each] of want[tall ? "tall" : "matrix"].entries()) {
          const gradient = put(make((count, seed) => slope(count, seed, i)), device);
          ({ parameters, state } = await run(parameters, gradient, state, tensor({}, [rate ?? goldenRates[i]])));
          close(await values(parameters.matrix, device), each);
          if (want.vector) close(await values(parameters.vector!, device), want.vector[i]);
        }
      }));
  }

  Deno.test(`optim, ${name}: in Adafactor and Muon each expert is a matrix of its own`, () =>
    withDevice(name, async (device) => {
      for (const make of [adafactor, muon] as const) {
        const stacked = make(leaves) as Optimizer<unknown>, alone = make(matrixLayout) as Optimizer<unknown>;
        const step = <P>(optimizer: Optimizer<unknown>) =>
          compile((p: P, g: P, rate: Scalar) => optimizer.step(p, g, optimizer.init(p), rate).parameters, device);
        const rate = tensor({}, [0.1]), all = await step<Parameters>(stacked)(tree(...start), tree(...steps[1]), rate);
        const got = await values(all.experts, device);
        for (const expert of [0, 1]) {
          const part = (x: Float64Array): Float64Array => x.slice(12 * expert, 12 * expert + 12);
          const one = await step<Pair>(alone)(
            both([part(start[0]), start[1]]),
            both([part(steps[1][0]), steps[1][1]]),
            rate,
          );
          close(got.slice(12 * expert, 12 * expert + 12), await values(one.matrix, device));
        }
      }
    }));

  Deno.test(`optim, ${name}: a group has its own rate, a frozen one keeps still and has no state; EMA follows`, () =>
    withDevice(name, async (device) => {
      const factors: Record<string, number> = { experts: 2, norm: 0 }, decay = 0.5;
      const optimizer = ema(grouped(adamw(), (path) => factors[path]), decay);
      const run = compile(
        (p: Parameters, g: Parameters, s: EmaState<GroupedState<AdamWState>>, rate: Scalar) =>
          optimizer.step(p, g, s, rate),
        device,
      );
      const plain = compile(
        (p: Parameters, g: Parameters, s: AdamWState, rate: Scalar) => adamw().step(p, g, s, rate),
        device,
      );
      let one = put(tree(...start), device), state = await compile((p: Parameters) => optimizer.init(p), device)(one);
      let other = one, otherState = await compile((p: Parameters) => adamw().init(p), device)(other);
      assertEquals(Object.keys(state.inner), ["2"]);
      assertEquals(Object.keys(state.inner[2].mean), ["experts"]);
      let mean = [...start[0]];
      for (const [i, each] of steps.entries()) {
        const gradient = put(tree(...each), device);
        ({ parameters: one, state } = await run(one, gradient, state, tensor({}, [rates[i]])));
        ({ parameters: other, state: otherState } = await plain(
          other,
          gradient,
          otherState,
          tensor({}, [2 * rates[i]]),
        ));
        const now = await values(one.experts, device), past = Math.min(decay, (2 + i) / (11 + i));
        mean = mean.map((x, at) => past * x + (1 - past) * now[at]);
        close(now, await values(other.experts, device));
      }
      close(await values(one.norm, device), start[1]);
      close(await values(averageOf(one, state).experts, device), mean);
    }));

  Deno.test(`optim, ${name}: one SGD step of a tied model is the f64 step`, () =>
    withDevice(name, async (device) => {
      // The embedding's gradient comes from both ends of the model; updated in place, it must be read before it is written.
      const config = tinyDense({ tie_word_embeddings: true }), batch = toBatch(makeBatch(tinySamples(3, 5, 6), 6));
      const step = (model: Model, rate: Tensor<never>) => {
        const { grad } = valueAndGrad((p: Model) => lossFor(config)(p, batch, null).loss)(model);
        return sgd().step(model, grad, {} as SgdState, rate).parameters;
      };
      const run = compile(step, device, { donate: [0] });
      const got = await run(tinyModel(config, device).model, tensor({}, [0.5]));
      const oracle = openInterpreter(),
        want = await compile(step, oracle)(tinyModel(config, oracle).model, tensor({}, [0.5]));
      close(await values(got.embedding, device), await values(want.embedding, oracle));
      close(await values(got.layers[0].ffn.down, device), await values(want.layers[0].ffn.down, oracle));
    }));
}

Deno.test("optim: the clipped gradient has the limit's norm, a small one is left alone", async () => {
  const device = openInterpreter(), run = compile((g: Parameters, limit: number) => clip(g, limit), device);
  const { gradient, norm } = await run(tree(...steps[1]), 2);
  const total = Math.hypot(...await values(gradient.experts, device), ...await values(gradient.norm, device));
  assert(Math.abs(total - 2) < 1e-4 && (await values(norm, device))[0] > 2);
  const small = await compile((g: Parameters) => clip({ ...g, norm: mul(g.norm, 1) }, 1000), device)(tree(...steps[1]));
  close(await values(small.gradient.experts, device), steps[1][0]);
});

Deno.test("optim: schedules rise, fall to their end, and add up to their budget", () => {
  const linear = { kind: "linear", rate: 1, steps: 10, warmup: 4 } as const;
  const all = Array.from({ length: 10 }, (_, i) => rateAt(linear, i));
  assertEquals(all.slice(0, 5), [0.25, 0.5, 0.75, 1, 1]);
  assert(all.slice(4).every((rate, i, list) => rate > 0 && (i === 0 || rate < list[i - 1])));
  assert(Math.abs(budget(linear) - all.reduce((a, b) => a + b)) < 1e-12);
  assertEquals(rateAt({ ...linear, kind: "constant" }, 9), 1);
  const stable = Array.from({ length: 10 }, (_, i) => rateAt({ ...linear, kind: "wsd", decay: 4 }, i));
  assertEquals(stable, [0.25, 0.5, 0.75, 1, 1, 1, 1, 0.75, 0.5, 0.25]);
  assert(Math.abs(rateAt({ ...linear, kind: "cosine" }, 7) - 0.5) < 1e-12);
  assertEquals(layout(tinyDense()).filter(({ columns }) => columns.length === 0).length, 5);
});
