/** @file From every primitive's samples: edge sizes, storage types, ties, empty groups, NaN and infinities. */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { add, constant, mul, node } from "../../dsl/build.ts";
import { type Bounded, tolerance } from "../../dsl/interpret/bound.ts";
import { evaluate } from "../../dsl/interpret/interpret.ts";
import { backward } from "../../dsl/transforms/reverse.ts";
import type { Op } from "../../dsl/node.ts";
import { isReal, type Primitive } from "../../dsl/primitive.ts";
import { axesOf } from "../../dsl/shape.ts";
import type { Device } from "../../backend/runtime.ts";
import { assertAgree, type Case, expected, onDevice, randomNumbers } from "../agreement.ts";
import { allDevices, withDevice } from "../devices.ts";
import { straightforward } from "./reference.ts";
import { allPrimitives, caseOf, probe } from "./samples.ts";
import {
  edgeSizes,
  groupVariants,
  longVariants,
  manyRows,
  sizeVariants,
  storageVariants,
  type Variant,
} from "./variants.ts";

// Deno's own WebGPU runs the shaders that wgpu runs; the samples as they are (primitives_test.ts) suffice for it.
const devices = allDevices().filter((name) => name !== "interpreter" && name !== "webgpu");
const storageTypes = ["bf16", "f16", "u32"] as const;
const sampled = allPrimitives.filter(({ samples }) => samples.length > 0);

/** Runs a function with every device of this run. */
async function withDevices(run: (devices: readonly Device[]) => Promise<void>): Promise<void> {
  const nested = (names: readonly string[], opened: readonly Device[]): Promise<void> =>
    names.length === 0 ? run(opened) : withDevice(names[0], (device) => nested(names.slice(1), [...opened, device]));
  await nested(devices, []);
}

/** Values, and gradients of the variants whose name `differentiate` allows, on every device. */
async function assertVariants(
  { op }: Primitive<Op>,
  variants: readonly Variant[],
  differentiate: RegExp = /$^/,
): Promise<void> {
  await withDevices(async (opened) => {
    for (const [i, { name, sample }] of variants.entries()) {
      const each = caseOf(op, sample, i + 1), [result] = each.results, programs: Case[] = [each];
      if (differentiate.test(name) && !sample.valuesOnly && isReal(result) && each.parameters.some(isReal)) {
        const wrt = each.parameters.filter(isReal);
        programs.push({ ...each, results: backward([probe(result, randomNumbers(i + 5))], [constant(1)], wrt) });
      }
      for (const program of programs) {
        const want = expected(program);
        for (const device of opened) {
          assertAgree(await onDevice(program, device), want, `${op}, ${name}, ${device.name}`);
        }
      }
    }
  });
}

/** The case with every real replaced by `f` of its place. */
const withReals = (each: Case, f: (value: number, place: number) => number): Case => ({
  ...each,
  values: each.values.map((values, i) => isReal(each.parameters[i]) ? values.map(f) : values),
});

