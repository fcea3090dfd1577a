/** @file Optimisers against the published formulas, written a second time on plain arrays. */
import { assert, assertEquals } from "@std/assert";
import { compile, put, values } from "../../backend/compile.ts";
import { mul, type Tensor, tensor, valueAndGrad } from "../../dsl/mod.ts";
import { openInterpreter } from "../../backend/interpreter.ts";
import { allDevices, withDevice } from "../../tests/devices.ts";
import { tinyDense, tinyModel, tinySamples } from "../../tests/tiny.ts";
import { makeBatch, toBatch } from "../model/batch.ts";
import { seeded } from "../random.ts";
import { layout, type Leaf } from "../model/layout.ts";
import { lossFor } from "../model/loss.ts";
import type { Model } from "../model/llama.ts";
import {
  adafactor,
  type AdafactorState,
  adamw,
  type AdamWState,
  budget,
  clip,
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

const mean = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length;
const close = (got: ArrayLike<number>, want: ArrayLike<number>): void => {
  assertEquals(got.length, want.length);
  for (let i = 0; i < want.length; i++) {
    assert(Math.abs(got[i] - want[i]) <= 3e-6 * Math.max(1, Math.abs(want[i])), `${i}: ${got[i]}, expected ${want[i]}`);
  }
};

/** As transformers' Adafactor computes it (scale_parameter and relative_step off), for one tensor of rows × columns. */
function adafactorReference(w: number[], gradients: readonly (readonly number[])[], columns: number): number[] {
  const rows = w.length / columns, isMatrix = columns < w.length;
  let row = new Array<number>(rows).fill(0), column = new Array<number>(columns).fill(0), all = w.map(() => 0);
  gradients.forEach((g, i) => {
    const beta = 1 - (i + 1) ** -0.8, squares = g.map((x) => x * x + 1e-30);
    row = row.map((x, r) => beta * x + (1 - beta) * mean(squares.slice(r * columns, (r + 1) * columns)));
    column = column.map((x, c) => beta * x + (1 - beta) * mean(row.map((_, r) => squares[r * columns + c])));
    all = all.map((x, at) => beta * x + (1 - beta) * squares[at]);
    let update = g.map((x, at) =>
      isMatrix
        ? x / Math.sqrt(row[Math.floor(at / columns)] / mean(row)) / Math.sqrt(column[at % columns])
        : x / Math.sqrt(all[at])
    );
    const size = Math.max(1, Math.sqrt(mean(update.map((x) => x * x))));
    update = update.map((x) => x / size);
    w = w.map((x, at) => x - rates[i] * update[at]);
  });
  return w;
}

for (const name of allDevices()) {
  Deno.test(`optim, ${name}: Adafactor is transformers', each expert a matrix of its own`, () =>
    withDevice(name, async (device) => {
      const optimizer = adafactor(leaves);
      const run = compile(
        (p: Parameters, g: Parameters, s: AdafactorState, rate: Tensor<never>) => optimizer.step(p, g, s, rate),
        device,
      );
      let parameters = put(tree(...start), device),
        state = await compile((p: Parameters) => optimizer.init(p), device)(parameters);
      for (const [i, gradient] of steps.entries()) {
        ({ parameters, state } = await run(parameters, put(tree(...gradient), device), state, tensor({}, [rates[i]])));
      }
      const expert = (k: number): number[] =>
        adafactorReference(
          [...start[0].slice(12 * k, 12 * k + 12)],
          steps.map(([g]) => [...g.slice(12 * k, 12 * k + 12)]),
          4,
        );
      close(await values(parameters.experts, device), [...expert(0), ...expert(1)]);
      close(await values(parameters.norm, device), adafactorReference([...start[1]], steps.map(([, g]) => [...g]), 4));
    }));

  Deno.test(`optim, ${name}: AdamW follows its formula, decay included`, () =>
    withDevice(name, async (device) => {
      const optimizer = adamw({ weightDecay: 0.1 });
      const run = compile(
        (p: Parameters, g: Parameters, s: AdamWState, rate: Tensor<never>) => optimizer.step(p, g, s, rate),
        device,
        { donate: [0, 2] },
      );
      let parameters = put(tree(...start), device),
        state = await compile((p: Parameters) => optimizer.init(p), device)(parameters);
      let w = [...start[0]], m = w.map(() => 0), v = w.map(() => 0);
      for (const [i, gradient] of steps.entries()) {
        ({ parameters, state } = await run(parameters, put(tree(...gradient), device), state, tensor({}, [rates[i]])));
        const g = gradient[0], t = i + 1;
        m = m.map((x, at) => 0.9 * x + 0.1 * g[at]);
        v = v.map((x, at) => 0.999 * x + 0.001 * g[at] ** 2);
        w = w.map((x, at) =>
          x - rates[i] * (m[at] / (1 - 0.9 ** t) / (Math.sqrt(v[at] / (1 - 0.999 ** t)) + 1e-8) + 0.1 * x)
        );
      }
      close(await values(parameters.experts, device), w);
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
  assert(Math.abs(rateAt({ ...linear, kind: "cosine" }, 7) - 0.5) < 1e-12);
  assertEquals(layout(tinyDense()).filter(({ columns }) => columns.length === 0).length, 5);
});
