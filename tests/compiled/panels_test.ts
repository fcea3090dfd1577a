/**
 * @file Loops that go on with a product's rows on the CPU: which ones join it, what is then never stored, and that the
 * values are those of the program without fusion.
 */
import { assert, assertEquals } from "@std/assert";
import type { Kernel } from "../../backend/compiler/kernel.ts";
import type { CompiledProgram } from "../../backend/compiler/emit.ts";
import { pipeline } from "../../backend/compiler/pipeline.ts";

import { node } from "../../dsl/build.ts";
import {
  add,
  contract,
  contractAt,
  mul,
  rename,
  silu,
  softmax,
  square,
  sum,
  type Tensor,
  unflatten,
} from "../../dsl/mod.ts";
import type { Node } from "../../dsl/node.ts";
import type { Shape } from "../../dsl/shape.ts";
import { nodeOf, tensorOf } from "../../dsl/tensor.ts";
import { assertAgree, type Case, drawValues, expected, onDevice, randomNumbers } from "../agreement.ts";
import { withDevice } from "../devices.ts";
import { openNative } from "../../backend/device.ts";

type Real<A extends string> = Tensor<A>;

const variable = (shape: Shape, dtype: "f32" | "i32" = "f32"): Node =>
  node("variable", [], { shape, dtype, name: "x" });

function caseOf(parameters: readonly Node[], results: readonly Node[], index?: Float64Array): Case {
  const random = randomNumbers(11);
  const values = parameters.map((each) => each.dtype === "i32" ? index! : drawValues(each, random));
  return { parameters, results, values };
}

/** Compiles for the CPU, checks the values against the interpreter, fused and not, and returns the plan. */
async function planned(each: Case): Promise<CompiledProgram> {
  await withDevice("cpu", async (device) => {
    for (const fuse of ["on", "off"] as const) {
      assertAgree(await onDevice(each, device, { fuse }), expected(each), fuse);
    }
  });
  using device = openNative("cpu");
  return pipeline({ parameters: each.parameters, results: each.results }, {
    capabilities: device.capabilities,
    fuse: "on",
    poison: true,
    validate: true,
    donated: each.parameters.map(() => false),
    hosted: each.parameters.map(() => false),
  });
}

/** What stands behind each kernel that is a product. */
const behind = ({ plan }: CompiledProgram) =>
  plan.kernels.filter((kernel): kernel is Extract<Kernel, { kind: "contract" | "grouped" }> =>
    kernel.kind === "contract" || kernel.kind === "grouped"
  ).map(({ then }) => then);

const arena = ({ plan }: CompiledProgram): number => plan.arena.reduce((a, b) => a + b, 0);

Deno.test("scores go through their softmax row by row, and are never stored", async () => {
  const parameters = [
    variable({ batch: 2, head: 3, seq: 37, dim: 8 }),
    variable({ batch: 2, key: 29, head: 3, dim: 8 }),
  ];
  const [q, k] = parameters.map((each) => tensorOf(each)) as [
    Real<"batch" | "head" | "seq" | "dim">,
    Real<"batch" | "key" | "head" | "dim">,
  ];
  const compiled = await planned(caseOf(parameters, [nodeOf(softmax(contract(q, k, "dim"), "key"))]));
  assertEquals([compiled.plan.steps.length, arena(compiled)], [1, 0]);
  assertEquals(behind(compiled).map((then) => then?.stored), [false]);
});

Deno.test("a product that is a result too is stored once, and its rows go on from the cache", async () => {
  const parameters = [variable({ batch: 41, embed: 19 }), variable({ embed: 19, hidden: 33 })];
  const [x, w] = parameters.map((each) => tensorOf(each)) as [Real<"batch" | "embed">, Real<"embed" | "hidden">];
  const h = contract(x, w, "embed");
  const compiled = await planned(caseOf(parameters, [nodeOf(h), nodeOf(silu(h))]));
  assertEquals([compiled.plan.steps.length, behind(compiled)[0]?.stored], [1, true]);
});

