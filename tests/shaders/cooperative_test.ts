/**
 * @file Products by cooperative matrices. No driver of these tests has any, so the shaders' own text runs with the four
 * operations in plain loops (`cooperative.ts`), in subgroups of every size that an adapter may choose.
 */
import { assert, assertEquals } from "@std/assert";
import type { Capabilities } from "../../backend/device.ts";
import { openNative } from "../../backend/device.ts";
import type { OperandTypes, Then } from "../../backend/compiler/kernel.ts";
import { chooseCooperative } from "../../backend/compiler/wgsl/templates/product/cooperative.ts";
import { wgsl } from "../../backend/compiler/wgsl/wgsl.ts";
import { type Memory, reference } from "../../backend/compiler/wgsl/reference.ts";
import { execute } from "../../backend/compiler/wgsl/testing.ts";
import { allHalfBits, roundTo } from "../../dsl/half.ts";
import { wgpuDevice } from "../support.ts";
import { cooperativeAdapters, emulated } from "./cooperative.ts";
import { type ProductCase, productCases } from "./products.ts";

const storages: Readonly<Record<string, OperandTypes>> = {
  f32: {},
  f16: { a: "f16", b: "f16" },
  bf16: { a: "bf16", b: "bf16" },
  "f16 by f32": { a: "f16" },
  "f16 by bf16": { a: "f16", b: "bf16" },
};

const codeFor = ({ kernel }: ProductCase, capabilities: Capabilities): string =>
  wgsl(kernel, capabilities).dispatches.map((dispatch) => dispatch.kernel.code).join("\n");

/** The type of the matrices in which a shader multiplies; undefined if it uses none. */
const matricesIn = (code: string): string | undefined => /coop_mat(\d+x\d+<f\d+), A>/.exec(code)?.[1];

const adapterNamed = (name: string): Capabilities => cooperativeAdapters.find((each) => each.name === name)!;

/** What a slot's bytes are in memory: two elements of 16 bits in a word. */
function stored(values: Memory, dtype: "f16" | "bf16" | undefined): Memory {
  if (!dtype) return values;
  return new Uint32Array(allHalfBits(dtype, [...values, ...new Array<number>(values.length % 2).fill(0)]).buffer);
}

Deno.test("operands are never rounded: f16 matrices take what is stored as f16, f32 ones the rest", () => {
  const expected: Readonly<Record<string, readonly (string | undefined)[]>> = {
    // In the order of `cooperativeAdapters`.
    f32: [undefined, undefined, "8x8<f32"],
    f16: ["16x16<f16", "16x16<f16", "8x8<f16"],
    bf16: [undefined, undefined, "8x8<f32"],
    "f16 by f32": [undefined, undefined, "8x8<f32"],
    "f16 by bf16": [undefined, undefined, "8x8<f32"],
  };
  for (const [storage, types] of Object.entries(storages)) {
    for (const each of productCases(types)) {
      const found = cooperativeAdapters.map((adapter) => matricesIn(codeFor(each, adapter)));
      assertEquals(found, [...expected[storage]], `${storage}, ${each.name}`);
    }
  }
});

Deno.test("sums are f32: matrices that add in f16 are not used", () => {
  const adapter = adapterNamed("matrices of 16");
  const cooperativeMatrices = adapter.cooperativeMatrices!.filter(({ sums }) => sums === "f16");
  assert(cooperativeMatrices.length > 0);
  for (const each of productCases(storages.f16)) {
    assertEquals(matricesIn(codeFor(each, { ...adapter, cooperativeMatrices })), undefined, each.name);
  }
});

Deno.test("a product with a loop behind it keeps its sums in registers", () => {
  const then: Then = {
    loop: { kind: "loop", sizes: [64, 64], outer: 2, lanes: "inner", body: [], stages: [] },
    axes: 1,
    slot: 0,
    stored: false,
  };
  const adapter = adapterNamed("matrices of 16"), types = storages.f16;
  assertEquals(chooseCooperative([64, 64, 64], { types }, adapter)?.matrices?.size, 16);
  assertEquals(chooseCooperative([64, 64, 64], { types, then }, adapter), undefined);
});

