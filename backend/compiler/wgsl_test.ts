/** @file Every shader template against plain loops, on small and odd sizes, for software and hardware layouts alike. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../dsl/errors.ts";
import { wgpuDevice } from "../../tests/support.ts";
import { type Capabilities, type NativeDevice, openNative } from "../device.ts";
import type { Access, Instruction, Kernel, LoopKernel, Plan } from "./kernel.ts";
import { slotCount, wgsl } from "./wgsl.ts";
import { type Memory, reference } from "./wgsl_reference.ts";

const adapter = wgpuDevice() as "wgpu" | undefined;

/** What the shaders are written for: the adapter as it is, and the same one as if it were hardware. */
const layouts = [
  { layout: "software", software: true },
  { layout: "hardware", software: false },
];

function test(name: string, run: (device: NativeDevice, capabilities: Capabilities) => Promise<void>): void {
  for (const { layout, software } of layouts) {
    Deno.test({
      name: `wgsl, ${layout} layout: ${name}`,
      ignore: !adapter,
      fn: async () => {
        using device = openNative(adapter);
        await run(device, { ...device.capabilities, software });
      },
    });
  }
}

function bytesOf(memory: Memory): Uint8Array<ArrayBuffer> {
  return new Uint8Array(memory.buffer as ArrayBuffer, memory.byteOffset, memory.byteLength);
}

/** Runs a kernel as a plan of its own; returns the slots afterwards, and the status word. */
async function execute(device: NativeDevice, capabilities: Capabilities, kernel: Kernel, slots: readonly Memory[]) {
  const { dispatches, scratch } = wgsl(kernel, capabilities);
  const own = slotCount(kernel);
  let size = 0;
  const arena = scratch.map((bytes) => {
    const offset = size;
    size += Math.ceil(bytes / 256) * 256;
    return { at: "arena", chunk: 0, offset, bytes } as const;
  });
  const plan: Plan = {
    version: 1,
    arena: size > 0 ? [size] : [],
    upload: 0,
    arguments: slots.map(({ byteLength }) => ({ bytes: byteLength, mode: "in" })),
    buffers: [
      ...slots.map(({ byteLength }, index) => ({ at: "argument", index, bytes: byteLength }) as const),
      ...arena,
    ],
    kernels: dispatches.map((dispatch) => dispatch.kernel),
    steps: dispatches.map((dispatch, at) => ({
      kernel: at,
      buffers: dispatch.slots.map((slot) => slot < own ? slot : slots.length + slot - own),
    })),
    poison: true,
  };
  const handles = slots.map((memory) => {
    const handle = device.allocate(memory.byteLength);
    device.write(handle, bytesOf(memory));
    return handle;
  });
  const loaded = device.load(plan);
  await device.run(loaded, BigUint64Array.from(handles, BigInt), new Uint8Array(0));
  const results = slots.map((memory, at) => {
    const copy = memory.slice();
    device.read(handles[at], bytesOf(copy));
    device.free(handles[at]);
    return copy;
  });
  device.unload(loaded);
  return { results, status: device.status() };
}

/** The kernel on the device gives what the plain loops give, |error| ≤ tolerance · (1 + |value|). */
async function same(
  device: NativeDevice,
  capabilities: Capabilities,
  kernel: Kernel,
  slots: readonly Memory[],
  tolerance = 1e-6,
): Promise<Memory[]> {
  const expected = slots.map((memory) => memory.slice());
  const wrong = reference(kernel, expected);
  const { results, status } = await execute(device, capabilities, kernel, slots);
  results.forEach((result, slot) => {
    for (let at = 0; at < result.length; at++) {
      const [actual, wanted] = [result[at], expected[slot][at]];
      const close = Object.is(actual, wanted) || Math.abs(actual - wanted) <= tolerance * (1 + Math.abs(wanted));
      assert(close, `slot ${slot}, element ${at}: ${actual}, expected ${wanted}`);
    }
  });
  assertEquals(status !== 0, wrong, "status word");
  return results;
}

let seed = 1;

function random(): number {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 32;
}

function floats(size: number): Float32Array {
  return Float32Array.from({ length: size }, () => 2 * random() - 1);
}

/** Group numbers, now and then −1. */
function groupIndex(size: number, groups: number): Int32Array {
  return Int32Array.from({ length: size }, () => random() < 0.1 ? -1 : Math.floor(random() * groups));
}

/** What an output holds before: it must all be overwritten. */
function unwritten(size: number): Float32Array {
  return new Float32Array(size).fill(1e30);
}

