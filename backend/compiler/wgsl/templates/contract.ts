/**
 * @file contract: c[batch, m, n] = Σ_k a[batch, m, k] · b[batch, k, n], any strides.
 * Few rows (or columns) on a GPU become a `loop` with a reduction: that reads the large operand once and needs no tile.
 */
import type { Capabilities } from "../../../device.ts";
import type { Affine, ContractKernel, Instruction, Sums, Then } from "../../kernel.ts";
import { bodyBehind, epilogue, indexName, indicesAt, type Parts, partsOf } from "./product/epilogue.ts";
import { pairsAlong } from "./half.ts";
import { loop } from "./loop.ts";
import { addsUp, chooseTile, type Direction, product as matrixProduct, type Vectors, vectors } from "./product.ts";
import { type Emitted, joinAxes, product, split, sum } from "./shader.ts";
import { partialSums, partsOfSums, planSums, type ProductParts, sumsApart, withSums } from "./product/sums.ts";
import { tuningOf } from "./tuning.ts";

/** A product with the slots of its operands, so that a and b may change places. */
interface Placed {
  readonly kernel: ContractKernel;
  readonly slots: readonly [a: number, b: number, c: number];
  /** Which axes of the loop behind it are indices of the product's axes. */
  readonly parts?: ProductParts;
  /** Have a and b changed places? */
  readonly swapped: boolean;
}

/** cᵀ = bᵀ·aᵀ: the same product with the roles of a and b exchanged. */
function transpose({ kernel, slots, parts, swapped }: Placed): Placed {
  const { kind, batch, m, n, k, offsets, types, then, sums } = kernel;
  return {
    kernel: {
      kind,
      batch: batch.map(({ size, a, b, c }) => ({ size, a: b, b: a, c })),
      m: { size: n.size, a: n.b, c: n.c },
      n: { size: m.size, b: m.a, c: m.c },
      k: k.map(({ size, a, b }) => ({ size, a: b, b: a })),
      offsets: { a: offsets.b, b: offsets.a, c: offsets.c },
      ...(types && { types: { a: types.b, b: types.a } }),
      ...(then && { then }),
      ...(sums && { sums }),
    },
    slots: [slots[1], slots[0], slots[2]],
    ...(parts && { parts: turned(parts) }),
    swapped: !swapped,
  };
}

const turned = ({ batch, m, n }: ProductParts): ProductParts => ({ batch, m: n, n: m });

/** Emits a contraction as one dispatch, and what packs 16-bit results of a loop behind it; none if c is empty. */
export function contract(kernel: ContractKernel, capabilities: Capabilities): Emitted {
  const copies = product(kernel.batch.map(({ size }) => size)), { then } = kernel;
  if (copies * kernel.m.size * kernel.n.size === 0) return { dispatches: [], scratch: [] };
  const given: Placed = {
    kernel,
    slots: [0, 1, 2],
    ...(then && { parts: partsOfProduct(then, kernel) }),
    swapped: false,
  };
  // Lanes run along the columns: they should lie side by side in c, and be many.
  const { m, n } = kernel;
  const { product: tuning } = tuningOf(capabilities);
  const few = tuning.engine === "tiles" && Math.min(m.size, n.size) < 16;
  const pairs = then ? pairsAlong(then, kernel) : "either";
  const swap = pairs !== "either" ? pairs === "rows" : few ? n.size < m.size : m.c === 1 && n.c !== 1;
  const placed = swap ? transpose(given) : given;
  if (tuning.engine === "tiles" && placed.kernel.m.size <= tuning.fewRows) {
    const alone = fewRows(placed, capabilities);
    return kernel.sums ? sumsApart(kernel.sums, 2, alone, capabilities) : alone;
  }
  return tiled(placed, copies, capabilities);
}

function partsOfProduct(then: Then, { batch, m, n }: ContractKernel): ProductParts {
  const parts = partsOf(then, [...batch, m, n].map(({ size }) => size));
  return { batch: parts.slice(0, batch.length), m: parts[batch.length], n: parts[batch.length + 1] };
}

