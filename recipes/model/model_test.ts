/** @file Laws of models: what must hold for any weights. */
import { assert, assertEquals } from "@std/assert";
import { openInterpreter } from "../../backend/interpreter.ts";
import { atTree, item, read, stack, sum, tensor } from "../../dsl/mod.ts";
import { tinyDense, tinyMixture, tinyModel, tinySamples } from "../../tests/fixtures/tiny.ts";
import { singleExpert, uniformWeights } from "../merge/weights.ts";
import { merger } from "../merge/device.ts";
import { balance } from "./balance.ts";
import { batchesOf, makeBatch, toBatch } from "./batch.ts";
import { countParameters, layout } from "./layout.ts";
import { type Ffn, llama, type Model, swiglu } from "./llama.ts";
import { mixtureLoss, type Moe, moe, routed } from "./moe.ts";
import { expectedTensors } from "../convert/names.ts";

const device = openInterpreter();
const batch = toBatch(makeBatch(tinySamples(3, 5, 6), 6));

const difference = (x: Float64Array, y: Float64Array): number =>
  x.reduce((most, each, i) => Math.max(most, Math.abs(each - y[i])), 0);
const logitsOf = (mixture: ReturnType<typeof tinyMixture>, model: Model<Moe>): Float64Array =>
  read(llama(mixture, model, batch.tokens, moe(mixture)).logits, "batch", "seq", "vocab");

/** A mixture's model with these experts in every layer. */
const withFfn = (model: Model<Moe>, f: (own: Moe) => Pick<Moe, "shared" | "experts">): Model<Moe> => ({
  ...model,
  layers: model.layers.map((layer) => ({ ...layer, ffn: { ...layer.ffn, ...f(layer.ffn) } })),
});

Deno.test("a mixture of equal experts is the dense model, whatever its router says", () => {
  for (const router of ["linear", "mlp"]) {
    const config = tinyMixture({ router }), { model } = tinyModel(config, device);
    const equal = withFfn(model, ({ shared }) => ({ shared, experts: stack("expert", [shared, shared, shared]) }));
    const dense: Model = { ...equal, layers: equal.layers.map((layer) => ({ ...layer, ffn: layer.ffn.shared })) };
    const want = read(llama(tinyDense(), dense, batch.tokens, swiglu).logits, "batch", "seq", "vocab");
    assert(difference(logitsOf(config, equal), want) < 1e-12);
    // Otherwise the law would hold for a model that ignores its experts.
    assert(difference(logitsOf(config, model), want) > 1e-3);
  }
});

Deno.test("gates sum to one; without normalisation they do not", () => {
  for (const normalised of [true, false]) {
    const config = tinyMixture({ normalised_gates: normalised }), { model } = tinyModel(config, device);
    const { seen } = llama(config, model, batch.tokens, moe(config));
    const { gates, rest } = routed(seen[0], model.layers[0].ffn, config);
    const totals = read(sum(gates, "slot"), "batch", "seq").map((x, i) => x + read(rest, "batch", "seq")[i]);
    assertEquals(totals.every((x) => Math.abs(x - 1) < 1e-12), normalised);
  }
});

Deno.test("a merge of equal experts is that expert, and a single expert's merge is it alone", async () => {
  const config = tinyMixture(), mixture = tinyModel(config, device);
  const equal = withFfn(
    mixture.model,
    ({ shared }) => ({ shared, experts: stack("expert", [shared, shared, shared]) }),
  );
  using one = await merger({ ...mixture, model: equal }, device)(uniformWeights(config, 0.3));
  using second = await merger(mixture, device)(singleExpert(config, 2));
  const experts = mixture.model.layers[0].ffn.experts;
  for (const which of ["gate", "up", "down"] as const) {
    assert(difference(read(one.model.layers[0].ffn[which]), read(mixture.model.layers[0].ffn.shared[which])) < 1e-12);
    assert(
      difference(read(second.model.layers[0].ffn[which]), read((atTree(experts, "expert", 1) as Ffn)[which])) < 1e-12,
    );
  }
});

Deno.test("the balance loss is zero when all experts are used alike, and padding is no part of it", () => {
  const config = tinyMixture({ num_selects: 4 }), { model } = tinyModel(config, device);
  const { routings, real } = mixtureLoss(config, model, batch);
  // All are chosen, so importance is Σ p: with equal logits, every cv² is 0.
  const even = { ...routings[0], p: tensor({ batch: 3, seq: 6, expert: 3 }, new Float64Array(54).fill(1 / 3)) };
  assert(Math.abs(item(balance(even, config, real))) < 1e-12);
  const other = tinyMixture(),
    losses = [7, 9].map((length) =>
      item(mixtureLoss(other, tinyModel(other, device).model, toBatch(makeBatch(tinySamples(3, 5, 6), length))).balance)
    );
  assert(losses[0] > 0 && Math.abs(losses[0] - losses[1]) < 1e-12);
});

Deno.test("tokens do not see what comes after them, nor padding", () => {
  const config = tinyMixture(), { model } = tinyModel(config, device);
  const samples = [{ ids: [2, 3, 4, 5], scoredFrom: 1 }], changed = [{ ids: [2, 3, 4, 9], scoredFrom: 1 }];
  const [short, long, other] = [makeBatch(samples, 4), makeBatch(samples, 7), makeBatch(changed, 4)].map((host) =>
    read(llama(config, model, toBatch(host).tokens, moe(config)).logits, "batch", "seq", "vocab")
  );
  assert(difference(short, long) < 1e-12);
  assert(difference(short.slice(0, 33), other.slice(0, 33)) < 1e-12);
  assert(difference(short, other) > 1e-3);
});

Deno.test("the layout names every tensor of a folder once, with its size", () => {
  for (
    const config of [
      tinyDense(),
      tinyDense({ tie_word_embeddings: true }),
      tinyMixture({ router: "mlp", router_noise: true }),
    ]
  ) {
    const sizes = new Map(expectedTensors(config).map(({ name, shape }) => [name, shape.reduce((a, b) => a * b, 1)]));
    for (const { names, shape } of layout(config)) {
      const size = Object.values(shape).reduce((a, b) => a * b, 1) / names.length;
      for (const name of names) {
        assertEquals(sizes.get(name), size, name);
        sizes.delete(name);
      }
    }
    assertEquals([...sizes.keys()], []);
  }
});

Deno.test("of a mixture's parameters a token uses the shared expert, the active ones, and all else", () => {
  const config = tinyMixture(), { total, active } = countParameters(config), expert = 3 * 8 * 6;
  assertEquals(total - active, config.layers * expert * (config.experts - config.active));
});

Deno.test("batches: labels are the next tokens, prompts and padding are not scored, long rows are cut", () => {
  const [short, long] = batchesOf([{ ids: [4, 5, 6, 7, 8], scoredFrom: 3 }, { ids: [2, 3], scoredFrom: 0 }], {
    batch: 1,
    seq: 4,
    bucket: 2,
  });
  assertEquals([[...short.tokens], [...short.labels]], [[2, 3], [3, -1]]);
  assertEquals([[...long.tokens], [...long.labels]], [[4, 5, 6, 7], [-1, -1, 7, -1]]);
});