function f32(slot: number, strides: readonly number[], offset = 0): Access {
  return { slot, dtype: "f32", offset, strides };
}

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
  const u32 = (slot: number) => ({ ...f32(slot, [1]), dtype: "u32" as const });
  const i32 = (slot: number) => ({ ...f32(slot, [1]), dtype: "i32" as const });
  const body: Instruction[] = [
    { op: "load", type: "u32", access: u32(0) },
    { op: "load", type: "u32", access: u32(1) },
    { op: "cast", type: "i32", a: 0 },
    { op: "cast", type: "i32", a: 1 },
    { op: "const", type: "u32", bits: 13 },
    { op: "const", type: "i32", bits: 3 },
    { op: "const", type: "i32", bits: 0x80000000 },
  ];
  let slot = 2;
  const keep = (instruction: Instruction) => {
    body.push(instruction);
    const { type } = instruction;
    if (type === "f32") return;
    const access = { ...f32(slot++, [1]), dtype: type };
    body.push({ op: "store", type, access, a: body.length - 1 });
  };
  for (const op of ["add", "sub", "mul", "max", "min", "and", "or", "xor"] as const) {
    keep({ op, type: "u32", a: 0, b: 1 });
    keep({ op, type: "i32", a: 2, b: 3 });
  }
  keep({ op: "shl", type: "u32", a: 0, b: 4 });
  keep({ op: "shr", type: "u32", a: 0, b: 4 });
  const slots = () => [
    Uint32Array.from({ length: size }, (_, at) => words[at % words.length]),
    Uint32Array.from({ length: size }, (_, at) => words[Math.floor(at / words.length)]),
    ...Array.from({ length: slot - 2 }, () => new Uint32Array(size)),
  ];
  const typed = (body: readonly Instruction[]) =>
    slots().map((memory, at) =>
      body.some((step) => step.op === "store" && step.access.slot === at && step.type === "i32")
        ? new Int32Array(memory.buffer)
        : memory
    );
  await same(device, capabilities, map([size], body), typed(body));
  body.splice(7);
  slot = 2;
  body.push({ op: "not", type: "i32", a: 2 }, { op: "store", type: "i32", access: i32(2), a: 7 });
  slot = 3;
  keep({ op: "shl", type: "i32", a: 2, b: 5 });
  keep({ op: "shr", type: "i32", a: 2, b: 5 });
  keep({ op: "less", type: "bool", a: 2, b: 3 });
  keep({ op: "less", type: "bool", a: 0, b: 1 });
  keep({ op: "equal", type: "bool", a: 0, b: 1 });
  const [less, equal] = [body.length - 6, body.length - 2];
  for (const op of ["and", "or", "xor"] as const) keep({ op, type: "bool", a: less, b: equal });
  keep({ op: "not", type: "bool", a: less });
  keep({ op: "select", type: "i32", c: less, a: 2, b: 6 });
  keep({ op: "neg", type: "i32", a: 2 });
  keep({ op: "cast", type: "bool", a: 3 });
  keep({ op: "cast", type: "i32", a: less });
  keep({ op: "cast", type: "f32", a: 2 });
  keep({ op: "cast", type: "i32", a: body.length - 1 });
  await same(device, capabilities, map([size], body), typed(body));
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
  op: "exp" | "log" | "sin" | "cos" | "tanh" | "erf" | "sqrt" | "recip",
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

test("exp, log, sin, cos, tanh, erf are right to a few units in the last place", async (device, capabilities) => {
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
    erf: await worstUlp(device, capabilities, "erf", joined(between(-1, 1), between(-5, 5))),
    sqrt: await worstUlp(device, capabilities, "sqrt", powers),
    recip: await worstUlp(device, capabilities, "recip", powers),
  };
  for (const [op, ulp] of Object.entries(worst)) assert(ulp <= 4, `${op} is ${ulp.toFixed(2)} ulp off`);
});

