/** @file Merges of dense folders: the sums themselves, what differs is refused, mergekit's files. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { openCheckpoint } from "../../backend/checkpoint.ts";
import { openInterpreter } from "../../backend/interpreter.ts";
import { UserError } from "../../dsl/errors.ts";
import { withTempDir } from "../../tests/support.ts";
import { tinyDense, tinyMixture, tinyModel } from "../../tests/fixtures/tiny.ts";
import { kindOf } from "../convert/files.ts";
import { saveModel } from "../model/parameters.ts";
import { mergeDense } from "./dense.ts";
import { readMergekit } from "./mergekit.ts";

const device = openInterpreter();

/** Three folders of one architecture. */
async function threeModels(folder: string): Promise<string[]> {
  const paths = ["a", "b", "c"].map((name) => `${folder}/${name}`);
  for (const [i, path] of paths.entries()) {
    const dtype = i === 1 ? "BF16" : "F32";
    await saveModel(path, tinyModel(tinyDense(), device, i + 1), device, { dtype });
  }
  return paths;
}

/** All tensors of a folder, one after the other. */
function numbersOf(path: string): Float32Array {
  using checkpoint = openCheckpoint(path);
  return Float32Array.from([...checkpoint.tensors.keys()].sort().flatMap((name) => [...checkpoint.read(name)]));
}

Deno.test("merge: a linear merge is the mean, added up in f64 and rounded once; one of ties keeps to its equation", () =>
  withTempDir(async (folder) => {
    const paths = await threeModels(folder), [a, b, c] = paths.map(numbersOf), weights = [0.5, 0.3, 0.2];
    await mergeDense(paths, `${folder}/linear`, { method: "linear", weights });
    const divisor = 0.5 + 0.3 + 0.2, shares = weights.map((weight) => weight / divisor);
    assertEquals(
      numbersOf(`${folder}/linear`),
      Float32Array.from(a, (x, i) => shares[0] * x + shares[1] * b[i] + shares[2] * c[i]),
    );
    // Of one model alone with all of its changes, TIES is that model.
    await mergeDense([paths[1]], `${folder}/ties`, { method: "ties", base: paths[0], densities: [1] });
    numbersOf(`${folder}/ties`).forEach((x, i) => assert(Math.abs(x - b[i]) < 1e-6));
    await mergeDense(paths.slice(1), `${folder}/ties`, { method: "ties", base: paths[0], overwrite: true });
    const differing = numbersOf(`${folder}/ties`).filter((x, i) => x !== a[i]).length;
    assert(
      differing > a.length / 2 && differing < a.length,
      `${differing} of ${a.length} numbers differ from the base`,
    );
  }));

Deno.test("merge: models that differ, and numbers that fit no model, are refused before anything is written", () =>
  withTempDir(async (folder) => {
    const [a, b] = await threeModels(folder), out = `${folder}/out`;
    await saveModel(`${folder}/wide`, tinyModel(tinyDense({ intermediate_size: 7 }), device), device);
    await saveModel(`${folder}/moe`, tinyModel(tinyMixture(), device), device);
    for (
      const [models, options, words] of [
        [[a, `${folder}/wide`], { method: "linear" }, "ffnSize is 7, that of"],
        [[a, `${folder}/moe`], { method: "linear" }, "mixture"],
        [[a, b], { method: "linear", weights: [1] }, "1 numbers for 2 models"],
        [[a, b], { method: "linear", weights: [1, -1] }, "add up to 0"],
        [[a, b], { method: "ties" }, "give --base"],
        [[a, b], { method: "ties", base: a, densities: [0] }, "--density 0"],
        [[a, b], { method: "breadcrumbs", base: a, gammas: [1] }, "--gamma 1"],
        [[a], { method: "model_stock", base: b }, "at least 2 models"],
        [[a, b], { method: "linear", base: a }, "takes no --base"],
        [[a, b], { method: "slerp", base: a }, "takes 1 model"],
      ] as const
    ) {
      await assertRejects(() => mergeDense(models, out, options), UserError, words);
      assertEquals(kindOf(out), "nothing");
    }
  }));

Deno.test("merge: mergekit's files are read as mergekit reads them, what is beyond us is named", () => {
  const text = `
merge_method: ties
base_model: models/base
models:
  - model: models/base
  - model: models/a
    parameters: { weight: 0.7, density: 0.3 }
  - model: /elsewhere/b
    parameters: { gamma: 0.2 }
parameters: { normalize: false, density: 0.5, lambda: 0.9 }
dtype: float32
out_dtype: bfloat16
`;
  assertEquals(readMergekit(text, "merge.yml", "/work"), {
    models: ["/work/models/a", "/elsewhere/b"],
    options: {
      method: "ties",
      base: "/work/models/base",
      weights: [0.7, 1],
      densities: [0.3, 0.5],
      gammas: [0.01, 0.2],
      lambda: 0.9,
      t: undefined,
      dtype: "BF16",
      normalize: false,
    },
  });
  for (
    const [file, words] of [
      ["merge_method: passthrough", "merge_method"],
      ["merge_method: linear\nslices: []", '"slices"'],
      ["merge_method: linear\nmodels: [{model: a, parameters: {weight: [0, 1]}}]", "models[0]: weight is no number"],
      ["merge_method: linear\nmodels: [{model: a}]\ndtype: int4", "dtype is int4"],
      ["merge_method: linear\nmodels: [{model: a}]\nout_dtype: int4", "out_dtype is int4"],
      ["{", "no YAML"],
    ]
  ) assertThrows(() => readMergekit(file, "merge.yml", "/"), UserError, words);
});
