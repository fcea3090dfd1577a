/** @file The running error bound holds for arithmetic in f32, and is close enough to catch a wrong result. */
import { assert, assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import { add, cast, constant, expand, mul, node, sum } from "../../dsl/build.ts";
import { evaluateBounded, tolerance } from "../../dsl/interpret/bound.ts";
import { scalarBound } from "../../dsl/interpret/bound_scalar.ts";
import type { Node } from "../../dsl/node.ts";
import { isReal } from "../../dsl/primitive.ts";
import { axesOf, sameOrder } from "../../dsl/shape.ts";
import { agreement, type Case, drawValues, expected, onDevice, randomNumbers } from "../agreement.ts";
import { allDevices, withDevice } from "../devices.ts";
import { allPrimitives, caseOf } from "./samples.ts";

const data = (values: readonly number[]): Node =>
  node("data", [], { shape: { a: values.length }, dtype: "f32", values: Float64Array.from(values) });

Deno.test("a primitive's scalar body computes what its interpretation says", () => {
  for (const { op, samples, lower } of allPrimitives.filter(({ lower }) => lower)) {
    samples.forEach((sample, i) => {
      const each = caseOf(op, sample, i + 1), [result] = each.results, [want] = expected(each);
      const inputs = each.values.map((values, j) => ({
        shape: each.parameters[j].shape,
        data: values,
        error: new Float64Array(values.length),
      }));
      const made = scalarBound(result, inputs);
      if (lower && !sameOrder(made.shape, result.shape)) return;
      // A body made of polynomials is as near as f32 can tell.
      made.data.forEach((value, j) =>
        assertAlmostEquals(value, want.data[j], 1e-13 * (1 + Math.abs(value)) + made.error[j], op)
      );
    });
  }
});

Deno.test("sums and products in f32, in whatever order, stay within the bound", () => {
  const random = randomNumbers(3), count = 400, round = Math.fround;
  const x = [...drawValues({ shape: { a: count } }, random)], y = [...drawValues({ shape: { a: count } }, random)];
  const [total, product] = evaluateBounded([
    sum(data(x), ["a"]),
    node("contract", [data(x), data(y)], { over: ["a"] }),
  ]);
  for (let trial = 0; trial < 20; trial++) {
    const order = x.map((_, i) => [random(), i]).sort(([a], [b]) => a - b).map(([, i]) => i);
    const added = order.reduce((so, i) => round(so + x[i]), 0);
    const multiplied = order.reduce((so, i) => round(so + round(x[i] * y[i])), 0);
    assertLess(Math.abs(added - total.data[0]), total.error[0]);
    assertLess(Math.abs(multiplied - product.data[0]), product.error[0]);
  }
});

Deno.test("what is exact in f32 has no error; 16-bit storage is a step off where rounding could make it one", () => {
  const of = (x: Node): number[] => [...evaluateBounded([x])[0].error];
  assertEquals(of(add(data([1, 0.5]), data([2, 0.25]))), [0, 0]);
  assertEquals(of(node("neg", [data([0.1])], {}))[0] > 0, true);
  // 257 lies in the middle of two numbers of bf16; 0.3 + 0.3 is not near to such a middle.
  assertEquals(of(cast(data([256, 0.5]), "bf16")), [0, 0]);
  assertEquals(of(cast(add(data([256, 0.3]), data([1 + 2 ** -20, 0.3])), "bf16")), [2, 0]);
  assertEquals(
    of(
      node("take", [data([1, 2]), node("data", [], { shape: { i: 1 }, dtype: "i32", values: Int32Array.of(1) })], {
        axis: "a",
      }),
    ),
    [0],
  );
});

Deno.test("a decision counts as unsure exactly where rounding could change it", () => {
  // 0.1 is no f32, so each of these is a little off; 1 and 2 are exact.
  const near = add(data([0.1, 0.1, 1]), data([0.2, 0.5, 1])), limit = data([0.3, 0.3, 2]);
  const less = node("less", [near, limit], {}), chosen = node("where", [less, data([5, 5, 5]), data([7, 7, 7])], {});
  const [decision, value, order, whole] = evaluateBounded([
    less,
    chosen,
    node("topk", [node("neg", [data([0.1, 0.3, 0.1 + 1e-9])], {})], { axis: "a", slot: "k", count: 3 }),
    node("floor", [add(data([0.1, 0.5, 1]), data([0.9, 0.2, 1]))], {}),
  ]);
  assertEquals([...decision.error], [1, 0, 0]);
  assertEquals([...value.error], [2, 0, 0]);
  assertEquals([...order.error].map((error) => error > 0), [true, true, false]);
  assertEquals([...whole.error].map((error) => error > 0), [true, false, false]);
});

/** A softmax of products and its gradient-like product: what models are made of. */
function layers(): Case {
  const random = randomNumbers(11);
  const variable = (shape: Record<string, number>): Node => node("variable", [], { shape, dtype: "f32", name: "x" });
  const x = variable({ seq: 24, embed: 40 }), w = variable({ embed: 40, hidden: 31 });
  const logits = node("contract", [x, w], { over: ["embed"] });
  const normaliser = expand(node("logSumExp", [logits], { over: ["hidden"] }), logits.shape);
  const share = node("exp", [add(logits, node("neg", [normaliser], {}))], {});
  const back = node("contract", [mul(share, node("tanh", [logits], {})), w], { over: ["hidden"] });
  const values = [x, w].map(({ shape }) => drawValues({ shape }, random));
  return {
    parameters: [x, w],
    results: [logits, share, back, sum(mul(back, expand(constant(0.5), back.shape)), axesOf(back.shape))],
    values,
  };
}

for (const name of allDevices().filter((each) => each !== "interpreter")) {
  Deno.test(`the bound on ${name} is at most a thousand times the error that is seen, and holds without tolerance`, () =>
    withDevice(name, async (device) => {
      const each = layers(), want = expected(each), got = await onDevice(each, device);
      const ratios = want.flatMap(({ data, error }, i) =>
        [...data].flatMap((value, j) => got[i][j] === value ? [] : [error[j] / Math.abs(got[i][j] - value)])
      ).sort((a, b) => a - b);
      assertLess(ratios[ratios.length >> 1], 1000);
      assert(agreement(got, want).worst <= tolerance / 2);
    }));

  Deno.test(`a result on ${name} that is off by a thousandth in one element is caught, for every primitive`, () =>
    withDevice(name, async (device) => {
      for (const { op, samples } of allPrimitives) {
        for (const [i, sample] of samples.entries()) {
          const drawn = caseOf(op, sample, i + 1), [result] = drawn.results;
          // Without signs, sums do not cancel: a thousandth of them is more than rounding may make of their terms.
          const values = drawn.values.map((value, j) => isReal(drawn.parameters[j]) ? value.map(Math.abs) : value);
          const each = { ...drawn, values }, want = expected(each);
          const got = await onDevice(each, device), wrong = got[0].findIndex((value) => value !== 0);
          if (wrong < 0) continue;
          assertEquals(agreement(got, want).fault, undefined, op);
          got[0][wrong] += isReal(result) ? got[0][wrong] / 1000 : 1;
          assert(
            agreement(got, want).fault?.includes(`element ${wrong} `),
            `${op}, sample ${i}: a wrong element passed`,
          );
        }
      }
    }));
}
