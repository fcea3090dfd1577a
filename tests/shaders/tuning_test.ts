/** @file Whatever the sizes of tiles and workgroups, wgpu computes what the interpreter does. */
import { cast, constant, node, sum } from "../../dsl/build.ts";
import { isReal } from "../../dsl/primitive.ts";
import type { Node } from "../../dsl/node.ts";
import { axesOf, type Shape } from "../../dsl/shape.ts";
import { backward } from "../../dsl/transforms/reverse.ts";
import { assertAgree, type Case, drawValues, expected, onDevice, randomNumbers } from "../agreement.ts";
import { wgpuDevice } from "../support.ts";
import { tuned, tunings } from "./tuned.ts";

const variable = (shape: Shape, dtype: Node["dtype"] = "f32"): Node =>
  node("variable", [], { shape, dtype, name: "x" });

/** Products of odd sizes with their gradients, grouped ones, and reductions along either axis. */
function cases(): Case[] {
  const random = randomNumbers(3);
  const drawn = (parameters: readonly Node[], results: readonly Node[]): Case => ({
    parameters,
    results,
    values: parameters.map(({ shape, dtype }) =>
      drawValues({ shape, dtype, ...(dtype === "i32" && { range: [-1, 4] }) }, random)
    ),
  });
  const withGradient = (parameters: readonly Node[], result: Node): Case => {
    const loss = sum(node("tanh", [result], {}), axesOf(result.shape));
    return drawn(parameters, [result, ...backward([loss], [constant(1)], parameters.filter(isReal))]);
  };
  const products = [[1, 7, 5], [3, 64, 130], [65, 33, 17], [100, 12, 101], [128, 20, 128]].map(([m, k, n]) => {
    const x = variable({ m, k }), w = variable({ n, k });
    return withGradient([x, w], node("contract", [x, w], { over: ["k"] }));
  });
  const batched = (() => {
    const x = variable({ b: 3, m: 19, h: 2, k: 9 }), y = variable({ b: 3, h: 2, k: 9, n: 35 });
    return withGradient([x, y], node("contract", [x, y], { over: ["k", "h"] }));
  })();
  const grouped = [[37, 2, 9, 21], [130, 3, 40, 64]].map(([t, s, e, h]) => {
    const x = variable({ t, e }), w = variable({ x: 5, h, e }), index = variable({ t, s }, "i32");
    return withGradient([x, w, index], node("contractAt", [x, w, index], { axis: "x", over: ["e"] }));
  });
  // Weights of 16 bits are read as they are: in fours along the depth, in fours along the columns, one by one.
  const mixed = (["bf16", "f16"] as const).flatMap((dtype) =>
    [{ n: 20, k: 24 }, { k: 24, n: 20 }, { n: 33, k: 7 }].map((shape) => {
      const x = variable({ m: 37, k: shape.k }), w = variable(shape, dtype);
      return withGradient([x, w], node("contract", [x, cast(w, "f32")], { over: ["k"] }));
    })
  );
  const experts = (["bf16", "f16"] as const).map((dtype) => {
    const x = variable({ t: 37, e: 12 }, dtype), w = variable({ x: 5, h: 9, e: 12 }, dtype);
    const index = variable({ t: 37, s: 2 }, "i32");
    const product = node("contractAt", [cast(x, "f32"), cast(w, "f32"), index], { axis: "x", over: ["e"] });
    return withGradient([x, w, index], product);
  });
  const reductions = [[5, 700], [300, 33], [2, 9], [1, 5000]].map(([a, b]) => {
    const x = variable({ a, b });
    const over = (axis: string): Node => node("logSumExp", [x], { over: [axis] });
    return drawn([x], [over("a"), over("b"), sum(x, ["a"]), node("max", [x], { over: ["b"] }), sum(x, ["a", "b"])]);
  });
  const rows = variable({ a: 3, b: 1500 });
  const largest = drawn([rows], [node("topk", [rows], { axis: "b", slot: "k", count: 4 })]);
  return [...products, batched, ...grouped, ...mixed, ...experts, ...reductions, largest];
}

const name = wgpuDevice();
for (const [what, tuning] of Object.entries(tunings)) {
  Deno.test({
    name: `${what}: as the interpreter`,
    ignore: !name?.startsWith("wgpu"),
    fn: async () => {
      using device = tuned(name as "wgpu", tuning);
      for (const [i, each] of cases().entries()) {
        assertAgree(await onDevice(each, device), expected(each), `case ${i}`);
      }
    },
  });
}
