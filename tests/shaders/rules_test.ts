/** @file Rules that keep results right: what must not change a bit, what must be an error, and what it says. */
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { pipeline } from "../../backend/compiler/pipeline.ts";
import { open } from "../../backend/open.ts";
import type { Device } from "../../backend/runtime.ts";
import { UserError } from "../../dsl/errors.ts";
import { add, constant, mul, node, scale, sum } from "../../dsl/build.ts";
import type { Node } from "../../dsl/node.ts";
import { isReal } from "../../dsl/primitive.ts";
import { axesOf, type Shape } from "../../dsl/shape.ts";
import { backward } from "../../dsl/transforms/reverse.ts";
import { assertSameBits, type Case, drawValues, onDevice, randomNumbers } from "../agreement.ts";
import { allDevices, withDevice } from "../devices.ts";
import { adapters } from "./kernels.ts";
import { stepCase } from "../compiled/moe_step.ts";
import { allPrimitives, caseOf } from "../primitives/samples.ts";

const devices = allDevices().filter((each) => each !== "interpreter");
const variable = (shape: Shape, dtype: Node["dtype"] = "f32"): Node =>
  node("variable", [], { shape, dtype, name: "x" });

/** Runs with a variable of the environment, which native devices read when they are opened. */
async function withVariable<T>(name: string, value: string, run: () => Promise<T>): Promise<T> {
  const before = Deno.env.get(name);
  Deno.env.set(name, value);
  try {
    return await run();
  } finally {
    if (before === undefined) Deno.env.delete(name);
    else Deno.env.set(name, before);
  }
}

/** Every primitive's samples with their gradients, in f32 and bf16. */
const sampleCases = (): Case[] =>
  allPrimitives.flatMap(({ op, samples }) =>
    samples.flatMap((sample, i) =>
      (["f32", "bf16"] as const).map((dtype): Case => {
        const inputs = sample.inputs.map((input) => input.dtype === undefined ? { ...input, dtype } : input);
        const each = caseOf(op, { ...sample, inputs }, i + 1), [result] = each.results;
        const real = each.parameters.filter(isReal);
        if (sample.valuesOnly || !isReal(result) || real.length === 0) return each;
        const loss = sum(mul(result, result), axesOf(result.shape));
        return { ...each, results: [result, ...backward([loss], [constant(1, loss.dtype)], real)] };
      })
    )
  );

