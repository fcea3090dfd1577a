/** @file Shaders of loop kernels against plain loops, on small and odd sizes, for software and hardware layouts. */
import { assert, assertEquals } from "@std/assert";
import type { Capabilities, NativeDevice } from "../../device.ts";
import type { Instruction, LoopKernel } from "../kernel.ts";
import { wgsl } from "./wgsl.ts";
import { reference } from "./reference.ts";
import { execute, f32, floats, random, same, test, unwritten } from "./testing.ts";

function map(sizes: readonly number[], body: readonly Instruction[]): LoopKernel {
  const registers = body.map((_, register) => register);
  return { kind: "loop", sizes, outer: sizes.length, lanes: "inner", body, stages: [{ level: "outer", registers }] };
}

test("map with broadcasting, transposition and a guard", async (device, capabilities) => {
  for (const sizes of [[3, 5, 7], [1, 1, 1], [2, 129, 3]]) {
    const [x, y, z] = sizes;
    const kernel = map(sizes, [
      { op: "load", type: "f32", access: f32(0, [y * z, z, 1]) },
      { op: "load", type: "f32", access: f32(1, [1, 0, x]) },
      {
        op: "load",
        type: "f32",
        access: { ...f32(0, [y * z, z, 1], -z), guards: [{ offset: -1, strides: [0, 1, 0], size: y }] },
      },
      { op: "mul", type: "f32", a: 0, b: 1 },
      { op: "sub", type: "f32", a: 3, b: 2 },
      { op: "store", type: "f32", access: f32(2, [1, x * z, x]), a: 4 },
    ]);
    await same(device, capabilities, kernel, [floats(x * y * z), floats(x * z), unwritten(x * y * z)]);
  }
});

test("map over more elements than one dimension of workgroups holds", async (device, capabilities) => {
  const size = 65535 * 4 + 3;
  const kernel = map([size], [
    { op: "index", type: "i32", index: { offset: 5, strides: [1] } },
    { op: "store", type: "i32", access: { ...f32(0, [1]), dtype: "i32" }, a: 0 },
  ]);
  await same(device, { ...capabilities, maxWorkgroupSize: 2 }, kernel, [new Int32Array(size)]);
});

test("integers, bits, comparisons, casts", async (device, capabilities) => {
  const words = [0, 1, 2, 31, 33, 0x7fffffff, 0x80000000, 0xffffffff, 12345, 0xdeadbeef];
  const size = words.length ** 2;
  const u32 = (slot: number, part = 0) => ({ ...f32(slot, [1], part * size), dtype: "u32" as const });
  const body: Instruction[] = [
    { op: "load", type: "u32", access: u32(0) },
    { op: "load", type: "u32", access: u32(1) },
    { op: "cast", type: "i32", a: 0 },
    { op: "cast", type: "i32", a: 1 },
    { op: "const", type: "u32", bits: 13 },
    { op: "const", type: "i32", bits: 3 },
    { op: "const", type: "i32", bits: 0x80000000 },
  ];
  // All results go to parts of one buffer, whatever their type.
  let parts = 0;
  const keep = (instruction: Instruction): number => {
    const register = body.push(instruction) - 1;
    const { type } = instruction;
    if (type !== "f32") body.push({ op: "store", type, access: { ...u32(2, parts++), dtype: type }, a: register });
    return register;
  };
  for (const op of ["add", "sub", "mul", "max", "min", "and", "or", "xor"] as const) {
    keep({ op, type: "u32", a: 0, b: 1 });
    keep({ op, type: "i32", a: 2, b: 3 });
  }
  for (const op of ["shl", "shr"] as const) {
    keep({ op, type: "u32", a: 0, b: 4 });
    keep({ op, type: "i32", a: 2, b: 5 });
  }
  keep({ op: "not", type: "i32", a: 2 });
  keep({ op: "neg", type: "i32", a: 2 });
  const less = keep({ op: "less", type: "bool", a: 2, b: 3 });
  const equal = keep({ op: "equal", type: "bool", a: 0, b: 1 });
  keep({ op: "less", type: "bool", a: 0, b: 1 });
  for (const op of ["and", "or", "xor"] as const) keep({ op, type: "bool", a: less, b: equal });
  keep({ op: "not", type: "bool", a: less });
  keep({ op: "select", type: "i32", c: less, a: 2, b: 6 });
  keep({ op: "cast", type: "bool", a: 3 });
  keep({ op: "cast", type: "i32", a: less });
  keep({ op: "cast", type: "i32", a: keep({ op: "cast", type: "f32", a: 2 }) });
  await same(device, capabilities, map([size], body), [
    Uint32Array.from({ length: size }, (_, at) => words[at % words.length]),
    Uint32Array.from({ length: size }, (_, at) => words[Math.floor(at / words.length)]),
    new Uint32Array(size * parts).fill(7),
  ]);
});