function fewRows({ kernel, slots, parts }: Placed, capabilities: Capabilities): Emitted {
  const { batch, m, n, k, offsets, types, then } = kernel;
  const rows = [
    ...batch,
    { size: m.size, a: m.a, b: 0, c: m.c },
    { size: n.size, a: 0, b: n.b, c: n.c },
  ];
  const outer = parts ? [...parts.batch, parts.m, parts.n].flatMap((each, i) => inParts(rows[i], each)) : rows;
  const axes = [...outer, ...k.map((axis) => ({ ...axis, c: 0 }))];
  const access = (slot: number, name: "a" | "b" | "c") => ({
    slot,
    dtype: (name === "c" ? undefined : types?.[name]) ?? "f32" as const,
    offset: offsets[name],
    strides: axes.map((axis) => axis[name]),
  });
  const sum: Instruction[] = [
    { op: "load", type: "f32", access: access(slots[0], "a") },
    { op: "load", type: "f32", access: access(slots[1], "b") },
    { op: "mul", type: "f32", a: 0, b: 1 },
    { op: "reduce", type: "f32", by: "sum", a: 2 },
  ];
  // The loop's axes are in the order of the product as it was given, these ones in that of the one at hand.
  const names = parts && [...parts.batch, parts.m, parts.n].flatMap((each) => each.names);
  const { body, order } = then && names
    ? appended(sum, then, then.loop.sizes.map((_, axis) => names.indexOf(indexName(axis))), axes.length)
    : { body: [...sum, { op: "store", type: "f32", access: access(slots[2], "c"), a: 3 } as const], order: [4] };
  return loop({
    kind: "loop",
    sizes: axes.map(({ size }) => size),
    outer: outer.length,
    lanes: n.b === 1 && k.at(-1)?.b !== 1 ? "outer" : "inner",
    body,
    stages: [{ level: "inner", registers: [0, 1, 2, 3] }, { level: "outer", registers: order }],
  }, capabilities);
}

/** An axis of the product as the axes that the loop behind it makes of it. */
function inParts({ a, b, c }: { a: number; b: number; c: number }, { sizes }: Parts) {
  return sizes.map((size, i) => {
    const step = product(sizes.slice(i + 1));
    return { size, a: a * step, b: b * step, c: c * step };
  });
}

/**
 * The loop's instructions behind those that make the sum, which is the last of them.
 *
 * @param places where the loop's axes are among all axes
 */
function appended(
  sum: readonly Instruction[],
  then: Then,
  places: readonly number[],
  axes: number,
): { body: Instruction[]; order: number[] } {
  const { body, sums, order } = bodyBehind(then), first = sum.length;
  const at = (register: number): number => sums.includes(register) ? first - 1 : register + first;
  const spread = <A extends Affine>(affine: A): A => {
    const strides = new Array<number>(axes).fill(0);
    places.forEach((place, axis) => strides[place] = affine.strides[axis]);
    return { ...affine, strides };
  };
  const moved = body.map((each, register): Instruction => {
    // A load of the product has no buffer: nobody asks for this register.
    if (sums.includes(register)) return { op: "const", type: "f32", bits: 0 };
    if (each.op === "index") return { ...each, index: spread(each.index) };
    if (each.op === "load" || each.op === "store") {
      const { guards, gather } = each.access;
      const access = {
        ...spread(each.access),
        slot: each.access.slot + 2,
        ...(guards && { guards: guards.map(spread) }),
        ...(gather && { gather: { ...gather, register: at(gather.register) } }),
      };
      return { ...each, access, ...("a" in each && { a: at(each.a) }) };
    }
    if (each.op === "const") return each;
    if (each.op === "select") return { ...each, a: at(each.a), b: at(each.b), c: at(each.c) };
    return "b" in each ? { ...each, a: at(each.a), b: at(each.b) } : { ...each, a: at(each.a) };
  });
  const wanted = order.filter((register) => !sums.includes(register)).map((register) => register + first);
  return { body: [...sum, ...moved], order: [...new Set(wanted)] };
}

function tiled(placed: Placed, copies: number, capabilities: Capabilities): Emitted {
  const { kernel, slots, parts, swapped } = placed, { batch, m, n, k: given, offsets, types, then, sums } = kernel;
  const depth = product(given.map(({ size }) => size));
  const tile = chooseTile(m.size, n.size, depth, copies, capabilities, kernel);
  if (sums && !addsUp(tile, capabilities)) {
    const { sums: _, ...alone } = kernel;
    return sumsApart(sums, 2, tiled({ ...placed, kernel: alone }, copies, capabilities), capabilities);
  }
  const planned = sums ? planSums(sums, 2, swapped, tile, m.size, n.size) : [];
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
  /** The indices of sums, as those of a loop that goes on with each element. */
  const indices = (behind: ProductParts) => ({
    setup: behind.batch.flatMap((each, axis) => indicesAt(batches[axis], each)),
    row: indicesAt("row", behind.m),
    column: indicesAt("column", behind.n),
  });
  const partsOf = (behind: Sums): ProductParts => {
    const [down, wide] = swapped ? [n, m] : [m, n];
    const all = partsOfSums(behind, batch.map(({ size }) => size), down.size, wide.size);
    return swapped ? turned(all) : all;
  };
  const dispatch = matrixProduct({
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
    epilogue: then && parts && epilogue(then, { factors: 2, ...indices(parts) }),
    sums: planned.map(({ sums, ...each }) => partialSums(sums, { ...each, ...indices(partsOf(sums)) })),
    alongDepth: { a: (k.at(-1)?.a ?? 0) === 1, b: (k.at(-1)?.b ?? 0) === 1 },
  });
  return sums ? withSums(planned, dispatch, capabilities) : { dispatches: [dispatch], scratch: [] };
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
