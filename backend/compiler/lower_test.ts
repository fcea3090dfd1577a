/** @file Lowering keeps values, and gives kernels no more to bind than they may. */
import { assertEquals, assertLessOrEqual } from "@std/assert";
import { node } from "../../dsl/build.ts";
import { evaluate } from "../../dsl/interpret/interpret.ts";
import { topological } from "../../dsl/node.ts";
import "../../dsl/primitives/mod.ts";
import { lower } from "./lower.ts";

Deno.test("a row of 24 layers' values is put together by kernels of 7 buffers, in order", () => {
  const pieces = Array.from(
    { length: 24 },
    (_, i) => node("data", [], { shape: { layer: 1, expert: 2 }, dtype: "f32", values: Float32Array.of(i, -i) }),
  );
  const row = node("concat", pieces, { axis: "layer" });
  const [lowered] = lower([row], { maxBindings: 7 });
  for (const { inputs } of topological([lowered])) assertLessOrEqual(inputs.length, 6);
  assertEquals(evaluate([lowered])[0].data, evaluate([row])[0].data);
});
