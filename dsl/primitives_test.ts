/** @file Bodies of scalar primitives, in f32 as devices run them, against the function in f64. */
import { assert } from "@std/assert";
import type { Op } from "./node.ts";
import type { Builder, Primitive } from "./primitive.ts";
import { primitives } from "./primitives/mod.ts";

/** Runs instructions in f32, each rounded once: no fused multiply-add, the least that a device does. */
function rounding(): Builder & { readonly values: number[] } {
  const values: number[] = [];
  const push = (value: number): number => values.push(Math.fround(value)) - 1;
  return {
    values,
    constant: push,
    cast: () => 0,
    reduce: () => 0,
    select: (condition, yes, no) => push(values[condition] ? values[yes] : values[no]),
    unary: (op, a) => {
      const x = values[a];
      if (op === "neg") return push(-x);
      if (op === "abs") return push(Math.abs(x));
      if (op === "recip") return push(1 / x);
      if (op === "exp") return push(Math.exp(x));
      throw new Error(`no body uses ${op}`);
    },
    binary: (op, a, b) => {
      const x = values[a], y = values[b];
      if (op === "add") return push(x + y);
      if (op === "sub") return push(x - y);
      if (op === "mul") return push(x * y);
      if (op === "less") return push(Number(x < y));
      throw new Error(`no body uses ${op}`);
    },
  };
}

/** The value of a primitive's body. */
function inF32({ lower }: Primitive<Op>, x: number): number {
  const build = rounding(), input = build.values.push(x) - 1;
  return build.values[lower!(build, [input], undefined as never)];
}

/** Distance of two f32 numbers next to `x`. */
const unitOf = (x: number): number => 2 ** Math.max(-149, Math.floor(Math.log2(Math.abs(x))) - 23);

/** Largest error of a body over [−most, most], in units in the last place. */
function worst(op: "erf" | "sinh", most: number): number {
  const record = primitives[op] as unknown as Primitive<Op>;
  let largest = 0;
  for (let i = -200_000; i <= 200_000; i++) {
    const x = Math.fround(most * i / 200_000);
    const [exact] = record.interpret({ dtype: "f32" } as never, [{ shape: {}, data: Float64Array.of(x) }]);
    const got = inF32(record, x);
    if (exact === 0 ? got !== 0 : !Number.isFinite(got)) return Infinity;
    if (exact !== 0) largest = Math.max(largest, Math.abs(got - exact) / unitOf(exact));
  }
  return largest;
}

Deno.test("erf as a body: within 2 ulp, odd, and right at its ends", () => {
  const error = worst("erf", 6), record = primitives.erf as unknown as Primitive<Op>;
  assert(error < 2, `${error} ulp`);
  assert(worst("erf", 1e-20) < 2);
  assert(inF32(record, Infinity) === 1 && inF32(record, -Infinity) === -1 && Number.isNaN(inF32(record, NaN)));
  assert(Object.is(inF32(record, -0), -0) || inF32(record, -0) === 0);
});

Deno.test("sinh as a body: within 4 ulp, and up to the largest number", () => {
  const error = Math.max(worst("sinh", 2), worst("sinh", 89)), record = primitives.sinh as unknown as Primitive<Op>;
  assert(error < 4, `${error} ulp`);
  assert(inF32(record, 90) === Infinity && inF32(record, -90) === -Infinity && Number.isNaN(inF32(record, NaN)));
});
