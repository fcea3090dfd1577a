/** @file Merge methods against their equations, written once more with plain lists, and against laws. */
import { assert, assertEquals } from "@std/assert";
import { createSafetensors, openCheckpoint, writeSafetensors, writeTensor } from "../../../backend/checkpoint.ts";
import { bernoulli, read, tensor } from "../../../dsl/mod.ts";
import { withTempDir } from "../../../tests/support.ts";
import { seeded } from "../../random.ts";
import { merged, type MergeSettings, methods } from "./mod.ts";

const random = seeded("merge methods");
const normals = (count: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: count }, () => random.normal());
const settings = (more: Partial<MergeSettings>): MergeSettings => ({
  weights: [1, 1, 1],
  densities: [0.5, 0.5, 0.5],
  gammas: [0.1, 0.1, 0.1],
  lambda: 1,
  t: 0.5,
  seed: 1,
  ...more,
});

/** A merge of tensors called "w", from files to a file. */
function merge(
  name: keyof typeof methods,
  models: readonly Float32Array<ArrayBuffer>[],
  base: Float32Array<ArrayBuffer>,
  how: MergeSettings,
): Promise<Float32Array> {
  return withTempDir(async (folder) => {
    using opened = new DisposableStack();
    const method = methods[name], shape = [base.length];
    const stored = async (data: Float32Array<ArrayBuffer>, i: number) => {
      const path = `${folder}/${i}.safetensors`;
      await writeSafetensors(path, [{ name: "w", shape, data }]);
      return opened.use(openCheckpoint(path));
    };
    const checkpoints = await Promise.all(models.map(stored));
    const from = method.base ? await stored(base, models.length) : undefined;
    const data = merged(method, { name: "w", elements: base.length, models: checkpoints, base: from }, how);
    const out = `${folder}/out.safetensors`;
    {
      using writer = createSafetensors(out, [{ name: "w", shape }]);
      await writeTensor(writer, data);
      writer.finish();
    }
    return opened.use(openCheckpoint(out)).read("w");
  });
}

function close(got: ArrayLike<number>, expected: ArrayLike<number>): void {
  assertEquals(got.length, expected.length);
  for (let i = 0; i < got.length; i++) {
    assert(Math.abs(got[i] - expected[i]) < 1e-5, `element ${i}: ${got[i]}, expected ${expected[i]}`);
  }
}

/** mergekit's `generalized_task_arithmetic` with sparsification by magnitude and consensus by sum, element by element. */
function tiesByTheBook(models: readonly Float32Array[], base: Float32Array, how: MergeSettings): number[] {
  const changes = models.map((x, k) => {
    const change = [...x].map((value, i) => Math.fround(value - base[i]));
    const keep = Math.max(1, Math.floor(how.densities[k] * change.length));
    const order = change.map((_, i) => i).sort((a, b) => Math.abs(change[b]) - Math.abs(change[a]));
    const kept = new Set(order.slice(0, keep));
    return change.map((value, i) => kept.has(i) ? how.weights[k] * value : 0);
  });
  return [...base].map((start, i) => {
    const column = changes.map((change) => change[i]);
    const elected = column.reduce((a, b) => a + b, 0) >= 0 ? 1 : -1;
    const agree = column.map((value) => Math.sign(value) === elected);
    const sum = column.reduce((total, value, k) => agree[k] ? total + value : total, 0);
    const divisor = how.weights.reduce((total, weight, k) => agree[k] ? total + weight : total, 0);
    return start + how.lambda * (how.normalize === false || divisor === 0 ? sum : sum / divisor);
  });
}

Deno.test("linear: a weighted mean, or a weighted sum", async () => {
  const models = [normals(20), normals(20), normals(20)], weights = [0.5, 0.3, 0.4], base = new Float32Array(20);
  const sum = [...base].map((_, i) => models.reduce((total, x, k) => total + weights[k] * x[i], 0));
  close(await merge("linear", models, base, settings({ weights, normalize: false })), sum);
  close(await merge("linear", models, base, settings({ weights })), sum.map((x) => x / 1.2));
});

