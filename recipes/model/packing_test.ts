/** @file Packed rows: each document is computed as if it stood alone, and none knows of another. */
import { assert, assertEquals } from "@std/assert";
import { type Key, valueAndGradWith } from "../../dsl/mod.ts";
import { compile, number, values } from "../../backend/compile.ts";
import { allDevices, treeValues, withDevice } from "../../tests/devices.ts";
import { tinyDense, tinyMixture, tinyModel, tinySamples } from "../../tests/fixtures/tiny.ts";
import type { ModelConfig } from "../convert/config.ts";
import { validationBatches } from "../data/batches.ts";
import { type Batch, type HostBatch, makeBatch, type Sample, toBatch } from "./batch.ts";
import type { AnyModel } from "./layout.ts";
import { llama, type Model, swiglu } from "./llama.ts";
import { evaluator, lossFor } from "./loss.ts";
import { packBatch } from "./packing.ts";

const samples = tinySamples(7, 5, 9);
/** Rows of 3, 2, 1 and 1 documents, with padding at the ends. */
const rows = [samples.slice(0, 3), samples.slice(3, 5), samples.slice(5, 6), samples.slice(6)];
const packed = packBatch(rows, 32), alone = makeBatch(samples, 12);

for (const name of allDevices()) {
  const losses = (config: ModelConfig, checkpoint = false) =>
    withDevice(name, async (device) => {
      const { model } = tinyModel(config, device, 1, 5);
      const run = compile((model: AnyModel, batch: Batch, key: Key | null) => {
        const { value: { loss, count }, grad } = valueAndGradWith(lossFor(config, { checkpoint }))(model, batch, key);
        return { loss, count, grad };
      }, device);
      const measure = async (host: HostBatch) => {
        const { loss, count, grad } = await run(model, toBatch(host), null);
        return {
          loss: await number(loss, device),
          count: await number(count, device),
          grad: await treeValues(grad, device),
        };
      };
      return {
        together: await measure(packed),
        apart: await measure(alone),
        seen: await measure(packBatch(rows, 32, false)),
      };
    });

  for (const [kind, config] of [["dense model", tinyDense()], ["mixture", tinyMixture()]] as const) {
    for (const checkpoint of [false, true]) {
      const how = checkpoint ? ", with checkpoints" : "";
      Deno.test(`packing, ${name}: a ${kind}'s loss and gradient are those of the documents alone${how}`, async () => {
        const { together, apart, seen } = await losses(config, checkpoint);
        assertEquals(together.count, apart.count);
        assert(Math.abs(together.loss - apart.loss) < 1e-5, `${together.loss}, alone ${apart.loss}`);
        for (const [path, got] of together.grad) {
          const want = apart.grad.get(path)!;
          got.forEach((x, i) => assert(Math.abs(x - want[i]) < 1e-5, `${path}: ${x}, alone ${want[i]}`));
        }
        // Otherwise the law would hold for a model whose attention looks nowhere.
        assert(Math.abs(seen.loss - apart.loss) > 1e-3, `${seen.loss}, alone ${apart.loss}`);
      });
    }
  }

  Deno.test(`packing, ${name}: a validation set has the same loss per token packed as in rows of their own`, () =>
    withDevice(name, async (device) => {
      for (const config of [tinyDense(), tinyMixture()]) {
        const { model } = tinyModel(config, device, 1, 5), measure = evaluator(config, device);
        const made = (["none", "documents", "joined"] as const).map((pack) =>
          validationBatches(samples, { batch: 2, seq: 32, seed: 3, pack })
        );
        const [alone, together, joined] = await Promise.all(made.map((batches) => measure(model, batches)));
        for (const { nll, tokens } of [together, joined]) {
          assertEquals(tokens, alone.tokens);
          assert(Math.abs(nll - alone.nll) < 1e-5, `${nll}, alone ${alone.nll}`);
        }
        // Otherwise nothing would be packed, or the loss would not depend on what a token sees.
        const count = (batches: readonly HostBatch[]): number => batches.reduce((sum, { rows }) => sum + rows, 0);
        assert(count(made[1]) < count(made[0]) && made[1].every(({ packing }) => packing !== undefined));
        const seen = await measure(model, made[1].map(({ packing: _, ...rest }) => rest));
        assert(Math.abs(seen.nll - alone.nll) > 1e-3, `${seen.nll}, alone ${alone.nll}`);
      }
    }));

  Deno.test(`packing, ${name}: a document that changes leaves the others' logits as they are, to the bit`, () =>
    withDevice(name, async (device) => {
      const config = tinyDense(), { model } = tinyModel(config, device, 1, 5);
      const run = compile((model: Model, { tokens, packing }: Batch) => ({
        logits: llama(config, model, tokens, swiglu, { packing }).logits,
      }), device);
      const logits = async (documents: readonly Sample[], separate = true) => {
        const out = await run(model, toBatch(packBatch([documents], 140, separate)));
        return await values(out.logits, device, "batch", "seq", "vocab");
      };
      const [first, second, third] = tinySamples(3, 4, 120),
        changed = { ...first, ids: Array.from(first.ids, (id) => (id + 3) % 11) };
      const from = first.ids.length * config.vocabSize,
        to = from + (second.ids.length + third.ids.length) * config.vocabSize;
      const [before, after] = [await logits([first, second, third]), await logits([changed, second, third])];
      assertEquals(after.slice(from, to), before.slice(from, to));
      assert(after.slice(0, from).some((x, i) => x !== before[i]));
      const open = await logits([changed, second, third], false);
      assert(open.slice(from, to).some((x, i) => x !== before[from + i]));
    }));
}

Deno.test("packing: nothing is predicted across a border, and what does not fit is cut", () => {
  const row = [{ ids: [4, 5], scoredFrom: 0 }, { ids: [6, 7, 8], scoredFrom: 1, unscored: [[2, 3]] as const }];
  const { tokens, labels, packing } = packBatch([row, [{ ids: [9, 2, 3, 4, 5, 6, 7], scoredFrom: 0 }]], 6);
  assertEquals([...tokens], [4, 5, 6, 7, 8, -1, 9, 2, 3, 4, 5, 6]);
  assertEquals([...labels], [5, -1, 7, -1, -1, -1, 2, 3, 4, 5, 6, -1]);
  assertEquals([...packing!.documents], [0, 0, 1, 1, 1, -1, 0, 0, 0, 0, 0, 0]);
  assertEquals([...packing!.positions], [0, 1, 0, 1, 2, -1, 0, 1, 2, 3, 4, 5]);
});
