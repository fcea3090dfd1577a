/** @file 16-bit reals against the engine's own halves, and against the definition of bfloat16. */
import { assertEquals } from "@std/assert";
import { halfBits, halfValue, roundTo } from "./half.ts";

/** Every value of 16 bits. */
const all = Array.from({ length: 2 ** 16 }, (_, bits) => bits);

Deno.test("every 16-bit value survives the way to a number and back; NaN stays NaN", () => {
  for (const dtype of ["f16", "bf16"] as const) {
    for (const bits of all) {
      const value = halfValue(dtype, bits);
      if (Number.isNaN(value)) assertEquals(Number.isNaN(roundTo(dtype, value)), true);
      else assertEquals(halfBits(dtype, value), bits);
    }
  }
});

Deno.test("the nearest neighbour is chosen, and of two equally near ones the even", () => {
  for (const dtype of ["f16", "bf16"] as const) {
    for (const bits of all) {
      const low = halfValue(dtype, bits), high = halfValue(dtype, bits + 1);
      if (!Number.isFinite(low) || !Number.isFinite(high) || (bits & 0x7fff) === 0x7fff) continue;
      const middle = (low + high) / 2;
      assertEquals(halfBits(dtype, middle), bits % 2 === 0 ? bits : bits + 1, `between ${low} and ${high}`);
      assertEquals(halfBits(dtype, Math.fround(low * 0.75 + high * 0.25)), bits);
      assertEquals(halfBits(dtype, Math.fround(low * 0.25 + high * 0.75)), bits + 1);
    }
  }
});

Deno.test("beyond the largest value lies infinity", () => {
  assertEquals([65504, 65519, 65520, -1e9].map((x) => roundTo("f16", x)), [65504, 65504, Infinity, -Infinity]);
  assertEquals([3.3895313892515355e38, 3.4e38].map((x) => roundTo("bf16", x)), [3.3895313892515355e38, Infinity]);
  assertEquals(roundTo("f32", 0.1), 0.1);
});
