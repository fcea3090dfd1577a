/** @file Shaders of products, sorts and selections against plain loops, for software and hardware layouts alike. */
import type { Instruction, Kernel, Then } from "../kernel.ts";
import * as products from "../../../tests/shaders/products.ts";
import { f32, floats, groupIndex, random, same, test, unwritten } from "./testing.ts";

test("contract: sizes, strides, batches and several depth axes", async (device, capabilities) => {
  const shapes = [
    [1, 1, 1, 1],
    [2, 5, 7, 3],
    [1, 64, 64, 16],
    [1, 65, 130, 33],
    [3, 1, 70, 100],
    [2, 130, 3, 20],
    [1, 17, 33, 1],
    [1, 20, 20, 0],
    [1, 16, 24, 8],
    // Beyond the size from which on blocks are large, with and without vectors of four.
    [1, 200, 152, 72],
    [1, 1100, 9, 220],
  ];
  const orders = [[true, false], [false, true], [true, true], [false, false]];
  for (const [at, [batch, m, n, k]] of shapes.entries()) {
    for (const [aAlongK, bAlongK] of m * n * k > 2 ** 21 ? orders : [orders[at % 4], orders[(at + 1) % 4]]) {
      const { kernel, slots } = products.contract([batch, m, n, k], [aAlongK, bAlongK], 1);
      await same(device, capabilities, kernel, slots, 1e-5);
    }
  }
});

test("contract: two axes of depth, c transposed, an operand without batch", async (device, capabilities) => {
  const { kernel, slots } = products.twoAxes();
  await same(device, capabilities, kernel, slots, 1e-5);
});

test("contract: large tiles", async (device, capabilities) => {
  const { kernel, slots } = products.contract([96, 97, 100, 9], [true, false], 0);
  await same(device, capabilities, kernel, slots, 1e-5);
});

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
  const shapes = [
    [5, 2, 3, 8, 10],
    [130, 3, 4, 40, 70],
    [1, 6, 8, 16, 33],
    [300, 1, 2, 20, 65],
    [40, 6, 7, 9, 5],
    [256, 2, 4, 64, 72],
  ];
  for (const shape of shapes) {
    const { kernel, slots } = products.grouped(shape);
    await same(device, capabilities, kernel, slots, 1e-5);
  }
});

/** Twice the product plus what lies in memory, stored there and, the other way round, elsewhere: no element twice. */
const behind = (rows: number, columns: number, stored: boolean): Then => {
  const body: Instruction[] = [
    { op: "load", type: "f32", access: f32(stored ? 1 : 2, [columns, 1]) },
    { op: "load", type: "f32", access: f32(0, [columns, 1]) },
    { op: "add", type: "f32", a: 0, b: 0 },
    { op: "add", type: "f32", a: 2, b: 1 },
    { op: "store", type: "f32", access: f32(0, [columns, 1]), a: 3 },
    { op: "store", type: "f32", access: f32(stored ? 2 : 1, [1, rows]), a: 3 },
  ];
  const stages = [{ level: "outer", registers: body.map((_, register) => register) }] as const;
  return {
    loop: { kind: "loop", sizes: [rows, columns], outer: 2, lanes: "outer", body, stages },
    axes: 1,
    slot: stored ? 1 : 2,
    stored,
  };
};

test("loops behind products: in place and elsewhere, products kept and not", async (device, capabilities) => {
  for (const [m, n, k] of [[2, 37, 9], [41, 33, 7], [70, 130, 16], [9, 3, 40]]) {
    for (const stored of [true, false]) {
      const memory = () => [floats(m * n), ...(stored ? [unwritten(m * n)] : []), unwritten(m * n)];
      const { kernel, slots: [a, b] } = products.contract([1, m, n, k], [true, false], 0);
      await same(device, capabilities, { ...kernel, then: behind(m, n, stored) }, [a, b, ...memory()], 1e-5);
      const rows = products.grouped([m, 1, 3, k, n]);
      const groups: Kernel = { ...rows.kernel, then: behind(m, n, stored) };
      await same(device, capabilities, groups, [...rows.slots.slice(0, 3), ...memory()], 1e-5);
    }
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
  await same(device, capabilities, kernel, [floats(36), floats(40), products.ordered(index, 2), unwritten(45)]);
});

test("groupedInto: one matrix per group, zero where nobody points", async (device, capabilities) => {
  for (const shape of [[5, 2, 3, 8, 10], [130, 3, 4, 40, 70], [33, 2, 8, 100, 3], [256, 2, 4, 64, 72]]) {
    const { kernel, slots } = products.groupedInto(shape);
    await same(device, capabilities, kernel, slots, 1e-5);
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
