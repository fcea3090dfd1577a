/** @file Merge methods against their equations, written once more with plain lists, and against laws. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { seeded } from "../../random.ts";
import { magnitudeAt } from "./magnitude.ts";
import { type MergeSettings, methods } from "./mod.ts";

const random = seeded("merge methods");
const normals = (count: number): Float32Array => Float32Array.from({ length: count }, () => random.normal());
const settings = (more: Partial<MergeSettings>): MergeSettings => ({
  weights: [1, 1, 1],
  densities: [0.5, 0.5, 0.5],
  lambda: 1,
  t: 0.5,
  seed: 1,
  ...more,
});

/** A merge of copies, as methods may overwrite the models. */
function merge(
  name: keyof typeof methods,
  models: readonly Float32Array[],
  base: Float32Array,
  how: MergeSettings,
): number[] {
  const method = methods[name];
  if (method.kind === "tensor") {
    return [...method.merge({ name: "w", models: models.map((x) => x.slice()), base }, how)];
  }
  const shares = method.shares(how);
  return [...base].map((start, i) => models.reduce((sum, x, k) => sum + shares.models[k] * x[i], shares.base * start));
}

function close(got: readonly number[], expected: readonly number[]): void {
  assertEquals(got.length, expected.length);
  got.forEach((x, i) => assert(Math.abs(x - expected[i]) < 1e-5, `element ${i}: ${x}, expected ${expected[i]}`));
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

Deno.test("linear: a weighted mean, or a weighted sum", () => {
  const models = [normals(20), normals(20), normals(20)], weights = [0.5, 0.3, 0.4], base = new Float32Array(20);
  const sum = [...base].map((_, i) => models.reduce((total, x, k) => total + weights[k] * x[i], 0));
  close(merge("linear", models, base, settings({ weights, normalize: false })), sum);
  close(merge("linear", models, base, settings({ weights })), sum.map((x) => x / 1.2));
});

Deno.test("task_arithmetic: weighted changes on top of the base", () => {
  const models = [normals(20), normals(20), normals(20)], weights = [0.5, 0.3, -0.4], base = normals(20);
  const expected = [...base].map((b, i) => b + 1.5 * models.reduce((sum, x, k) => sum + weights[k] * (x[i] - b), 0));
  close(merge("task_arithmetic", models, base, settings({ weights, lambda: 1.5 })), expected);
});

Deno.test("ties: trim, elect, mean, for all weights, densities and scales", () => {
  for (const densities of [[0.5, 0.5, 0.5], [1, 0.01, 0.3], [0.9, 0.2, 1]]) {
    for (const more of [{}, { weights: [0.2, 1.3, 0.7] }, { lambda: 0.6, normalize: false }]) {
      const models = [normals(101), normals(101), normals(101)], base = normals(101);
      const how = settings({ densities, ...more });
      close(merge("ties", models, base, how), tiesByTheBook(models, base, how));
    }
  }
});

Deno.test("ties, dare, slerp: models equal to the base leave it as it is", () => {
  const base = normals(50);
  for (const name of ["ties", "task_arithmetic", "dare_linear", "dare_ties"] as const) {
    close(merge(name, [base, base, base], base, settings({})), [...base]);
  }
  close(merge("slerp", [base], base, settings({ t: 0.3 })), [...base]);
});

Deno.test("dare: what is kept is scaled up by what was dropped; the same for the same seed", () => {
  const count = 4000, base = new Float32Array(count), model = new Float32Array(count).fill(1);
  const one = { weights: [1], densities: [0.25] };
  for (const name of ["dare_linear", "dare_ties"] as const) {
    const got = merge(name, [model], base, settings(one)), kept = got.filter((x) => x !== 0);
    assert(kept.every((x) => x === 4));
    assert(Math.abs(kept.length / count - 0.25) < 0.03, `${kept.length} of ${count} are kept`);
    assertEquals(got, merge(name, [model], base, settings(one)));
    assert(got.some((x, i) => x !== merge(name, [model], base, settings({ ...one, seed: 2 }))[i]));
  }
});

Deno.test("slerp: between two vectors of one length all have that length; its ends are the models", () => {
  const base = Float32Array.of(3, 0, 0), model = Float32Array.of(0, 0, 3);
  const at = (t: number): number[] => merge("slerp", [model], base, settings({ t }));
  close(at(0), [3, 0, 0]);
  close(at(1), [0, 0, 3]);
  close(at(0.5), [3 / Math.SQRT2, 0, 3 / Math.SQRT2]);
  close(at(1 / 3), [3 * Math.cos(Math.PI / 6), 0, 3 * Math.sin(Math.PI / 6)]);
});

Deno.test("magnitudeAt: the k-th largest magnitude is that of a sorted list, ties and small numbers included", () => {
  const lists = [normals(1000), Float32Array.of(0, -0, 1e-42, -1e-42, 2, -2, 2, Infinity), normals(1).fill(-3)];
  for (const values of lists) {
    const sorted = Float32Array.from(values, Math.abs).sort().reverse();
    for (let k = 1; k <= values.length; k += 1 + Math.floor(k / 7)) assertEquals(magnitudeAt(values, k), sorted[k - 1]);
  }
  assertThrows(() => magnitudeAt(Float32Array.of(1), 2), RangeError, "2th");
});
