/** @file From folder to folder: saving, loading, upcycling with its proof, merging. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { openInterpreter } from "../backend/interpreter.ts";
import { values } from "../backend/compile.ts";
import { UserError } from "../dsl/errors.ts";
import { authorsDense } from "../tests/fixtures/authors.ts";
import { treeValues } from "../tests/devices.ts";
import { golden, withTempDir } from "../tests/support.ts";
import { tinyDense, tinyMixture, tinyModel, tinySamples } from "../tests/fixtures/tiny.ts";
import { convert } from "./convert/mod.ts";
import { readCoefficients } from "./convert/coefficients.ts";
import { merger } from "./merge/device.ts";
import { mergeFolder } from "./merge/folder.ts";
import { singleExpert, uniformWeights, weightsOf } from "./merge/weights.ts";
import { batchesOf } from "./model/batch.ts";
import { loadDense, loadMixture, loadModel, saveModel } from "./model/parameters.ts";
import { proveStepZero, upcycle } from "./upcycle.ts";

const device = openInterpreter();
const worst = async (got: unknown, want: unknown): Promise<number> => {
  const one = await treeValues(got, device), two = await treeValues(want, device);
  assertEquals([...one.keys()], [...two.keys()]);
  return Math.max(...[...one].flatMap(([path, list]) => list.map((x, i) => Math.abs(x - two.get(path)![i]))));
};

Deno.test("folders: what is saved is loaded again, dense and mixture", () =>
  withTempDir(async (folder) => {
    for (
      const config of [tinyDense({ tie_word_embeddings: true }), tinyMixture({ router: "mlp", router_noise: true })]
    ) {
      const loaded = tinyModel(config, device), path = `${folder}/${config.kind}`;
      await saveModel(path, loaded, device);
      const again = loadModel(path, device);
      assertEquals(again.config, loaded.config);
      assertEquals(await worst(again.model, loaded.model), 0);
    }
    await assertRejects(
      () => saveModel(`${folder}/llama`, tinyModel(tinyDense(), device), device),
      UserError,
      "not empty",
    );
    assertThrows(() => loadMixture(`${folder}/llama`, device), UserError, "upcycle");
    assertThrows(() => loadDense(`${folder}/moe`, device), UserError, "merge");
  }));

Deno.test("upcycle: the mixture is the dense model at step 0, and what is not is refused", () =>
  withTempDir(async (folder) => {
    const dense = tinyModel(tinyDense({ tie_word_embeddings: true }), device),
      batches = batchesOf(tinySamples(5), { batch: 2, seq: 8 });
    await saveModel(`${folder}/dense`, dense, device);
    for (const router of ["linear", "mlp"] as const) {
      const config = await upcycle(`${folder}/dense`, `${folder}/${router}`, {
        experts: 4,
        active: 3,
        router,
        noise: router === "mlp",
      });
      assertEquals([config.experts, config.active, config.router, config.tied], [4, 3, router, true]);
      const mixture = loadMixture(`${folder}/${router}`, device);
      const { largest, tokens } = await proveStepZero(dense, mixture, device, batches);
      assert(largest < 1e-5);
      assertEquals(tokens, tinySamples(5).reduce((sum, { ids }) => sum + Math.min(8, ids.length), 0));
      assert(
        (await treeValues(mixture.model, device))
          .get(router === "mlp" ? "layers.1.ffn.router.second" : "layers.1.ffn.router.linear")!
          .some((x) => x !== 0),
      );
    }
    await upcycle(`${folder}/dense`, `${folder}/drop`, { experts: 4, active: 3, init: "drop" });
    const dropped = loadMixture(`${folder}/drop`, device);
    await assertRejects(() => proveStepZero(dense, dropped, device, batches), UserError, "not the dense model");
    // Half of the channels of gate, up and down are the dense model's: the same ones in all three.
    const layer = dropped.model.layers[0].ffn,
      gate = await values(layer.experts.gate, device),
      own = await values(layer.shared.gate, device);
    const kept = Array.from(
      { length: 6 },
      (_, channel) => own.slice(channel * 8, channel * 8 + 8).every((x, i) => x === gate[channel * 8 + i]),
    );
    assertEquals(kept.filter(Boolean).length, 3);
    const down = await values(layer.experts.down, device), ownDown = await values(layer.shared.down, device);
    assertEquals(Array.from({ length: 6 }, (_, channel) => down[channel] === ownDown[channel]), kept);
    await upcycle(`${folder}/dense`, `${folder}/raw`, { experts: 4, active: 3, normalised: false });
    await assertRejects(
      () => proveStepZero(dense, loadMixture(`${folder}/raw`, device), device, batches),
      UserError,
      "normalised",
    );
    for (const [experts, active] of [[1, 1], [4, 5], [4, 1]]) {
      await assertRejects(() => upcycle(`${folder}/dense`, `${folder}/x`, { experts, active }), UserError, "--");
    }
    await assertRejects(
      () => upcycle(`${folder}/linear`, `${folder}/x`, { experts: 4, active: 3 }),
      UserError,
      "already",
    );
  }));

Deno.test("merge: the authors' mixture with the authors' coefficients is the authors' dense model", () =>
  withTempDir(async (folder) => {
    await convert(golden("authors/moe"), `${folder}/moe`);
    await convert(golden("authors/weighted"), `${folder}/coefficients.json`);
    const coefficients = readCoefficients(`${folder}/coefficients.json`);
    await mergeFolder(`${folder}/moe`, `${folder}/dense`, { weights: (config) => weightsOf(config, coefficients) });
    const got = loadDense(`${folder}/dense`, device);
    assert(await worst(got.model, authorsDense("dense_merged")) < 1e-6);

    const mixture = loadMixture(`${folder}/moe`, device);
    assertThrows(() => weightsOf(mixture.config, coefficients, 0.5), UserError, "0.75");
    assertThrows(() => weightsOf(mixture.config, coefficients, 1.4, true), UserError, "between 0 and 1");
    assertEquals(weightsOf(mixture.config, coefficients, 0.5, true).lambda, [0.5, 0.5]);
    assertThrows(() => weightsOf(tinyMixture(), coefficients), UserError, "7");
    // On the host and on a device: the same formula.
    for (
      const weights of [
        uniformWeights(mixture.config, 0.6),
        singleExpert(mixture.config, 0),
        singleExpert(mixture.config, 7),
      ]
    ) {
      await mergeFolder(`${folder}/moe`, `${folder}/dense`, { weights: () => weights, overwrite: true });
      using merged = await merger(mixture, device)(weights);
      assert(await worst(loadDense(`${folder}/dense`, device).model, merged.model) < 1e-6);
    }
    await assertRejects(
      () => mergeFolder(`${folder}/dense`, `${folder}/x`, { weights: (c) => singleExpert(c, 0) }),
      UserError,
      "dense already",
    );
  }));
