/** @file 16-bit storage on every device: conversions bit for bit, every primitive, odd sizes, mixed graphs. */
import { assert, assertEquals } from "@std/assert";
import { add, cast, constant, expand, mul, node, scale, shift, sum } from "../../dsl/build.ts";
import { backward } from "../../dsl/transforms/reverse.ts";
import { evaluate } from "../../dsl/interpret/interpret.ts";
import { halfValue, roundTo } from "../../dsl/half.ts";
import { full, key, read, roundByChance } from "../../dsl/mod.ts";
import { nodeOf, tensorOf } from "../../dsl/tensor.ts";
import type { Node, Op } from "../../dsl/node.ts";
import { isReal, type Primitive, type Sample } from "../../dsl/primitive.ts";
import { primitives } from "../../dsl/primitives/mod.ts";
import { axesOf, type Shape } from "../../dsl/shape.ts";
import { agreement, assertAgree, type Case, drawValues, expected, onDevice, randomNumbers } from "../agreement.ts";
import { allDevices, withDevice } from "../devices.ts";

const halves = ["f16", "bf16"] as const;
/** f32 runs the same programs: what is wrong there is not 16-bit storage. */
const reals = ["f32", ...halves] as const;

const variable = (shape: Shape, dtype: Node["dtype"] = "f32"): Node =>
  node("variable", [], { shape, dtype, name: "x" });

/** A case with drawn values. */
function drawn(
  parameters: readonly Node[],
  results: readonly Node[],
  range: readonly [number, number] = [-2, 2],
): Case {
  const random = randomNumbers(7);
  return {
    parameters,
    results,
    values: parameters.map(({ shape, dtype }) => drawValues({ shape, dtype, range }, random)),
  };
}

/** Results of the interpreter, 16-bit ones rounded. */
const exactly = ({ parameters, results, values }: Case): Float64Array[] =>
  evaluate(results, new Map(parameters.map((x, i) => [x, { shape: x.shape, data: values[i] }]))).map(({ data }) =>
    data
  );

/** What the device gives is what the interpreter gives (as f32), bit for bit. */
function assertSame(got: readonly Float64Array[], want: readonly Float64Array[], what: string): void {
  want.forEach((wanted, i) => {
    assertEquals(got[i].length, wanted.length, what);
    wanted.forEach((value, j) =>
      assert(Object.is(got[i][j], Math.fround(value)), `${what}: element ${j} is ${got[i][j]}, not ${value}`)
    );
  });
}