Deno.test("task_arithmetic: weighted changes on top of the base", async () => {
  const models = [normals(20), normals(20), normals(20)], weights = [0.5, 0.3, -0.4], base = normals(20);
  const expected = [...base].map((b, i) => b + 1.5 * models.reduce((sum, x, k) => sum + weights[k] * (x[i] - b), 0));
  close(await merge("task_arithmetic", models, base, settings({ weights, lambda: 1.5 })), expected);
});

Deno.test("ties: trim, elect, mean, for all weights, densities and scales", async () => {
  for (const densities of [[0.5, 0.5, 0.5], [1, 0.01, 0.3], [0.9, 0.2, 1]]) {
    for (const more of [{}, { weights: [0.2, 1.3, 0.7] }, { lambda: 0.6, normalize: false }, { weights: [1, -1, 1] }]) {
      const models = [normals(101), normals(101), normals(101)], base = normals(101);
      const how = settings({ densities, ...more });
      close(await merge("ties", models, base, how), tiesByTheBook(models, base, how));
    }
  }
});

Deno.test("ties: a tensor of more than one chunk is trimmed as a whole, all of its ties alike", async () => {
  const count = 2 ** 20 + 3 * 2 ** 11 + 5, base = new Float32Array(count), model = new Float32Array(count);
  // Magnitudes 1, 2, …, 1000 in turns: those from 901 on are the tenth that is kept.
  for (let i = 0; i < count; i++) model[i] = (i % 1000 + 1) * (i % 7 < 3 ? -1 : 1);
  const got = await merge("ties", [model], base, settings({ weights: [1], densities: [0.1] }));
  const smallest = model.map(Math.abs).sort()[count - Math.floor(0.1 * count)];
  assertEquals(got, model.map((x) => Math.abs(x) < smallest ? 0 : x));
});

Deno.test("methods with a base: models equal to the base leave it as it is", async () => {
  const base = normals(50);
  const withBase = ["ties", "task_arithmetic", "dare_linear", "dare_ties", "breadcrumbs", "model_stock"] as const;
  for (const name of withBase) {
    close(await merge(name, [base, base, base], base, settings({})), base);
  }
  close(await merge("slerp", [base], base, settings({ t: 0.3 })), base);
});

Deno.test("dare: what is kept is scaled up by what was dropped; the same for the same seed", async () => {
  const count = 4000, base = new Float32Array(count), model = new Float32Array(count).fill(1);
  const one = { weights: [1], densities: [0.25] };
  for (const name of ["dare_linear", "dare_ties"] as const) {
    const got = await merge(name, [model], base, settings(one)), kept = got.filter((x) => x !== 0);
    assert(kept.every((x) => x === 4));
    assert(Math.abs(kept.length / count - 0.25) < 0.03, `${kept.length} of ${count} are kept`);
    assertEquals(got, await merge(name, [model], base, settings(one)));
    const other = await merge(name, [model], base, settings({ ...one, seed: 2 }));
    assert(got.some((x, i) => x !== other[i]));
  }
});

Deno.test("dare: the changes that are kept are those that the language's bernoulli draws", async () => {
  const count = 5000, how = settings({ weights: [1], densities: [0.3] }), zeros = new Float32Array(count);
  const keep = methods.dare_linear.kind === "changes" &&
    methods.dare_linear.keep({ name: "w", elements: count, models: [] }, 0, how);
  assert(keep && keep.kind === "random");
  const drawn = read(bernoulli(tensor({ word: 2 }, keep.key, "u32"), { element: count }, 0.3));
  const got = await merge("dare_linear", [new Float32Array(count).fill(1)], zeros, how);
  assertEquals([...got].map((x) => x !== 0), [...drawn].map(Boolean));
});

