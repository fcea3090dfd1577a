/**
 * @file Random programs on every device: fused, unfused and donated they are what the interpreter says, values and
 * gradients. A failing one is shrunk and printed as code. `deno task nightly` runs 10,000 of them.
 */
import fc from "fast-check";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { node } from "../../dsl/build.ts";
import { type Node, type Op, topological } from "../../dsl/node.ts";
import { simplify } from "../../dsl/simplify.ts";
import { inline } from "../../backend/compiler/inline.ts";
import { tile } from "../../backend/compiler/tile.ts";
import { type Case, withDecisionsFedIn } from "../agreement.ts";
import { allDevices, withDevice } from "../devices.ts";
import { checkCase } from "./check.ts";
import { draftOf, programOf, wideSizes } from "./generate.ts";
import { printCase } from "./print.ts";

const lists = fc.array(fc.nat(10_000), { minLength: 4, maxLength: 60 });
const runs = Number(Deno.env.get("XFT_RANDOM_PROGRAMS") ?? 160);
const seed = Number(Deno.env.get("XFT_RANDOM_SEED") ?? 20261122);
/** Shaders take long to compile in software: fewer programs there, unless more than the usual are asked for. */
const runsOn = (name: string): number => name === "cpu" ? runs : Math.ceil(runs / (name === "webgpu" ? 16 : 4));

for (const name of allDevices().filter((each) => each !== "interpreter")) {
  Deno.test(`random programs on ${name}: fused = unfused = donated = interpreter, and reruns are the same bits`, () =>
    withDevice(name, async (device) => {
      await fc.assert(
        fc.asyncProperty(lists, async (list) => {
          const each = programOf(list);
          try {
            await checkCase(each, device);
          } catch (error) {
            throw new Error(`${(error as Error).message}\n\n${printCase(each, name)}\n`, { cause: error });
          }
        }),
        { numRuns: runsOn(name), seed },
      );
    }));
}

/** Programs in which something is so large that it is computed tile by tile: few of all, so they are looked for. */
const tiled = fc.sample(lists, { numRuns: 150, seed }).map((list) => draftOf(list, wideSizes)).filter(({ results }) => {
  const limits = { largeBytes: 4096, accumulates: true, windowAlignment: 4 };
  return topological(tile(simplify(inline(results)), limits)).some(({ op }) => op === "tiled");
}).slice(0, 6);

for (const name of allDevices().filter((each) => each !== "interpreter" && each !== "webgpu")) {
  Deno.test(`random programs with large products on ${name}: in tiles they are the same`, () =>
    withDevice(name, async (device) => {
      assertEquals(tiled.length, 6);
      // Shaders take long to compile in software.
      for (const each of name === "cpu" ? tiled : tiled.slice(0, 2)) await checkCase(withDecisionsFedIn(each), device);
    }));
}

Deno.test("a program found at random: a kernel does not load elsewhere what it makes, by way of a recomputation", () =>
  withDevice("cpu", async (device) => {
    const each = programOf([5141, 0, 621, 0, 0, 0, 7656, 9208, 0, 0, 1537, 4072, 570, 2526]);
    assert(topological(each.results).some(({ op }) => op === "concat"), "the generator makes another program of this");
    await checkCase(each, device);
  }));

Deno.test("a program found at random: kernels that share a recomputation do not wait for each other", () =>
  withDevice("cpu", async (device) => {
    const each = programOf([6957, 0, 0, 1341, 219, 2967, 0, 795, 0, 6686, 963, 9405, 6887]);
    assert(topological(each.results).some(({ op }) => op === "barrier"), "the generator makes another program of this");
    await checkCase(each, device);
  }));

for (const name of allDevices().filter((each) => each !== "interpreter")) {
  Deno.test(`a program found at random, on ${name}: what is written into a product's memory keeps the rest of it`, () =>
    withDevice(name, async (device) => {
      const each = programOf([8318, 2901, 0, 0, 1333, 0, 2772, 3291, 0, 0, 0, 0]);
      const written = topological(each.results).filter(({ op }) => op === "write").map(({ inputs: [x] }) => x.op);
      assert(written.includes("contract"), "the generator makes another program of this");
      await checkCase(each, device);
    }));
}

const programs = fc.sample(lists, { numRuns: 300, seed }).map((list) => programOf(list));

Deno.test("random programs: every family of operations occurs in them", () => {
  const seen = new Set<Op>(programs.flatMap(({ results }) => topological(results).map(({ op }) => op)));
  const wanted: readonly Op[] = [
    ...[
      "add",
      "maximum",
      "where",
      "cast",
      "sum",
      "max",
      "logSumExp",
      "contract",
      "contractAt",
      "contractInto",
    ] as const,
    ...["take", "scatter", "topk", "write", "iota", "concat", "pad", "flatten", "rename", "expand", "call"] as const,
  ];
  assertEquals(wanted.filter((op) => !seen.has(op)), []);
});

/** Runs code that stands in no file. */
const run = (code: string): Promise<{ failing: Case }> =>
  import(`data:application/typescript,${encodeURIComponent(code)}`);

const root = new URL("../../", import.meta.url).href;
const withCall = programs.findIndex(({ results }) => topological(results).some(({ op }) => op === "call"));

for (const index of [0, 1, withCall]) {
  Deno.test(`a printed program is the program: number ${index}, run from its code`, async () => {
    const code = printCase(programs[index], "cpu", root), { failing } = await run(code);
    assertEquals(printCase(failing, "cpu", root), code);
  });
}

Deno.test("a printed program that fails fails again when it is run from its code", async () => {
  const x = node("variable", [], { shape: { a: 2 }, dtype: "f32", name: "x0" });
  // A start outside of the axis: the interpreter refuses it, on whatever device.
  const start = node("constant", [], { value: 2, dtype: "i32" });
  const results: Node[] = [node("write", [x, start, x], { axis: "a" })];
  const code = printCase({ parameters: [x], results, values: [Float64Array.of(1, -0)] }, "cpu", root);
  assert(code.includes("Float64Array.of(1, -0)"));
  await assertRejects(() => run(code), RangeError, "start 2 leaves axis");
});