test("f32 to integers saturates and truncates", async (device, capabilities) => {
  const values = Float32Array.of(0, -0.5, 1.99, -1.99, 3e9, -3e9, 5e9, 1e30, -1e30, NaN, 2147483520, 4294967040);
  const kernel = map([values.length], [
    { op: "load", type: "f32", access: f32(0, [1]) },
    { op: "cast", type: "i32", a: 0 },
    { op: "cast", type: "u32", a: 0 },
    { op: "store", type: "i32", access: { ...f32(1, [1]), dtype: "i32" }, a: 1 },
    { op: "store", type: "u32", access: { ...f32(2, [1]), dtype: "u32" }, a: 2 },
  ]);
  await same(device, capabilities, kernel, [values, new Int32Array(values.length), new Uint32Array(values.length)]);
});

test("constants keep their bits", async (device, capabilities) => {
  const bits = [0x7f800000, 0xff800000, 0x7fc00000, 0x80000000, 0x7f7fffff, 0x3f800001, 0x33d6bf95, 0x00800000];
  const body: Instruction[] = bits.map((word) => ({ op: "const", type: "f32", bits: word }));
  bits.forEach((_, at) => body.push({ op: "store", type: "f32", access: f32(0, [bits.length], at), a: at }));
  const { results: [result] } = await execute(device, capabilities, map([2], body), [unwritten(2 * bits.length)]);
  assertEquals([...new Uint32Array(result.buffer)], [...bits, ...bits]);
});

/** Units in the last place between the device's f32 result and the exact one. */
async function worstUlp(
  device: NativeDevice,
  capabilities: Capabilities,
  op: "exp" | "log" | "sin" | "cos" | "tanh" | "sqrt" | "recip",
  inputs: Float32Array,
): Promise<number> {
  const kernel = map([inputs.length], [
    { op: "load", type: "f32", access: f32(0, [1]) },
    { op, type: "f32", a: 0 },
    { op: "store", type: "f32", access: f32(1, [1]), a: 1 },
  ]);
  const { results: [, result] } = await execute(device, capabilities, kernel, [inputs, unwritten(inputs.length)]);
  // The reference in f64: its stores round only at the end.
  const exact = new Float64Array(inputs.length) as unknown as Float32Array;
  const wide: LoopKernel = { ...kernel };
  reference(wide, [inputs, exact]);
  let worst = 0;
  inputs.forEach((x, at) => {
    const wanted = exact[at];
    const ulp = 2 ** Math.max(-149, Math.floor(Math.log2(Math.abs(wanted))) - 23);
    const error = Math.abs(result[at] - wanted) / ulp;
    assert(!Number.isNaN(result[at]), `${op}(${x}) is NaN`);
    worst = Math.max(worst, error);
  });
  return worst;
}

test("exp, log, sin, cos, tanh are right to a few units in the last place", async (device, capabilities) => {
  const between = (low: number, high: number) =>
    Float32Array.from({ length: 4096 }, (_, at) => low + (high - low) * (at + random()) / 4096);
  const powers = Float32Array.from({ length: 4096 }, (_, at) => 2 ** (-120 + 240 * at / 4096));
  const joined = (...parts: Float32Array[]) => Float32Array.from(parts.flatMap((part) => [...part]));
  const worst = {
    exp: await worstUlp(device, capabilities, "exp", joined(between(-87, 88.7), between(-1, 1))),
    log: await worstUlp(device, capabilities, "log", joined(powers, between(0.5, 2))),
    sin: await worstUlp(device, capabilities, "sin", joined(between(-1, 1), between(-200, 200), between(200, 1e6))),
    cos: await worstUlp(device, capabilities, "cos", joined(between(-1, 1), between(-200, 200), between(200, 1e6))),
    tanh: await worstUlp(device, capabilities, "tanh", joined(between(-1, 1), between(-30, 30))),
    sqrt: await worstUlp(device, capabilities, "sqrt", powers),
    recip: await worstUlp(device, capabilities, "recip", powers),
  };
  for (const [op, ulp] of Object.entries(worst)) assert(ulp <= 4, `${op} is ${ulp.toFixed(2)} ulp off`);
});

