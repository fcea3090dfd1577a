/** @file Operations that are composed of primitives, against plain loops, on every device. */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { compile, values } from "../../backend/compile.ts";
import {
  contract,
  contractAt,
  cumsum,
  grad,
  mul,
  read,
  square,
  sum,
  take,
  type Tensor,
  tensor,
  until,
} from "../../dsl/mod.ts";
import { topological } from "../../dsl/node.ts";
import { nodeOf } from "../../dsl/tensor.ts";
import { allDevices, withDevice } from "../devices.ts";
import { checkGradients } from "../gradients.ts";

type Rows = Tensor<"row" | "seq">;
// Small whole numbers: every order of summation gives the same f32.
const host = (rows: number, size: number): number[] => Array.from({ length: rows * size }, (_, i) => (i * 7) % 11 - 4);

function running(rows: number, size: number): number[] {
  const out = host(rows, size);
  out.forEach((_, i) => i % size > 0 && (out[i] += out[i - 1]));
  return out;
}

for (const name of allDevices()) {
  Deno.test(`cumsum and its gradient on ${name}: a running sum, on sizes around powers of two`, () =>
    withDevice(name, async (device) => {
      for (const [rows, size] of [[3, 1], [2, 2], [3, 5], [2, 64], [1, 1000]]) {
        const x: Rows = tensor({ row: rows, seq: size }, host(rows, size));
        const made = await compile((x: Rows) => cumsum(x, "seq"), device)(x);
        assertEquals(Array.from(await values(made, device, "row", "seq")), running(rows, size));
        // The gradient of Σ cumsum is how many sums an element is in.
        const slope = await compile(grad((x: Rows) => sum(cumsum(x, "seq"))), device)(x);
        const counts = Array.from({ length: rows * size }, (_, i) => size - i % size);
        assertEquals(Array.from(await values(slope, device, "row", "seq")), counts);
      }
      const wrapping = tensor({ seq: 3 }, [2 ** 31 - 1, 1, 5], "i32");
      const wrapped = await compile((x: Tensor<"seq", "int">) => cumsum(x, "seq"), device)(wrapping);
      assertEquals(Array.from(await values(wrapped, device)), [2 ** 31 - 1, -(2 ** 31), -(2 ** 31) + 5]);
    }));

  Deno.test(`until on ${name}: elements beyond each row's length are 0, whatever stood there`, () =>
    withDevice(name, async (device) => {
      const x: Rows = tensor({ row: 2, seq: 3 }, [[1, NaN, Infinity], [4, 5, 6]]);
      const length = tensor({ row: 2 }, [1, 3], "i32");
      const made = await compile((x: Rows, length: Tensor<"row", "int">) => until(x, "seq", length), device)(x, length);
      assertEquals(Array.from(await values(made, device, "row", "seq")), [1, 0, 0, 4, 5, 6]);
    }));
}

Deno.test("cumsum and until: gradients by differences", () => {
  const x = tensor({ seq: 5 }, [0.3, -1, 2, 0.7, -0.4]), weights = tensor({ seq: 5 }, [1, -2, 3, 0.5, 2]);
  checkGradients(({ x }) => sum(mul(cumsum(mul(x, x), "seq"), weights)), { x });
  checkGradients(({ x }) => sum(mul(until(mul(x, x), "seq", 3), weights)), { x });
});

Deno.test("a mixture's gates weigh rows before their product: its gradients need no expert's result", () => {
  const hidden = tensor({ token: 3, slot: 2, hidden: 2 }, [1, 2, 3, 4, 5, 6, -1, -2, -3, 0.5, 0.25, 8]);
  const down = tensor({ expert: 3, embed: 2, hidden: 2 }, [2, -1, 0.5, 3, 1, 1, -2, 4, 0.1, 0.2, 0.3, 0.4]);
  const gates = tensor({ token: 3, slot: 2 }, [0.75, 0.25, -0.5, 1.5, 0, 2]);
  const expert = tensor({ token: 3, slot: 2 }, [2, 0, 0, 1, -1, 2], "i32");
  type Given = { hidden: typeof hidden; down: typeof down; gates: typeof gates };
  const each = ({ hidden, down }: Given) => contractAt(hidden, down, { expert }, "hidden");
  const combined = (given: Given) => sum(square(contract(each(given), given.gates, "slot")));
  const inWords = (given: Given) => sum(square(sum(mul(each(given), given.gates), "slot")));
  const given = { hidden, down, gates }, slopes = grad(combined)(given), wanted = grad(inWords)(given);
  for (const name of ["hidden", "down", "gates"] as const) {
    const numbers = (from: Given): number[] => [...read(from[name] as unknown as Tensor<string>)];
    numbers(slopes).forEach((value, i) => assertAlmostEquals(value, numbers(wanted)[i], 1e-12));
  }
  // All slots' rows of a token are summed within the product, forward, and none of it is asked for by slot backward.
  const results = topological([nodeOf(combined(given)), ...Object.values(slopes).map((slope) => nodeOf(slope))])
    .filter(({ op, shape }) => op === "contractAt" && "embed" in shape);
  assertEquals(results.map(({ shape }) => Object.keys(shape)), [["token", "embed"]]);
});

Deno.test("take: an index with the taken axis itself says what stands at each place", () => {
  const x = tensor({ row: 2, seq: 3 }, [[1, 2, 3], [4, 5, 6]]);
  const reversed = tensor({ seq: 3 }, [2, 1, 0], "i32");
  assertEquals(Array.from(read(take(x, "seq", reversed), "row", "seq")), [3, 2, 1, 6, 5, 4]);
  const each = tensor({ row: 2, seq: 3 }, [[2, 2, 0], [1, -1, 0]], "i32");
  assertEquals(Array.from(read(take(x, "seq", each), "row", "seq")), [3, 3, 1, 5, 0, 4]);
  assert(!("seq′" in take(x, "seq", each).shape));
});