for (const name of allDevices().filter((each) => each !== "interpreter")) {
  for (const dtype of halves) {
    Deno.test(`${dtype} on ${name}: conversions are the same bits as on the host`, () =>
      withDevice(name, async (device) => {
        const all = Float64Array.from({ length: 2 ** 16 }, (_, bits) => halfValue(dtype, bits));
        const narrow = variable({ a: all.length }, dtype);
        assertSame(
          await onDevice({ parameters: [narrow], results: [cast(narrow, "f32")], values: [all] }, device),
          [all],
          "widening",
        );
        // f32 numbers around every 16-bit one: exact, just off, in the middle.
        const words = new Uint32Array(4 * all.length), floats = new Float32Array(words.buffer);
        all.forEach((value, i) => {
          floats[4 * i] = value;
          // Denormal f32 numbers are left out: GPUs may flush them.
          for (let k = 1; k < 4; k++) {
            words[4 * i + k] = words[4 * i] +
              (dtype === "bf16" ? [0, 0x7fff, 0x8000, 0x8001] : [0, 0xfff, 0x1000, 0x1001])[k];
            if ((words[4 * i + k] & 0x7f800000) === 0) words[4 * i + k] = 0;
          }
        });
        const values = Float64Array.from(floats), wide = variable({ a: values.length });
        const result = await onDevice({ parameters: [wide], results: [cast(wide, dtype)], values: [values] }, device);
        assertSame(result, [values.map((x) => roundTo(dtype, x))], "narrowing");
      }));
  }

  for (const dtype of reals) {
    Deno.test(`${dtype} on ${name}: odd sizes and rows, transposed, sliced, padded and joined, fused and not`, () =>
      withDevice(name, async (device) => {
        for (const [a, b] of [[3, 5], [1, 1], [2, 7], [1, 129], [257, 3], [64, 2]]) {
          const x = variable({ a, b }, dtype), row = variable({ b }, dtype), wide = variable({ b, a });
          const scaled = mul(x, expand(row, x.shape));
          const results = [
            scaled,
            expand(scaled, { b, a }),
            node("slice", [scaled], { axis: "b", start: Math.floor(b / 2), stop: b }),
            node("pad", [x], { axis: "b", before: 1, after: 2 }),
            node("concat", [x, scaled, expand(cast(wide, dtype), x.shape)], { axis: "b" }),
            node("flatten", [expand(scaled, { b, a })], { axes: ["b", "a"], axis: "c" }),
            cast(scaled, "f32"),
            node("maximum", [x, scale(x, -0.5)], {}),
          ];
          const each = drawn([x, row, wide], results), want = exactly(each);
          for (const fuse of ["on", "off"] as const) {
            assertSame(await onDevice(each, device, { fuse }), want, `${a}×${b}, fusion ${fuse}`);
          }
          assertSame(await onDevice(each, device, { donate: true }), want, `${a}×${b}, donated`);
        }
      }));

    Deno.test(`${dtype} on ${name}: write at run-time starts leaves the neighbours alone`, () =>
      withDevice(name, async (device) => {
        const shapes: readonly (readonly [Shape, string, number])[] = [
          [{ a: 7 }, "a", 1],
          [{ a: 9, b: 3 }, "a", 2],
          [{ b: 5, a: 7 }, "a", 3],
          [{ b: 3, a: 5, c: 3 }, "a", 5],
          [{ b: 1, a: 6, c: 1 }, "a", 1],
          [{ a: 2, b: 3 }, "a", 1],
        ];
        for (const [shape, axis, length] of shapes) {
          const x = variable(shape, dtype), start = variable({}, "i32");
          const value = variable({ ...shape, [axis]: length }, dtype);
          const parameters = [x, start, value], results = [node("write", [x, start, value], { axis })];
          for (let at = 0; at <= shape[axis] - length; at++) {
            const each = drawn(parameters, results), values = each.values.with(1, Float64Array.of(at));
            const want = exactly({ ...each, values });
            for (const donate of [false, true]) {
              assertSame(
                await onDevice({ ...each, values }, device, { donate }),
                want,
                `start ${at}, donated ${donate}`,
              );
            }
          }
        }
      }));

    Deno.test(`${dtype} on ${name}: every primitive and its gradient agree with the interpreter`, () =>
      withDevice(name, async (device) => {
        for (const { op, samples } of Object.values(primitives) as unknown as Primitive<Op>[]) {
          for (const [i, sample] of samples.entries()) {
            if (op === "cast" || !sample.inputs.some(({ dtype: stored = "f32" }) => stored === "f32")) continue;
            const each = narrowed(op, sample, dtype, i + 1), [result] = each.results;
            const programs = [each];
            if (!sample.valuesOnly && isReal(result)) {
              const loss = sum(cast(mul(result, result), "f32"), axesOf(result.shape));
              const real = each.parameters.filter(isReal);
              programs.push({ ...each, results: backward([loss], [constant(1)], real) });
            }
            for (const program of programs) {
              const want = expected(program);
              for (const fuse of ["on", "off"] as const) {
                // What leaves f16's range has no bound: such elements are not compared.
                const { fault } = agreement(await onDevice(program, device, { fuse }), want);
                assertEquals(fault, undefined, `${op}, sample ${i}, fusion ${fuse}`);
              }
            }
          }
        }
      }));
  }

  Deno.test(`${name}: bf16 weights with f32 activations, forward, backward and an update in place`, () =>
    withDevice(name, async (device) => {
      const x = variable({ t: 13, e: 7 }),
        w = variable({ e: 7, h: 9 }, "bf16"),
        down = variable({ h: 9, e: 7 }, "bf16");
      const wide = cast(w, "f32");
      const hidden = node("tanh", [node("contract", [x, wide], { over: ["e"] })], {});
      const out = node("contract", [hidden, cast(down, "f32")], { over: ["h"] });
      const loss = sum(mul(out, out), ["t", "e"]);
      const [dW, dDown, dX] = backward([loss], [constant(1)], [w, down, x]);
      assertEquals([dW.dtype, dDown.dtype, dX.dtype], ["bf16", "bf16", "f32"]);
      const step = (p: Node, g: Node): Node => cast(add(cast(p, "f32"), scale(cast(g, "f32"), -0.01)), "bf16");
      const each = drawn([x, w, down], [loss, dX, step(w, dW), step(down, dDown)], [-1, 1]);
      const want = expected(each);
      for (const options of [{}, { fuse: "off" }, { donate: true }] as const) {
        assertAgree(await onDevice(each, device, options), want, JSON.stringify(options));
      }
    }));

  Deno.test(`${name}: products read 16-bit weights as they are stored`, () =>
    withDevice(name, (device) => {
      const x = variable({ t: 40, e: 16 }), w = variable({ e: 16, h: 24 }, "bf16");
      const results = [node("contract", [x, cast(w, "f32")], { over: ["e"] })];
      const flags = [false, false];
      const program = device.build({ parameters: [x, w], results }, {
        donated: flags,
        hosted: flags,
        fuse: "on",
        poison: false,
      });
      const done = program.report().kernels.map(({ operations }) => operations);
      assertEquals(done, ["contract"]);
    }));

  Deno.test(`${name}: sums of many bf16 terms are accumulated in f32`, () =>
    withDevice(name, async (device) => {
      const x = variable({ a: 3, b: 5000 }, "bf16");
      const values = [new Float64Array(15000).fill(1 + 2 ** -7)];
      const results = [sum(x, ["b"]), sum(shift(x, 0), ["a", "b"]), node("contract", [x, x], { over: ["b"] })];
      const want = [5039.0625, 15117.1875, 5078.43017578125].map((each) => roundTo("bf16", each));
      const got = await onDevice({ parameters: [x], results, values }, device);
      assertEquals([...got[0]], [want[0], want[0], want[0]]);
      assertEquals([...got[1]], [want[1]]);
      assertEquals([...got[2]], [want[2], want[2], want[2]]);
    }));
}

