/** @file Plans made by hand on the native devices, through the library's C functions. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import type { ContractKernel, LoopKernel, Plan } from "./compiler/kernel.ts";
import { openNative } from "./device.ts";

/** y[row] = Σ x² over the columns, z = x · y[row]. */
const squares: LoopKernel = {
  kind: "loop",
  sizes: [3, 5],
  outer: 1,
  lanes: "inner",
  body: [
    { op: "load", type: "f32", access: { slot: 0, dtype: "f32", offset: 0, strides: [5, 1] } },
    { op: "mul", type: "f32", a: 0, b: 0 },
    { op: "reduce", type: "f32", by: "sum", a: 1 },
    { op: "store", type: "f32", access: { slot: 1, dtype: "f32", offset: 0, strides: [1, 0] }, a: 2 },
    { op: "mul", type: "f32", a: 0, b: 2 },
    { op: "store", type: "f32", access: { slot: 2, dtype: "f32", offset: 0, strides: [5, 1] }, a: 4 },
  ],
  stages: [
    { level: "inner", registers: [0, 1, 2] },
    { level: "outer", registers: [3] },
    { level: "inner", registers: [0, 4, 5] },
  ],
};

/** c = xᵀ · z. */
const product: ContractKernel = {
  kind: "contract",
  batch: [],
  m: { size: 5, a: 1, c: 5 },
  n: { size: 5, b: 1, c: 1 },
  k: [{ size: 3, a: 5, b: 5 }],
  offsets: { a: 0, b: 0, c: 0 },
};

const plan: Plan = {
  version: 1,
  arena: [512],
  upload: 60,
  arguments: [{ bytes: 12, mode: "out" }, { bytes: 100, mode: "in" }],
  buffers: [
    { at: "upload", offset: 0, bytes: 60 },
    { at: "argument", index: 0, bytes: 12 },
    { at: "arena", chunk: 0, offset: 256, bytes: 60 },
    { at: "argument", index: 1, bytes: 100 },
  ],
  kernels: [squares, product],
  steps: [{ kernel: 0, buffers: [0, 1, 2] }, { kernel: 1, buffers: [0, 2, 3] }],
  poison: true,
};

Deno.test("a plan of a loop and a contraction runs on the cpu device", async () => {
  using device = openNative("cpu");
  const x = Float32Array.from({ length: 15 }, (_, i) => i - 6);
  const given = device.allocate(100);
  const loaded = device.load(plan);
  const handles = new BigUint64Array([0n, BigInt(given)]);
  await device.run(loaded, handles, new Uint8Array(x.buffer));
  assertEquals(device.status(), 0);
  const floats = (buffer: number, count: number): number[] => {
    const bytes = new Uint8Array(4 * count);
    device.read(buffer, bytes);
    return [...new Float32Array(bytes.buffer)];
  };
  const rows = [0, 1, 2].map((row) => [...x.subarray(5 * row, 5 * row + 5)]);
  const sums = rows.map((row) => row.reduce((sum, value) => sum + value * value, 0));
  assertEquals(floats(Number(handles[0]), 3), sums);
  const expected = Array.from({ length: 25 }, (_, at) => {
    const [m, n] = [Math.floor(at / 5), at % 5];
    return rows.reduce((sum, row, i) => sum + row[m] * row[n] * sums[i], 0);
  });
  assertEquals(floats(given, 25), expected);
  device.unload(loaded);
});

Deno.test("buffers keep what was written, count their bytes, and are gone when freed", () => {
  using device = openNative("cpu");
  const buffer = device.allocate(8);
  device.write(buffer, new Uint8Array([1, 2, 3]), 4);
  const bytes = new Uint8Array(8);
  device.read(buffer, bytes);
  assertEquals([...bytes], [0, 0, 0, 0, 1, 2, 3, 0]);
  assertEquals(device.memory().usedBytes, 8);
  device.free(buffer);
  assertEquals(device.memory(), { usedBytes: 0, peakBytes: 8 });
  assertThrows(() => device.free(buffer), Error, "no buffer with handle");
  assertThrows(() => device.write(buffer, bytes), Error, "no buffer with handle");
});

Deno.test("the cpu device says what it can do", () => {
  using device = openNative("cpu");
  assertEquals(device.capabilities.kind, "cpu");
  assert(device.capabilities.name !== "");
  assert(device.capabilities.memoryBytes > 0);
  assert(!device.capabilities.software);
});

Deno.test("a plan that leaves its buffers is refused with a sentence", () => {
  using device = openNative("cpu");
  const wide: Plan = { ...plan, kernels: [{ ...squares, sizes: [4, 5] }, product] };
  assertThrows(() => device.load(wide), Error, "plan: step 0: kernel 0 reaches byte 80 of slot 0, buffer 0 has 60");
  const foreign = { ...plan, version: 2 } as unknown as Plan;
  assertThrows(() => device.load(foreign), Error, "plan: version 2, this library runs version 1");
});

Deno.test("a run that fails rejects with the library's sentence", async () => {
  using device = openNative("cpu");
  const loaded = device.load(plan);
  const failure = await device.run(loaded, new BigUint64Array([0n]), new Uint8Array(60)).catch((error) => error);
  assertEquals(failure.message, "1 arguments, the plan takes 2");
});

Deno.test("an unknown device is the user's mistake", () => {
  assertThrows(() => openNative("tpu" as "cpu"), Error, 'device "tpu": expected "cpu", "wgpu" or "wgpu:NAME"');
});