Deno.test("slerp: between two vectors of one length all have that length; its ends are the models", async () => {
  const base = Float32Array.of(3, 0, 0), model = Float32Array.of(0, 0, 3);
  const at = (t: number): Promise<Float32Array> => merge("slerp", [model], base, settings({ t }));
  close(await at(0), [3, 0, 0]);
  close(await at(1), [0, 0, 3]);
  close(await at(0.5), [3 / Math.SQRT2, 0, 3 / Math.SQRT2]);
  close(await at(1 / 3), [3 * Math.cos(Math.PI / 6), 0, 3 * Math.sin(Math.PI / 6)]);
});

Deno.test("breadcrumbs: the largest tenth and the smallest are dropped; all that is left is added", async () => {
  const base = normals(100), change = Float32Array.from({ length: 100 }, (_, i) => (i + 1) / 64 * (i % 3 ? 1 : -1));
  const model = base.map((x, i) => x + change[i]), how = settings({ weights: [0.5], densities: [0.6], gammas: [0.1] });
  const expected = base.map((x, i) => i >= 30 && i < 90 ? x + 0.5 * change[i] : x);
  close(await merge("breadcrumbs", [model], base, how), expected);
  // Where both together are more than all, fewer of the largest are dropped, and none of the smallest.
  const most = { ...how, densities: [0.95] };
  close(await merge("breadcrumbs", [model], base, most), base.map((x, i) => i < 95 ? x + 0.5 * change[i] : x));
  const trimmed = await merge("breadcrumbs", [model], base, { ...how, gammas: [0] });
  close(trimmed, await merge("ties", [model], base, { ...how, normalize: false }));
});

Deno.test("karcher: of two vectors what slerp has halfway; a copy alone; between three equal ways to each", async () => {
  const length = (x: ArrayLike<number>) => Math.hypot(...Array.from(x));
  const [one, two] = [normals(30), normals(30)].map((x) => x.map((value) => value / length(x)));
  const half = await merge("slerp", [two], one, settings({ t: 0.5 }));
  close(await merge("karcher", [one, two], one, settings({ weights: [1, 1] })), half);
  close(await merge("karcher", [one], one, settings({ weights: [3] })), one);
  const axes = [[2, 0, 0], [0, 2, 0], [0, 0, 2]].map((axis) => Float32Array.from(axis));
  close(await merge("karcher", axes, axes[0], settings({})), [1, 1, 1].map((x) => 2 * x / Math.sqrt(3)));
  // Zeros have no direction, and count for the length.
  const zeros = new Float32Array(3);
  close(await merge("karcher", [axes[0], zeros], zeros, settings({ weights: [1, 1] })), [1, 0, 0]);
  close(await merge("karcher", [zeros, zeros], zeros, settings({ weights: [1, 1] })), zeros);
});

Deno.test("model_stock: changes that agree lead to the mean, changes at right angles stay at the base", async () => {
  const base = Float32Array.of(1, 2, 3), x = Float32Array.of(2, 2, 3), y = Float32Array.of(1, 4, 3);
  close(await merge("model_stock", [x, x], base, settings({})), x);
  close(await merge("model_stock", [x, y], base, settings({})), base);
  const [p, q, r] = [normals(40), normals(40), normals(40)], start = normals(40);
  const changes = [p, q, r].map((model) => model.map((value, i) => value - start[i]));
  const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const cosine = (a: Float32Array, b: Float32Array) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  const mean = (cosine(changes[0], changes[1]) + cosine(changes[0], changes[2]) + cosine(changes[1], changes[2])) / 3;
  const t = 3 * mean / (1 + 2 * mean);
  const expected = start.map((value, i) => value + t * (changes[0][i] + changes[1][i] + changes[2][i]) / 3);
  close(await merge("model_stock", [p, q, r], start, settings({})), expected);
});