test("functions at the ends of their range", async (device, capabilities) => {
  const at = async (op: "exp" | "log" | "tanh", inputs: number[]) => {
    const kernel = map([inputs.length], [
      { op: "load", type: "f32", access: f32(0, [1]) },
      { op, type: "f32", a: 0 },
      { op: "store", type: "f32", access: f32(1, [1]), a: 1 },
    ]);
    const slots = [Float32Array.from(inputs), unwritten(inputs.length)];
    return [...(await execute(device, capabilities, kernel, slots)).results[1]];
  };
  assertEquals(await at("exp", [89, 1000, 3e38, -104, -1000, -3e38, 0]), [Infinity, Infinity, Infinity, 0, 0, 0, 1]);
  assertEquals(await at("log", [0, 1]), [-Infinity, 0]);
  assertEquals(await at("tanh", [-1e30, -20, 0, 20, 1e30]), [-1, -1, 0, 1, 1]);
});

test("a gather drops −1 and reports what is out of range", async (device, capabilities) => {
  const kernel = map([6, 3], [
    { op: "load", type: "i32", access: { ...f32(0, [1, 0]), dtype: "i32" } },
    { op: "load", type: "f32", access: { ...f32(1, [0, 1]), gather: { register: 0, stride: 3, size: 4 } } },
    { op: "store", type: "f32", access: f32(2, [3, 1]), a: 1 },
    { op: "store", type: "f32", access: { ...f32(3, [0, 1]), gather: { register: 0, stride: 3, size: 4 } }, a: 1 },
  ]);
  for (const index of [[0, 3, -1, 2, 1, -1], [0, 4, -1, 2, 1, -1], [0, -2, -1, 2, 1, 3]]) {
    await same(device, capabilities, kernel, [Int32Array.from(index), floats(12), unwritten(18), floats(12)]);
  }
});

/** softmax over the last axis, with the row's maximum and sum stored beside it. */
function softmax(rows: number, length: number, lanes: "inner" | "outer"): LoopKernel {
  return {
    kind: "loop",
    sizes: [rows, length],
    outer: 1,
    lanes,
    body: [
      { op: "load", type: "f32", access: f32(0, [length, 1]) },
      { op: "reduce", type: "f32", by: "max", a: 0 },
      { op: "sub", type: "f32", a: 0, b: 1 },
      { op: "exp", type: "f32", a: 2 },
      { op: "reduce", type: "f32", by: "sum", a: 3 },
      { op: "recip", type: "f32", a: 4 },
      { op: "mul", type: "f32", a: 3, b: 5 },
      { op: "store", type: "f32", access: f32(1, [length, 1]), a: 6 },
      { op: "store", type: "f32", access: f32(2, [1, 0]), a: 1 },
      { op: "store", type: "f32", access: f32(3, [1, 0]), a: 4 },
    ],
    stages: [
      { level: "inner", registers: [0, 1] },
      { level: "inner", registers: [0, 2, 3, 4] },
      { level: "outer", registers: [5, 8, 9] },
      { level: "inner", registers: [0, 2, 3, 6, 7] },
    ],
  };
}

test("rows: softmax with few, many, short and long rows", async (device, capabilities) => {
  for (const lanes of ["inner", "outer"] as const) {
    for (const [rows, length] of [[1, 1], [3, 7], [5, 300], [130, 33], [1, 5000], [2, 513], [70, 100]]) {
      const slots = [floats(rows * length), unwritten(rows * length), unwritten(rows), unwritten(rows)];
      await same(device, capabilities, softmax(rows, length, lanes), slots, 1e-5);
    }
  }
});