for (const dtype of halves) {
  Deno.test(`rounding by chance to ${dtype}: neighbours only, exact values stay, the mean is the number`, () => {
    const values = [1, -1, 1.0001, -1.0001, 0.9999, 2 - 2 ** -16, -3.3, 1e-3, 6.1e-5, 100.7, 0, Infinity, NaN];
    if (dtype === "f16") values.push(3.3e-8, -4.5e-7);
    const count = 4096;
    for (const value of values) {
      const x = Math.fround(value), rounded = read(roundByChance(key(11), full({ a: count }, x), dtype));
      const nearest = roundTo(dtype, x);
      if (Object.is(nearest, x) || Number.isNaN(x)) {
        assert(rounded.every((each) => Object.is(each, x)), `${x}`);
        continue;
      }
      const low = Math.min(...rounded), high = Math.max(...rounded);
      assert(low < x && x < high, `${low} … ${x} … ${high}`);
      // Neighbours: nothing of 16 bits lies between them, and nothing else was chosen.
      assertEquals(roundTo(dtype, (low * 3 + high) / 4), low);
      assertEquals(roundTo(dtype, (low + high * 3) / 4), high);
      assert(rounded.every((each) => each === low || each === high));
      const mean = rounded.reduce((total, each) => total + each, 0) / count, share = (x - low) / (high - low);
      // Five standard deviations.
      const bound = 5 * (high - low) * Math.sqrt(share * (1 - share) / count);
      assert(Math.abs(mean - x) <= bound, `${mean} for ${x} ± ${bound}`);
    }
  });

  for (const name of allDevices().filter((each) => each !== "interpreter")) {
    Deno.test(`rounding by chance to ${dtype} on ${name}: the same bits as the interpreter's`, () =>
      withDevice(name, async (device) => {
        const seed = variable({ word: 2 }, "u32"), x = variable({ a: 33, b: 65 });
        const rounded = nodeOf(roundByChance(tensorOf(seed), tensorOf<"a" | "b", "real">(x), dtype));
        const values = [Float64Array.of(3, 141), drawValues({ shape: x.shape, range: [-30, 30] }, randomNumbers(9))];
        const each: Case = { parameters: [seed, x], results: [rounded], values };
        for (const fuse of ["on", "off"] as const) {
          assertSame(await onDevice(each, device, { fuse }), exactly(each), `fusion ${fuse}`);
        }
      }));
  }
}

/** A primitive on its sample, with every real input stored in 16 bits. */
function narrowed(op: Op, sample: Sample<Op>, dtype: Node["dtype"], seed: number): Case {
  const random = randomNumbers(seed);
  const inputs = sample.inputs.map((input) => (input.dtype ?? "f32") === "f32" ? { ...input, dtype } : input);
  const parameters = inputs.map(({ shape, dtype: stored = "f32" }) => variable(shape, stored));
  return {
    parameters,
    results: [node(op, parameters, sample.attributes)],
    values: inputs.map((input) => drawValues(input, random)),
  };
}