Deno.test("where workgroups are too small for the tiles, or a product for a matrix, registers hold the sums", () => {
  const adapter = adapterNamed("matrices of 16"), [each] = productCases(storages.f16);
  assert(matricesIn(codeFor(each, adapter)));
  assertEquals(matricesIn(codeFor(each, { ...adapter, maxWorkgroupSize: 16 })), undefined);
  assertEquals(matricesIn(codeFor(each, { ...adapter, workgroupMemoryBytes: 4096 })), undefined);
  assertEquals(matricesIn(codeFor(each, { ...adapter, software: true })), undefined);
  const { kernel } = each;
  assert(kernel.kind === "contract");
  const short = { ...each, kernel: { ...kernel, k: [{ ...kernel.k[0], size: 8 }] } };
  assertEquals(matricesIn(codeFor(short, adapter)), undefined);
});

Deno.test("tiles and bands fit into the memory and the invocations of a workgroup", () => {
  const bytes = { f16: 2, f32: 4 } as const;
  for (const adapter of cooperativeAdapters) {
    for (const types of Object.values(storages)) {
      for (const each of productCases(types)) {
        const code = codeFor(each, adapter);
        if (!matricesIn(code)) continue;
        let used = 0;
        for (const [, type, count] of code.matchAll(/var<workgroup> \w+: array<(f16|f32), (\d+)>/g)) {
          used += Number(count) * bytes[type as "f16" | "f32"];
        }
        assert(used > 0 && used + 16 <= adapter.workgroupMemoryBytes, `${adapter.name}, ${each.name}: ${used} bytes`);
        const lanes = Number(/@workgroup_size\((\d+)\)/.exec(code)?.[1]);
        assert(lanes <= adapter.maxWorkgroupSize && lanes % adapter.subgroupSizes![1] === 0, each.name);
      }
    }
  }
});

const device = wgpuDevice();

for (const adapter of cooperativeAdapters) {
  const [least, most] = adapter.subgroupSizes!;
  for (const team of [8, 32, 64].filter((size) => least <= size && size <= most)) {
    for (const [storage, types] of Object.entries(storages)) {
      // Sizes of subgroups and kinds of storage share most of the text, and a driver takes seconds for some of these:
      // every kernel with f16, a third of them in f32, a few of the rest (and in the rest's odd subgroups, f32 alone).
      const main = team === 32 ? ["f16", "f32"].indexOf(storage) : -1;
      if (least < 32 && team !== 32 && storage !== "f32") continue;
      const step = main === 0 && least === most ? 1 : main === 1 ? 3 : 7;
      const cases = productCases(types).filter((each, at) =>
        at % step === 2 % step && matricesIn(codeFor(each, adapter)) !== undefined
      );
      if (cases.length === 0) continue;
      Deno.test({
        name: `${adapter.name}, subgroups of ${team}, ${storage}: as plain loops`,
        ignore: !device?.startsWith("wgpu"),
        fn: async () => {
          using native = openNative(device as "wgpu");
          for (const { name, kernel, slots } of cases) {
            const dtypes = [kernel.types?.a, kernel.types?.b];
            const values = slots.map((slot, at) => slot.map((value) => roundTo(dtypes[at] ?? "f32", value)));
            const memory = values.map((slot, at) => stored(slot, dtypes[at]));
            const { results } = await execute(native, adapter, kernel, memory, (code) => emulated(code, team));
            reference(kernel, values);
            const found = results.at(-1)!;
            values.at(-1)!.forEach((wanted, at) => {
              const difference = Math.abs(found[at] - wanted);
              assert(difference <= 1e-5 * (1 + Math.abs(wanted)), `${name}: ${at} is ${found[at]}, not ${wanted}`);
            });
          }
        },
      });
    }
  }
}