test("functions at the ends of their range", async (device, capabilities) => {
  const at = async (op: "exp" | "log" | "tanh" | "erf", inputs: number[]) => {
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
  assertEquals(await at("erf", [-1e30, -7, 0, 7, 1e30]), [-1, -1, 0, 1, 1]);
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

test("rows: a sum of a million terms keeps its accuracy", async (device, capabilities) => {
  const length = 2 ** 20;
  const kernel: LoopKernel = {
    kind: "loop",
    sizes: [1, length],
    outer: 1,
    lanes: "inner",
    body: [
      { op: "load", type: "f32", access: f32(0, [0, 1]) },
      { op: "reduce", type: "f32", by: "sum", a: 0 },
      { op: "store", type: "f32", access: f32(1, [1, 0]), a: 1 },
    ],
    stages: [{ level: "inner", registers: [0, 1] }, { level: "outer", registers: [2] }],
  };
  const terms = Float32Array.from({ length }, () => 1 + random());
  await same(device, capabilities, kernel, [terms, unwritten(1)], 1e-6);
});

test("rows: an empty inner axis gives the identity", async (device, capabilities) => {
  const { results: [, out] } = await execute(device, capabilities, {
    kind: "loop",
    sizes: [3, 0],
    outer: 1,
    lanes: "inner",
    body: [
      { op: "load", type: "f32", access: f32(0, [0, 1]) },
      { op: "reduce", type: "f32", by: "sum", a: 0 },
      { op: "store", type: "f32", access: f32(1, [1, 0]), a: 1 },
    ],
    stages: [{ level: "inner", registers: [0, 1] }, { level: "outer", registers: [2] }],
  }, [floats(1), unwritten(3)]);
  assertEquals([...out], [0, 0, 0]);
});

test("contract: sizes, strides, batches and several depth axes", async (device, capabilities) => {
  const shapes = [
    [1, 1, 1, 1],
    [2, 5, 7, 3],
    [1, 64, 64, 16],
    [1, 65, 130, 33],
    [3, 1, 70, 100],
    [2, 130, 3, 20],
    [
      1,
      17,
      33,
      1,
    ],
    [1, 200, 150, 64],
    [1, 20, 20, 0],
  ];
  for (const [batch, m, n, k] of shapes) {
    for (const [aAlongK, bAlongK] of [[true, false], [false, true], [true, true]]) {
      const kernel: Kernel = {
        kind: "contract",
        batch: batch === 1 ? [] : [{ size: batch, a: m * k, b: n * k, c: m * n }],
        m: { size: m, a: aAlongK ? k : 1, c: n },
        n: { size: n, b: bAlongK ? k : 1, c: 1 },
        k: [{ size: k, a: aAlongK ? 1 : m, b: bAlongK ? 1 : n }],
        offsets: { a: 1, b: 2, c: 3 },
      };
      const c = unwritten(3 + batch * m * n);
      await same(device, capabilities, kernel, [floats(1 + batch * m * k), floats(2 + batch * n * k), c], 1e-5);
    }
  }
  // Σ over two axes that do not join, c transposed, an operand without batch.
  const [batch, m, n, p, q] = [2, 19, 35, 3, 21];
  await same(
    device,
    capabilities,
    {
      kind: "contract",
      batch: [{ size: batch, a: 0, b: p * q * n, c: 1 }],
      m: { size: m, a: q, c: batch },
      n: { size: n, b: 1, c: batch * m },
      k: [{ size: p, a: m * q, b: n }, { size: q, a: 1, b: p * n }],
      offsets: { a: 0, b: 0, c: 0 },
    },
    [floats(m * p * q), floats(batch * n * p * q), unwritten(batch * m * n)],
    1e-5,
  );
});

test("contract: large tiles", async (device, capabilities) => {
  const [batch, m, n, k] = [100, 97, 100, 13];
  await same(
    device,
    capabilities,
    {
      kind: "contract",
      batch: [{ size: batch, a: m * k, b: n * k, c: m * n }],
      m: { size: m, a: k, c: n },
      n: { size: n, b: 1, c: 1 },
      k: [{ size: k, a: 1, b: n }],
      offsets: { a: 0, b: 0, c: 0 },
    },
    [floats(batch * m * k), floats(batch * n * k), unwritten(batch * m * n)],
    1e-5,
  );
});

/** Sorts an index on the host, as an order kernel would. */
function ordered(index: Int32Array, groups: number): Int32Array {
  const out = new Int32Array(index.length + groups + 1);
  reference({ kind: "order", groups, positions: index.length }, [index, out]);
  return out;
}

test("order: few and many groups and positions, indices out of range", async (device, capabilities) => {
  for (const [positions, groups] of [[1, 1], [50, 7], [700, 8], [5000, 3], [3000, 254], [2000, 255], [900, 70000]]) {
    const index = groupIndex(positions, groups);
    const out = new Int32Array(positions + groups + 1).fill(-7);
    const kernel: Kernel = { kind: "order", groups, positions };
    await same(device, capabilities, kernel, [index, out]);
    index[Math.floor(positions / 2)] = groups;
    await same(device, capabilities, kernel, [index, out]);
  }
});

test("grouped: tokens × slots, empty groups, positions without a group", async (device, capabilities) => {
  const shapes = [[5, 2, 3, 8, 10], [130, 3, 4, 40, 70], [1, 6, 8, 16, 33], [300, 1, 2, 20, 65], [40, 6, 7, 9, 5]];
  for (const [tokens, slots, groups, k, n] of shapes) {
    const index = groupIndex(tokens * slots, Math.max(1, groups - 1));
    const kernel: Kernel = {
      kind: "grouped",
      groups,
      // a has no slots; c has them outermost.
      positions: [{ size: tokens, a: k, c: n }, { size: slots, a: 0, c: tokens * n }],
      k: { size: k, a: 1, b: n },
      n: { size: n, b: 1, c: 1 },
      group: k * n,
      offsets: { a: 0, b: 0, c: 0 },
    };
    const memory = [floats(tokens * k), floats(groups * k * n), ordered(index, groups), unwritten(tokens * slots * n)];
    await same(device, capabilities, kernel, memory, 1e-5);
  }
});

test("grouped: nobody has a group", async (device, capabilities) => {
  const kernel: Kernel = {
    kind: "grouped",
    groups: 2,
    positions: [{ size: 9, a: 4, c: 5 }],
    k: { size: 4, a: 1, b: 1 },
    n: { size: 5, b: 4, c: 1 },
    group: 20,
    offsets: { a: 0, b: 0, c: 0 },
  };
  const index = new Int32Array(9).fill(-1);
  await same(device, capabilities, kernel, [floats(36), floats(40), ordered(index, 2), unwritten(45)]);
});

test("groupedInto: one matrix per group, zero where nobody points", async (device, capabilities) => {
  for (const [tokens, slots, groups, m, n] of [[5, 2, 3, 8, 10], [130, 3, 4, 40, 70], [33, 2, 8, 100, 3]]) {
    const index = groupIndex(tokens * slots, Math.max(1, groups - 1));
    const kernel: Kernel = {
      kind: "groupedInto",
      groups,
      positions: [{ size: tokens, a: m, b: slots * n }, { size: slots, a: 0, b: n }],
      m: { size: m, a: 1, c: 1 },
      n: { size: n, b: 1, c: m },
      group: m * n,
      offsets: { a: 0, b: 0, c: 0 },
    };
    const memory = [floats(tokens * m), floats(tokens * slots * n), ordered(index, groups), unwritten(groups * m * n)];
    await same(device, capabilities, kernel, memory, 1e-5);
  }
});

test("scatter: rows that many, one or none point to", async (device, capabilities) => {
  for (const [positions, groups, width] of [[10, 5, 3], [600, 1000, 17], [700, 3, 8]]) {
    const kernel: Kernel = {
      kind: "scatter",
      groups,
      positions: [{ size: positions / 2, b: 2 * width }, { size: 2, b: width }],
      columns: [{ size: width, b: 1, c: groups }],
      group: 1,
      offsets: { b: 0, c: 0 },
    };
    const index = groupIndex(positions, groups);
    await same(device, capabilities, kernel, [floats(positions * width), index, unwritten(groups * width)], 1e-5);
    index[1] = groups + 5;
    await same(device, capabilities, kernel, [floats(positions * width), index, unwritten(groups * width)], 1e-5);
  }
});

test("topk: ties take the lowest index, NaN comes last", async (device, capabilities) => {
  const some = [0, -0, 1, 1, -1, NaN, Infinity, -Infinity, 3e38, -3e38, 1e-30, -1e-30];
  for (const [rows, size, slots] of [[1, 1, 1], [33, 8, 6], [7, 12, 12], [2, 3000, 5]]) {
    const values = Float32Array.from(
      { length: rows * size },
      () => random() < 0.5 ? some[Math.floor(random() * some.length)] : 2 * random() - 1,
    );
    const kernel: Kernel = {
      kind: "topk",
      rows: [{ size: rows, a: size, c: 1 }],
      axis: { size, a: 1 },
      slots: { size: slots, c: rows },
      offsets: { a: 0, c: 0 },
    };
    await same(device, capabilities, kernel, [values, new Int32Array(rows * slots).fill(-7)]);
  }
});

test("copy", async (device, capabilities) => {
  await same(device, capabilities, { kind: "copy", words: 1001 }, [floats(1001), unwritten(1001)]);
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

Deno.test("16-bit stores are refused by name", () => {
  const kernel = map([4], [
    { op: "load", type: "f32", access: f32(0, [1]) },
    { op: "store", type: "f32", access: { ...f32(1, [1]), dtype: "bf16" }, a: 0 },
  ]);
  assertThrows(() => wgsl(kernel, anyAdapter), UserError, "bf16");
});

Deno.test("an empty output needs no dispatch", () => {
  assertEquals(wgsl({ kind: "copy", words: 0 }, anyAdapter).dispatches, []);
  assertEquals(wgsl(softmax(0, 5, "inner"), anyAdapter).dispatches, []);
});
