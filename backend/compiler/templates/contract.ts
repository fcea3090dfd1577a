/**
 * @file contract: c[batch, m, n] = Σ_k a[batch, m, k] · b[batch, k, n], any strides.
 * Few rows (or columns) on a GPU become a `loop` with a reduction: that reads the large operand once and needs no tile.
 */
import type { Capabilities } from "../../device.ts";
import type { ContractKernel, LoopKernel } from "../kernel.ts";
import { loop } from "./loop.ts";
import { chooseTile, type Direction, product as matrixProduct, type Vectors, vectors } from "./product.ts";
import { type Dispatch, joinAxes, product, split, sum } from "./shader.ts";
import { tuningOf } from "./tuning.ts";

/** A product with the slots of its operands, so that a and b may change places. */
interface Placed {
  readonly kernel: ContractKernel;
  readonly slots: readonly [a: number, b: number, c: number];
}

/** cᵀ = bᵀ·aᵀ: the same product with the roles of a and b exchanged. */
function transpose({ kernel: { kind, batch, m, n, k, offsets, types }, slots }: Placed): Placed {
  return {
    kernel: {
      kind,
      batch: batch.map(({ size, a, b, c }) => ({ size, a: b, b: a, c })),
      m: { size: n.size, a: n.b, c: n.c },
      n: { size: m.size, b: m.a, c: m.c },
      k: k.map(({ size, a, b }) => ({ size, a: b, b: a })),
      offsets: { a: offsets.b, b: offsets.a, c: offsets.c },
      ...(types && { types: { a: types.b, b: types.a } }),
    },
    slots: [slots[1], slots[0], slots[2]],
  };
}

/** Emits a contraction as one dispatch; none if c is empty. */
export function contract(kernel: ContractKernel, capabilities: Capabilities): Dispatch[] {
  const copies = product(kernel.batch.map(({ size }) => size));
  if (copies * kernel.m.size * kernel.n.size === 0) return [];
  const given: Placed = { kernel, slots: [0, 1, 2] };
  // Lanes run along the columns: they should lie side by side in c, and be many.
  const { m, n } = kernel;
  const { product: tuning } = tuningOf(capabilities);
  const few = tuning.engine === "tiles" && Math.min(m.size, n.size) < 16;
  const swap = few ? n.size < m.size : m.c === 1 && n.c !== 1;
  const placed = swap ? transpose(given) : given;
  if (tuning.engine === "tiles" && placed.kernel.m.size <= tuning.fewRows) return fewRows(placed, capabilities);
  return [tiled(placed, copies, capabilities)];
}

function fewRows(
  { kernel: { batch, m, n, k, offsets, types }, slots }: Placed,
  capabilities: Capabilities,
): Dispatch[] {
  const axes = [
    ...batch,
    { size: m.size, a: m.a, b: 0, c: m.c },
    { size: n.size, a: 0, b: n.b, c: n.c },
    ...k.map((axis) => ({ ...axis, c: 0 })),
  ];
  const access = (slot: number, name: "a" | "b" | "c") => ({
    slot,
    dtype: (name === "c" ? undefined : types?.[name]) ?? "f32" as const,
    offset: offsets[name],
    strides: axes.map((axis) => axis[name]),
  });
  const rows: LoopKernel = {
    kind: "loop",
    sizes: axes.map(({ size }) => size),
    outer: batch.length + 2,
    lanes: n.b === 1 && k.at(-1)?.b !== 1 ? "outer" : "inner",
    body: [
      { op: "load", type: "f32", access: access(slots[0], "a") },
      { op: "load", type: "f32", access: access(slots[1], "b") },
      { op: "mul", type: "f32", a: 0, b: 1 },
      { op: "reduce", type: "f32", by: "sum", a: 2 },
      { op: "store", type: "f32", access: access(slots[2], "c"), a: 3 },
    ],
    stages: [{ level: "inner", registers: [0, 1, 2, 3] }, { level: "outer", registers: [4] }],
  };
  return [...loop(rows, capabilities).dispatches];
}

function tiled({ kernel, slots }: Placed, copies: number, capabilities: Capabilities): Dispatch {
  const { batch, m, n, k: given, offsets, types } = kernel;
  const depth = product(given.map(({ size }) => size));
  const tile = chooseTile(m.size, n.size, depth, copies, capabilities);
  const down = Math.ceil(m.size / tile.rows);
  const right = Math.ceil(n.size / tile.columns);
  const k = joinAxes(given, ["a", "b"]);
  const batches = batch.map((_, axis) => `batch${axis}`);
  const base = (name: "a" | "b" | "c") =>
    sum(offsets[name], batch.map((axis, at) => [axis[name], batches[at]] as const));
  const depthOf = (name: "a" | "b") => (index: string, id: string) => {
    if (k.length === 1) return { lines: [], at: sum(0, [[k[0][name], index]]) };
    const names = k.map((_, axis) => `depth${axis}_${id}`);
    return {
      lines: k.length === 0 ? [] : split(`u32(${index})`, k.map(({ size }) => size), names),
      at: sum(0, k.map((axis, at) => [axis[name], names[at]] as const)),
    };
  };
  const times = (index: string, stride: number) => sum(0, [[stride, `(${index})`]]);
  return matrixProduct({
    tile,
    bindings: (["a", "b", "c"] as const).map((name, at) => ({ slot: slots[at], name, type: "f32" })),
    setup: [
      `let firstColumn = i32(group % ${right}u) * ${tile.columns};`,
      `let firstRow = i32((group / ${right}u) % ${down}u) * ${tile.rows};`,
      ...(batch.length > 0 ? [`let copy = group / ${right * down}u;`] : []),
      ...split("copy", batch.map(({ size }) => size), batches),
      ...(["a", "b", "c"] as const).map((name) => `let base_${name} = ${base(name)};`),
    ],
    groups: down * right * copies,
    rows: m.size,
    columns: n.size,
    depth,
    rowA: (row) => ({ lines: [], at: `base_a + ${times(row, m.a)}` }),
    columnB: (column) => `base_b + ${times(column, n.b)}`,
    depthA: depthOf("a"),
    depthB: depthOf("b"),
    rowC: (row) => ({ lines: [], at: `base_c + ${times(row, m.c)}` }),
    columnC: (column) => times(column, n.c),
    vectors: {
      a: operandVectors(k, "a", { stride: m.a, size: m.size }, [offsets.a, ...batch.map(({ a }) => a)]),
      b: operandVectors(k, "b", { stride: n.b, size: n.size }, [offsets.b, ...batch.map(({ b }) => b)]),
      c: vectors({ across: { stride: n.c, size: n.size } }, [offsets.c, m.c, ...batch.map(({ c }) => c)]),
    },
    types,
    alongDepth: { a: (k.at(-1)?.a ?? 0) === 1, b: (k.at(-1)?.b ?? 0) === 1 },
  });
}

/** Vectors of an operand with several depth axes: all but the last are like any other stride. */
function operandVectors(
  k: readonly Readonly<Record<"size" | "a" | "b", number>>[],
  name: "a" | "b",
  across: Direction,
  others: readonly number[],
): Vectors {
  const inner = k.at(-1);
  const depth = inner && { stride: inner[name], size: inner.size };
  return vectors({ depth, across }, [...others, ...k.slice(0, -1).map((axis) => axis[name])]);
}