test("rows: reductions of integers and bools, over two inner axes", async (device, capabilities) => {
  const [rows, a, b] = [5, 9, 40];
  const load = (slot: number, dtype: "i32" | "u32") => ({ ...f32(slot, [b, rows * b, 1]), dtype });
  const body: Instruction[] = [
    { op: "load", type: "i32", access: load(0, "i32") },
    { op: "load", type: "u32", access: load(1, "u32") },
  ];
  let slot = 2;
  const stores: number[] = [];
  for (const by of ["sum", "max", "min"] as const) {
    for (const [type, from] of [["i32", 0], ["u32", 1]] as const) {
      body.push({ op: "reduce", type, by, a: from });
      body.push({ op: "store", type, access: { ...f32(slot++, [1, 0, 0]), dtype: type }, a: body.length - 1 });
      stores.push(body.length - 1);
    }
  }
  const inner = body.map((_, register) => register).filter((register) => !stores.includes(register));
  const kernel: LoopKernel = {
    kind: "loop",
    sizes: [rows, a, b],
    outer: 1,
    lanes: "inner",
    body,
    stages: [{ level: "inner", registers: inner }, { level: "outer", registers: stores }],
  };
  const words = Uint32Array.from({ length: rows * a * b }, () => random() * 2 ** 32);
  await same(device, capabilities, kernel, [
    new Int32Array(words.buffer.slice(0)),
    words,
    ...Array.from({ length: 6 }, (_, at) => at % 2 === 0 ? new Int32Array(rows) : new Uint32Array(rows)),
  ]);
});

/** Sums of rows. */
const rowSums = (rows: number, length: number): LoopKernel => ({
  kind: "loop",
  sizes: [rows, length],
  outer: 1,
  lanes: "inner",
  body: [
    { op: "load", type: "f32", access: f32(0, [length, 1]) },
    { op: "reduce", type: "f32", by: "sum", a: 0 },
    { op: "store", type: "f32", access: f32(1, [1, 0]), a: 1 },
  ],
  stages: [{ level: "inner", registers: [0, 1] }, { level: "outer", registers: [2] }],
});

test("rows: a sum of a million terms keeps its accuracy", async (device, capabilities) => {
  const length = 2 ** 20, terms = Float32Array.from({ length }, () => 1 + random());
  await same(device, capabilities, rowSums(1, length), [terms, unwritten(1)], 1e-6);
});

test("rows: an empty inner axis gives the identity", async (device, capabilities) => {
  const { results: [, out] } = await execute(device, capabilities, rowSums(3, 0), [floats(1), unwritten(3)]);
  assertEquals([...out], [0, 0, 0]);
});

test("two runs give the same bits", async (device, capabilities) => {
  const kernel = softmax(3, 2000, "inner");
  const slots = [floats(6000), unwritten(6000), unwritten(3), unwritten(3)];
  const once = await execute(device, capabilities, kernel, slots);
  const twice = await execute(device, capabilities, kernel, slots);
  assertEquals(once, twice);
});

const anyAdapter: Capabilities = {
  kind: "wgpu",
  name: "any",
  maxBindings: 8,
  maxBindingBytes: 2 ** 27,
  maxBufferBytes: 2 ** 28,
  memoryBytes: 2 ** 30,
  software: false,
  maxWorkgroupSize: 256,
  workgroupMemoryBytes: 16384,
};

Deno.test("equal kernels give equal text", () => {
  assertEquals(wgsl(softmax(3, 700, "inner"), anyAdapter), wgsl(softmax(3, 700, "inner"), anyAdapter));
});

Deno.test("a 16-bit store writes whole words: two elements per invocation, or through scratch", () => {
  const store = (strides: readonly number[]): LoopKernel =>
    map([5, 7], [
      { op: "load", type: "f32", access: f32(0, [7, 1]) },
      { op: "store", type: "f32", access: { ...f32(1, strides), dtype: "bf16" }, a: 0 },
    ]);
  const [flat, across] = [wgsl(store([7, 1]), anyAdapter), wgsl(store([1, 5]), anyAdapter)];
  assertEquals([flat.dispatches.length, flat.scratch], [1, []]);
  assertEquals([across.dispatches.length, across.scratch], [2, [4 * 35]]);
  for (const { kernel } of [...flat.dispatches, across.dispatches[1]]) {
    assert(/^ {2}b1\[pair\] = word1;$/m.test(kernel.code), kernel.code);
  }
  assert(!across.dispatches[0].kernel.code.includes("b1"), "the first dispatch leaves the words alone");
});

Deno.test("an empty output needs no dispatch", () => {
  assertEquals(wgsl({ kind: "copy", words: 0 }, anyAdapter).dispatches, []);
  assertEquals(wgsl(softmax(0, 5, "inner"), anyAdapter).dispatches, []);
});