for (const primitive of sampled) {
  const { op, samples } = primitive, variants = sizeVariants(primitive);

  Deno.test(`${op}: the interpreter computes what a plain loop does`, () => {
    const groups = groupVariants(primitive);
    const all = [...samples.map((sample) => ({ name: "as it is", sample })), ...variants, ...groups];
    for (const [i, { name, sample }] of all.entries()) {
      const { results: [result], parameters, values } = caseOf(op, sample, i + 1);
      const given = new Map(parameters.map((x, j) => [x, { shape: x.shape, data: values[j] }]));
      const [{ data }] = evaluate([result], given), want = straightforward(result, values);
      assertEquals(data.length, want.length, `${op}, ${name}`);
      want.forEach((value, j) => assertAlmostEquals(data[j], value, 1e-12 * (1 + Math.abs(value)), `${op}, ${name}`));
    }
  });

  if (samples.some(({ inputs }) => inputs.some(({ shape }) => axesOf(shape).length > 0))) {
    Deno.test(`${op}: every device agrees with the interpreter on sizes 0, 1 and primes`, async () => {
      for (const size of edgeSizes.slice(1)) {
        assert(variants.some(({ name }) => name.endsWith(`:${size}`)), `no sample of ${op} allows size ${size}`);
      }
      await assertVariants(primitive, variants, /:[01]$/);
    });

    Deno.test(`${op}: every device agrees with the interpreter on ${manyRows} rows`, () => {
      const long = longVariants(primitive);
      assert(long.length > 0, `no sample of ${op} allows many rows`);
      return assertVariants(primitive, long);
    });
  }

  const groups = groupVariants(primitive);
  if (groups.length > 0) {
    Deno.test(`${op}: every device agrees where all indices are one, and where they are −1`, () =>
      assertVariants(primitive, groups, /0$/));
  }

  const stored = storageVariants(primitive, storageTypes);
  if (stored.length > 0) {
    Deno.test(`${op}: every device agrees in ${stored.map(({ name }) => name).join(", ")}`, () =>
      assertVariants(primitive, stored));
  }

  const tied = samples.filter(({ inputs }) => inputs.some(({ range, dtype }) => !range && !dtype));
  if (tied.length > 0) {
    Deno.test(`${op}: every device agrees where many elements are equal`, () =>
      withDevices(async (opened) => {
        for (const [i, sample] of tied.entries()) {
          const each = withReals(caseOf(op, sample, i + 1), (value) => Math.round(value)), want = expected(each);
          for (const device of opened) assertAgree(await onDevice(each, device), want, `${op}, ties, ${device.name}`);
        }
      }));
  }

  // Shaders may assume that there are neither NaN nor infinities; the processor follows IEEE 754.
  if (devices.includes("cpu") && samples.some(({ inputs }) => inputs.some(({ dtype = "f32" }) => dtype === "f32"))) {
    Deno.test(`${op}: NaN, infinities and −0 on the CPU are as IEEE 754 has them`, () =>
      withDevice("cpu", async (device) => {
        const special = [NaN, Infinity, -Infinity, -0, 0, 3e38, -3e38, 1e-40];
        for (const [i, sample] of samples.entries()) {
          for (const [start, every] of [[0, 3], [5, 7]]) {
            const each = withReals(
              caseOf(op, sample, i + 1),
              (value, place) => place % every === 0 ? special[(place / every + start) % special.length] : value,
            );
            assertIeee(await onDevice(each, device), expected(each), `${op}, sample ${i}`);
          }
        }
      }));
  }
}

/** What is not finite must be the same, what is must agree; where f32 overflows and f64 does not, nothing is said. */
function assertIeee(got: readonly Float64Array[], want: readonly Bounded[], what: string): void {
  want.forEach(({ data, error }, i) =>
    data.forEach((value, j) => {
      const found = got[i][j], overflows = Math.abs(value) > 3.4e38 && Number.isFinite(value);
      if (overflows || (Number.isFinite(value) && error[j] === Infinity && Number.isFinite(found))) return;
      const right = Number.isFinite(value) ? Math.abs(found - value) <= tolerance * error[j] : Object.is(found, value);
      assert(right, `${what}: element ${j} of result ${i} is ${found}, expected ${value}`);
    })
  );
}

/** More elements than f32 can count. */
const large = 2 ** 24 + 64;

for (const name of devices) {
  Deno.test(`more than 2²⁴ elements on ${name}: elementwise work, structure, sums and the largest`, () =>
    withDevice(name, async (device) => {
      const x = node("variable", [], { shape: { a: large }, dtype: "f32", name: "x" });
      const counted = node("cast", [node("iota", [], { axis: "a", size: large })], { dtype: "f32" });
      const padded = node("pad", [x], { axis: "a", before: 1, after: 0 });
      const shifted = node("slice", [padded], { axis: "a", start: 0, stop: large });
      const random = randomNumbers(2), values = new Float64Array(large).map(() => 1 + Math.floor(random() * 8));
      values[large - 1] = 9;
      const results = [
        mul(x, shifted),
        node("sum", [x], { over: ["a"] }),
        node("max", [x], { over: ["a"] }),
        node("slice", [add(counted, x)], { axis: "a", start: large - 3, stop: large }),
      ];
      const [changed, total, most, last] = await onDevice({ parameters: [x], results, values: [values] }, device);
      // Products of whole numbers are exact; a sum in parts of parts is far better than one after the other.
      assertEquals(changed.findIndex((value, i) => value !== values[i] * (i > 0 ? values[i - 1] : 0)), -1);
      assertAlmostEquals(total[0], values.reduce((so, value) => so + value, 0), 1e-5 * total[0]);
      assertEquals(most[0], 9);
      assertEquals([...last], [3, 2, 1].map((back) => Math.fround(Math.fround(large - back) + values[large - back])));
    }));
}