Deno.test("gate and up: one product's rows go on with the other's", async () => {
  const parameters = [
    variable({ batch: 41, embed: 19 }),
    variable({ embed: 19, hidden: 32 }),
    variable({ embed: 19, hidden: 32 }),
  ];
  const [x, gate, up] = parameters.map((each) => tensorOf(each)) as [
    Real<"batch" | "embed">,
    Real<"embed" | "hidden">,
    Real<"embed" | "hidden">,
  ];
  const compiled = await planned(
    caseOf(parameters, [nodeOf(mul(silu(contract(x, gate, "embed")), contract(x, up, "embed")))]),
  );
  assertEquals(compiled.plan.steps.length, 2);
  assertEquals(behind(compiled).filter((then) => then).length, 1);
  assert(arena(compiled) < 2 * 4 * 41 * 32, "both are stored");
});

Deno.test("a row's sum and another value of its elements read a product once, and it is never stored", async () => {
  const parameters = [
    variable({ batch: 41, embed: 19 }),
    variable({ embed: 19, hidden: 33 }),
    variable({ batch: 41, hidden: 33 }),
  ];
  const [x, w, up] = parameters.map((each) => tensorOf(each)) as [
    Real<"batch" | "embed">,
    Real<"embed" | "hidden">,
    Real<"batch" | "hidden">,
  ];
  const h = contract(x, w, "embed");
  const compiled = await planned(caseOf(parameters, [nodeOf(sum(mul(h, up), "hidden")), nodeOf(mul(h, 2))]));
  assertEquals([compiled.plan.steps.length, behind(compiled)[0]?.stored], [1, false]);
});

Deno.test("columns are summed by a loop of its own: it needs every row", async () => {
  const parameters = [variable({ batch: 41, embed: 19 }), variable({ embed: 19, hidden: 33 })];
  const [x, w] = parameters.map((each) => tensorOf(each)) as [Real<"batch" | "embed">, Real<"embed" | "hidden">];
  const compiled = await planned(caseOf(parameters, [nodeOf(sum(square(contract(x, w, "embed")), "batch"))]));
  assertEquals(behind(compiled), [undefined]);
  assert(arena(compiled) >= 4 * 41 * 33);
});

Deno.test("heads of a row, and rows in another order than the product's, are the product's rows still", async () => {
  const parameters = [
    variable({ batch: 3, seq: 14, embed: 19 }),
    variable({ embed: 19, hidden: 24 }),
    variable({ seq: 14, batch: 3, head: 4, dim: 6 }),
  ];
  const [x, w, more] = parameters.map((each) => tensorOf(each)) as [
    Real<"batch" | "seq" | "embed">,
    Real<"embed" | "hidden">,
    Real<"seq" | "batch" | "head" | "dim">,
  ];
  const heads = unflatten(contract(x, w, "embed"), "hidden", { head: 4, dim: 6 });
  const compiled = await planned(caseOf(parameters, [nodeOf(softmax(add(heads, more), "dim"))]));
  assertEquals([compiled.plan.steps.length, behind(compiled)[0]?.stored], [1, false]);
});

Deno.test("rows of experts go on while they are in the cache, rows without an expert as zeros", async () => {
  const parameters = [
    variable({ token: 23, slot: 2, embed: 9 }),
    variable({ expert: 5, embed: 9, hidden: 17 }),
    variable({ token: 23, slot: 2 }, "i32"),
    variable({ token: 23, slot: 2 }),
  ];
  const [x, w] = parameters.map((each) => tensorOf(each)) as [
    Real<"token" | "slot" | "embed">,
    Real<"expert" | "embed" | "hidden">,
  ];
  const index = tensorOf<"token" | "slot", "int">(parameters[2]),
    gates = tensorOf<"token" | "slot", "real">(parameters[3]);
  const weighed = mul(add(silu(contractAt(x, w, { expert: index }, "embed")), rename(gates, {})), gates);
  const routing = Float64Array.from({ length: 46 }, (_, i) => (i * 7) % 6 - 1);
  const compiled = await planned(caseOf(parameters, [nodeOf(weighed)], routing));
  assertEquals(compiled.plan.kernels.map(({ kind }) => kind), ["order", "grouped"]);
  assertEquals(behind(compiled)[0]?.stored, false);
});
