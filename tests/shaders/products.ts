/** @file Products in all shapes that shaders meet: edges, strides, batches, groups, 16-bit storage. */
import type { Kernel, OperandTypes } from "../../backend/compiler/kernel.ts";
import { type Memory, reference } from "../../backend/compiler/wgsl/reference.ts";
import { floats, groupIndex, unwritten } from "../../backend/compiler/wgsl/testing.ts";

/** A kernel with the values of its slots; the last one is what it writes. */
export interface ProductCase {
  readonly name: string;
  readonly kernel: Extract<Kernel, { readonly kind: "contract" | "grouped" | "groupedInto" }>;
  readonly slots: readonly Memory[];
}

/** One matrix product (or several side by side) with either operand along the depth or across it. */
export function contract(
  [batch, m, n, k]: readonly [batch: number, m: number, n: number, k: number],
  [aAlong, bAlong]: readonly [a: boolean, b: boolean],
  offset: number,
  types?: OperandTypes,
): ProductCase {
  return {
    name: `${batch} × [${m}, ${k}] · [${k}, ${n}], a ${aAlong ? "along" : "across"}, b ${bAlong ? "along" : "across"}`,
    kernel: {
      kind: "contract",
      batch: batch === 1 ? [] : [{ size: batch, a: m * k, b: n * k, c: m * n }],
      m: { size: m, a: aAlong ? k : 1, c: n },
      n: { size: n, b: bAlong ? k : 1, c: 1 },
      k: [{ size: k, a: aAlong ? 1 : m, b: bAlong ? 1 : n }],
      offsets: { a: offset, b: 2 * offset, c: 3 * offset },
      types,
    },
    slots: [floats(offset + batch * m * k), floats(2 * offset + batch * n * k), unwritten(3 * offset + batch * m * n)],
  };
}

/** The sum runs over two axes that do not join, c lies transposed, an operand has no batch. */
export function twoAxes(types?: OperandTypes): ProductCase {
  const [batch, m, n, p, q] = [2, 35, 50, 3, 21];
  return {
    name: "two axes of depth, c transposed",
    kernel: {
      kind: "contract",
      batch: [{ size: batch, a: 0, b: p * q * n, c: 1 }],
      m: { size: m, a: q, c: batch },
      n: { size: n, b: 1, c: batch * m },
      k: [{ size: p, a: m * q, b: n }, { size: q, a: 1, b: p * n }],
      offsets: { a: 0, b: 0, c: 0 },
      types,
    },
    slots: [floats(m * p * q), floats(batch * n * p * q), unwritten(batch * m * n)],
  };
}

/** An order of positions by their groups, sorted on the host as an order kernel would. */
export function ordered(index: Int32Array, groups: number): Int32Array {
  const out = new Int32Array(index.length + groups + 1);
  reference({ kind: "order", groups, positions: index.length }, [index, out]);
  return out;
}

/** The same of random groups; one stays empty, and some positions have none. */
const order = (positions: number, groups: number): Int32Array =>
  ordered(groupIndex(positions, Math.max(1, groups - 1)), groups);

/** Rows of tokens times the weights that each of their slots chooses. */
export function grouped([tokens, slots, groups, k, n]: readonly number[], types?: OperandTypes): ProductCase {
  return {
    name: `${tokens} tokens × ${slots} in ${groups} groups, [${k}, ${n}]`,
    kernel: {
      kind: "grouped",
      groups,
      // a has no slots; c has them outermost.
      positions: [{ size: tokens, a: k, c: n }, { size: slots, a: 0, c: tokens * n }],
      k: { size: k, a: 1, b: n },
      n: { size: n, b: 1, c: 1 },
      group: k * n,
      offsets: { a: 0, b: 0, c: 0 },
      types,
    },
    slots: [floats(tokens * k), floats(groups * k * n), order(tokens * slots, groups), unwritten(tokens * slots * n)],
  };
}

/** The adjoint: what tokens and slots add up to for the weights of each group. */
export function groupedInto([tokens, slots, groups, m, n]: readonly number[], types?: OperandTypes): ProductCase {
  return {
    name: `${tokens} tokens × ${slots} into ${groups} matrices [${m}, ${n}]`,
    kernel: {
      kind: "groupedInto",
      groups,
      positions: [{ size: tokens, a: m, b: slots * n }, { size: slots, a: 0, b: n }],
      m: { size: m, a: 1, c: 1 },
      n: { size: n, b: 1, c: m },
      group: m * n,
      offsets: { a: 0, b: 0, c: 0 },
      types,
    },
    slots: [floats(tokens * m), floats(tokens * slots * n), order(tokens * slots, groups), unwritten(groups * m * n)],
  };
}

/** Every case, with operands stored as `types` say. All are large enough for a tile of matrices. */
export function productCases(types: OperandTypes): ProductCase[] {
  const orders = [[true, true], [true, false], [false, true], [false, false]] as const;
  const shapes = [
    [1, 32, 32, 32],
    [1, 128, 64, 96],
    [1, 65, 130, 33],
    [1, 16, 17, 50],
    [2, 40, 72, 20],
    [3, 100, 36, 48],
  ] as const;
  return [
    ...shapes.flatMap((shape, at) =>
      [at % 4, (at + 1) % 4].map((number) => contract(shape, orders[number], at === 2 && number === 3 ? 3 : 0, types))
    ),
    twoAxes(types),
    grouped([150, 2, 4, 40, 72], types),
    grouped([70, 1, 3, 33, 35], types),
    groupedInto([150, 2, 4, 64, 72], types),
    groupedInto([64, 1, 3, 35, 33], types),
  ];
}