for (const name of devices) {
  if (name.startsWith("wgpu")) {
    Deno.test(`${name}: bounds-checked and trusted shaders give the same bits`, async () => {
      const cases = [...sampleCases(), stepCase()], trusted: Float64Array[][] = [];
      await withDevice(name, async (device) => {
        for (const each of cases) trusted.push(await onDevice(each, device));
      });
      await withVariable("XFT_SHADERS", "checked", () =>
        withDevice(name, async (device) => {
          for (const [i, each] of cases.entries()) {
            assertSameBits(await onDevice(each, device), trusted[i], `case ${i}`);
          }
        }));
    });
  }

  if (name !== "webgpu") {
    Deno.test(`${name}: an aborted signal ends a long step, which fails with the signal's reason`, async () => {
      const controller = new AbortController();
      using device = await open(name, { signal: controller.signal });
      const x = variable({ a: 1024, b: 1024 });
      // A minute's work on a driver in software, seconds on a processor.
      let y: Node = x;
      for (let i = 0; i < 100; i++) {
        const turned = node("rename", [y], { names: { a: "b", b: "c" } });
        y = node("rename", [scale(node("contract", [y, turned], { over: ["b"] }), 1e-3)], { names: { c: "b" } });
      }
      const program = device.build({ parameters: [x], results: [y] }, {
        donated: [false],
        hosted: [false],
        fuse: "on",
        poison: false,
      });
      const values = drawValues({ shape: x.shape }, randomNumbers(1));
      const given = device.put(node("data", [], { shape: x.shape, dtype: "f32", values }));
      const running = program.run([given]);
      controller.abort(new Error("enough"));
      await assertRejects(() => running, Error, "enough");
      await assertRejects(() => program.run([given]), Error, "enough");
      // What was there before can still be read.
      assertEquals((await device.read(given)).length, 1024 * 1024);
    });
  }

  Deno.test(`${name}: an index out of range is an error that names the operation; −1 is not`, () =>
    withDevice(name, async (device) => {
      const x = variable({ vocab: 5, embed: 3 }), index = variable({ t: 4 }, "i32");
      const w = variable({ expert: 2, embed: 3, hidden: 4 });
      const looked = node("take", [x, index], { axis: "vocab" });
      const programs: { case: Case; says: RegExp }[] = [
        {
          case: { parameters: [x, index], results: [looked], values: [new Float64Array(15), new Float64Array(4)] },
          says: /^take along axis "vocab" of \[vocab:5 embed:3\]: an index/,
        },
        {
          case: {
            parameters: [variable({ t: 4, embed: 3 }), index, w],
            results: [],
            values: [new Float64Array(12), new Float64Array(4), new Float64Array(24)],
          },
          says: /contractAt .* 2 groups: an index/,
        },
      ];
      const [rows] = programs[1].case.parameters;
      const chosen = node("contractAt", [rows, w, index], { axis: "expert", over: ["embed"] });
      programs[1] = { ...programs[1], case: { ...programs[1].case, results: [chosen] } };
      for (const { case: each, says } of programs) {
        const at = (wrong: number): Case => ({
          ...each,
          values: each.values.with(1, Float64Array.of(0, 1, wrong, 0)),
        });
        await onDevice(at(-1), device);
        for (const wrong of [5, -2, 2 ** 31 - 1]) {
          const error = await assertRejects(() => onDevice(at(wrong), device), Error);
          assertMatch(error.message, says);
          // Reported once; the device is well.
          await onDevice(at(1), device);
        }
      }
    }));

  Deno.test(`${name}: sorting into many groups is stable`, () =>
    withDevice(name, async (device) => {
      for (const [positions, groups] of [[3000, 7], [2000, 70_000], [70_000, 300]]) {
        const index = variable({ a: positions }, "i32"), random = randomNumbers(positions);
        const values = Float64Array.from({ length: positions }, () => Math.floor(random() * (groups + 1)) - 1);
        const each: Case = { parameters: [index], results: [node("order", [index], { groups })], values: [values] };
        const [sorted] = await onDevice(each, device);
        const group = (position: number): number => values[position] < 0 ? groups : values[position];
        for (let i = 1; i < positions; i++) {
          const [a, b] = [sorted[i - 1], sorted[i]];
          assert(group(a) < group(b) || (group(a) === group(b) && a < b), `place ${i}: ${a} before ${b}`);
        }
      }
    }));

  Deno.test(`${name}: more elements than 65,535 workgroups of one dimension hold`, () =>
    withDevice(name, async (device) => {
      const size = 65_535 * 256 + 77, x = variable({ a: size }, "bf16");
      const values = [Float64Array.from({ length: size }, (_, i) => i % 199)];
      const [got] = await onDevice({ parameters: [x], results: [add(x, x)], values }, device);
      const wrong = got.findIndex((value, i) => value !== 2 * (i % 199));
      assertEquals(wrong, -1);
    }));
}

Deno.test("cpu: the number of threads changes no bit of a mixture's training step, nor of any primitive", async () => {
  const cases = [stepCase(), ...sampleCases()];
  const runWith = (threads: number): Promise<Float64Array[][]> =>
    withVariable("XFT_THREADS", String(threads), () =>
      withDevice("cpu", async (device: Device) => {
        const results: Float64Array[][] = [];
        for (const each of cases) results.push(await onDevice(each, device));
        return results;
      }));
  const one = await runWith(1);
  for (const threads of [2, 3, 8]) {
    (await runWith(threads)).forEach((results, i) => assertSameBits(results, one[i], `${threads} threads, case ${i}`));
  }
});

Deno.test("a tensor that the adapter cannot bind is refused before anything is allocated, by its size and axes", () => {
  const x = variable({ batch: 4096, vocab: 16384 }), [adapter] = adapters;
  const program = { parameters: [x], results: [add(x, x)] };
  const flags = { donated: [false], hosted: [false], fuse: "on", poison: false } as const;
  const error = assertThrows(() => pipeline(program, { ...flags, capabilities: adapter }), UserError);
  assertMatch(error.message, /67108864 elements \(axes batch vocab\) takes 256 MiB, but GPU binds at most 128 MiB/);
});
