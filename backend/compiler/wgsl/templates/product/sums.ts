/**
 * @file Sums over a product's rows or columns on a GPU (`Sums` in `kernel.ts`): each workgroup adds up what its tile has
 * of a row or a column, and a small second shader adds up the tiles' sums, always in the same order, and goes on with
 * what the loop makes of them. The product itself is not read again.
 */
import type { Capabilities } from "../../../../device.ts";
import { type Affine, type Instruction, type LoopKernel, operandsOf, type Sums } from "../../../kernel.ts";
import { BodyPrinter } from "../body.ts";
import { indexName, type Parts, partsOf, type Side } from "./epilogue.ts";
import { loopSlots } from "../half.ts";
import { loop } from "../loop.ts";
import type { TileShape } from "../product.ts";
import { affine, type Binding, type Dispatch, type Emitted, indent, product } from "../shader.ts";

type Reduce = Extract<Instruction, { readonly op: "reduce" }>;

/** Which of a loop's axes make up each of the product's. */
export interface ProductParts {
  readonly batch: readonly Parts[];
  readonly m: Parts;
  readonly n: Parts;
}

/** The axes of sums behind a product of these sizes: batch (or groups), m, n. */
export function partsOfSums({ loop: { sizes }, axes }: Sums, batch: readonly number[], m: number, n: number) {
  const parts = partsOf({ loop: { sizes: axes.map((axis) => sizes[axis]) } }, [...batch, m, n]);
  return { batch: parts.slice(0, batch.length), m: parts[batch.length], n: parts[batch.length + 1] };
}

/** Registers of a loop's reductions. */
const reductionsOf = ({ body }: LoopKernel): number[] =>
  body.flatMap((each, register) => each.op === "reduce" ? [register] : []);

/** The body without what none of these registers needs; other reductions' results need nothing. */
function only(body: readonly Instruction[], wanted: readonly number[]): Instruction[] {
  const needed = new Set<number>(), stack = [...wanted];
  while (stack.length > 0) {
    const register = stack.pop()!;
    if (needed.has(register)) continue;
    needed.add(register);
    if (body[register].op !== "reduce") stack.push(...operandsOf(body[register]));
  }
  return body.map((each, register) => needed.has(register) ? each : { op: "const", type: "f32", bits: 0 });
}

/** For each of the sums behind a product whose result is slot `c`: which slots of the kernel are the loop's. */
export function slotsOfSums(all: readonly Sums[], c: number): number[][] {
  let next = c + 1;
  return all.map(({ loop, slot }) => Array.from({ length: loopSlots(loop) }, (_, own) => own === slot ? c : next++));
}

/** Buffers that the busiest of the dispatches binds that make a product (of `own` slots) and the sums behind it. */
export function boundBySums(all: readonly Sums[], own: number): number {
  const elements = all.map((each) => new Set(elementBody(each).flatMap((x) => x.op === "load" ? [x.access.slot] : [])));
  const first = all.reduce(
    (count, { loop, slot }, i) => count + [...elements[i]].filter((x) => x !== slot).length + reductionsOf(loop).length,
    own,
  );
  return Math.max(first, ...all.map(({ loop }) => loopSlots(loop) - 1 + reductionsOf(loop).length));
}

/** What a loop computes for each element of the product. */
function elementBody({ loop: { body } }: Pick<Sums, "loop">): Instruction[] {
  const reduced = body.flatMap((each) => each.op === "reduce" ? [each.a] : []);
  return only(body, reduced).map((each) => each.op === "reduce" ? { op: "const", type: "f32", bits: 0 } : each);
}

/** Printed sums; `runSums` runs them over an invocation's part of a tile. */
export interface PartialSums {
  readonly bindings: readonly Binding[];
  readonly status: boolean;
  readonly declarations: readonly string[];
  /** What each sum is of: the other direction is added up. */
  readonly of: "rows" | "columns";
  readonly setup: readonly string[];
  readonly row: readonly string[];
  readonly column: readonly string[];
  /** Statements for the element whose product is `total`. */
  readonly element: readonly string[];
  readonly reduces: readonly {
    readonly value: string;
    readonly buffer: string;
    readonly identity: string;
    readonly combine: (a: string, b: string) => string;
  }[];
  /** Number of the row or column among all sums (i32). */
  readonly flat: string;
}

/** What a template says of its sums. */
export interface SumsParts {
  readonly of: "rows" | "columns";
  /** Slots of the kernel that are the loop's. */
  readonly slots: readonly number[];
  /** Where the partial sums of each reduction go. */
  readonly scratch: readonly number[];
  /** Statements that define the loop's indices which are the same for the whole workgroup, for a row, for a column. */
  readonly setup: readonly string[];
  readonly row: readonly string[];
  readonly column: readonly string[];
}

/** Prints the first half of sums. */
export function partialSums(sums: Sums, { of, slots, scratch, setup, row, column }: SumsParts): PartialSums {
  const { loop: { body, sizes, outer }, slot, axes } = sums;
  const names = sizes.map((_, axis) => axes.includes(axis) ? indexName(axes.indexOf(axis)) : "0");
  const given = body.flatMap((each, register) => each.op === "load" && each.access.slot === slot ? [register] : []);
  const moved = elementBody(sums).map((each): Instruction =>
    each.op === "load" ? { ...each, access: { ...each.access, slot: slots[each.access.slot] } } : each
  );
  const printer = new BodyPrinter(moved, names, new Map(given.map((register) => [register, "total"])));
  const wanted = body.flatMap((each, register) => moved[register].op === each.op ? [register] : []);
  const reduces = reductionsOf(sums.loop).map((register, i) => {
    const { by, type, a } = body[register] as Reduce;
    return {
      value: printer.name(a),
      buffer: `b${scratch[i]}`,
      identity: printer.identity(by, type),
      combine: (x: string, y: string) => printer.combine(by, type, x, y),
    };
  });
  const element = wanted.flatMap((register) => printer.print(register));
  return {
    bindings: [
      ...printer.bindings,
      ...scratch.map((slot): Binding => ({ slot, name: `b${slot}`, type: "f32" })),
    ],
    status: printer.status,
    declarations: printer.declarations,
    of,
    setup,
    row,
    column,
    element,
    reduces,
    flat: affine({ offset: 0, strides: denseStrides(sizes.slice(0, outer)) }, names.slice(0, outer)),
  };
}

const denseStrides = (sizes: readonly number[]): number[] => sizes.map((_, axis) => product(sizes.slice(axis + 1)));

/** The second half of sums: a loop over `blocks` partial sums of each row or column, in slots behind the loop's own. */
function finish({ loop: { body, sizes, outer, stages } }: Sums, first: number, blocks: number): LoopKernel {
  const kept = sizes.slice(0, outer), strides = [...denseStrides(kept).map((stride) => stride * blocks), 1];
  const shrunk = <A extends Affine>(address: A): A => ({
    ...address,
    strides: [...address.strides.slice(0, outer), 0],
  });
  const stores = body.flatMap(({ op }, register) => op === "store" ? [register] : []);
  const reduces = body.flatMap(({ op }, register) => op === "reduce" ? [register] : []);
  const left = only(body, [...stores, ...reduces]).map((each, register): Instruction => {
    if (each.op === "reduce") return { ...each, a: body.length + reduces.indexOf(register) };
    if (each.op === "index") return { ...each, index: shrunk(each.index) };
    if (each.op !== "load" && each.op !== "store") return each;
    const { guards } = each.access;
    return { ...each, access: { ...shrunk(each.access), ...(guards && { guards: guards.map(shrunk) }) } };
  });
  const loads = reduces.map((_, i): Instruction => ({
    op: "load",
    type: "f32",
    access: { slot: first + i, dtype: "f32", offset: 0, strides },
  }));
  const outside = stages.flatMap(({ level, registers }) => level === "outer" ? registers : []);
  return {
    kind: "loop",
    sizes: [...kept, blocks],
    outer,
    lanes: "inner",
    body: [...left, ...loads],
    stages: [
      { level: "inner", registers: [...loads.map((_, i) => body.length + i), ...reduces] },
      { level: "outer", registers: outside.filter((register) => left[register].op === body[register].op) },
    ],
  };
}

/** A loop's dispatches, which are much less work than the product before them. */
function light(kernel: LoopKernel, capabilities: Capabilities): Emitted {
  const { dispatches, scratch } = loop(kernel, capabilities), work = product(kernel.sizes) * kernel.body.length;
  return { dispatches: dispatches.map((each) => ({ ...each, kernel: { ...each.kernel, work } })), scratch };
}

/** Dispatches of kernels one after the other. Slots of each are named; what lies beyond them is scratch of its own. */
function chained(
  count: number,
  scratch: readonly number[],
  parts: readonly { readonly emitted: Emitted; readonly slots: readonly number[] }[],
): Emitted {
  const all = [...scratch], dispatches: Dispatch[] = [];
  for (const { emitted, slots } of parts) {
    const first = count + all.length - slots.length;
    for (const dispatch of emitted.dispatches) {
      const moved = dispatch.slots.map((slot) => slot < slots.length ? slots[slot] : slot + first);
      dispatches.push({ ...dispatch, slots: moved });
    }
    all.push(...emitted.scratch);
  }
  return { dispatches, scratch: all };
}

/** A product without its sums, and each of their loops after it: where the tiles' engine cannot add up. */
export function sumsApart(all: readonly Sums[], c: number, alone: Emitted, capabilities: Capabilities): Emitted {
  const slots = slotsOfSums(all, c), count = slots.flat().reduce((a, b) => Math.max(a, b), c) + 1;
  return chained(count, [], [
    { emitted: alone, slots: Array.from({ length: c + 1 }, (_, slot) => slot) },
    ...all.map((each, i) => ({ emitted: light(each.loop, capabilities), slots: slots[i] })),
  ]);
}

/** One of the sums behind a product, as a template is about to print it. */
export interface PlannedSums {
  readonly sums: Sums;
  readonly slots: readonly number[];
  readonly scratch: readonly number[];
  readonly of: "rows" | "columns";
  readonly blocks: number;
}

/**
 * The sums behind a product of `rows` × `columns` whose result is slot `c`.
 *
 * @param swapped does the template compute the transposed product?
 */
export function planSums(
  all: readonly Sums[],
  c: number,
  swapped: boolean,
  tile: TileShape,
  rows: number,
  columns: number,
): PlannedSums[] {
  const slots = slotsOfSums(all, c);
  let next = slots.flat().reduce((a, b) => Math.max(a, b), c) + 1;
  return all.map((sums, i) => {
    const of = (sums.over === "n") !== swapped ? "rows" as const : "columns" as const;
    return {
      sums,
      slots: slots[i],
      scratch: reductionsOf(sums.loop).map(() => next++),
      of,
      blocks: of === "rows" ? Math.ceil(columns / tile.columns) : Math.ceil(rows / tile.rows),
    };
  });
}

/** The product's dispatch with the first halves, and the second halves after it. */
export function withSums(planned: readonly PlannedSums[], dispatch: Dispatch, capabilities: Capabilities): Emitted {
  const count = Math.min(...planned.flatMap(({ scratch }) => scratch));
  const bytes = planned.flatMap(({ sums: { loop: { sizes, outer } }, scratch, blocks }) =>
    scratch.map(() => 4 * product(sizes.slice(0, outer)) * blocks)
  );
  const own = Array.from({ length: count + bytes.length }, (_, slot) => slot);
  return chained(count, bytes, [
    { emitted: { dispatches: [dispatch], scratch: [] }, slots: own },
    ...planned.map(({ sums, slots, scratch, blocks }) => ({
      emitted: light(finish(sums, slots.length, blocks), capabilities),
      slots: [...slots, ...scratch],
    })),
  ]);
}

/** One side of the block of sums that an invocation holds, and of its workgroup's tile. */
export interface TileSide extends Side {
  /** The invocation's place on this side, and how many places there are. */
  readonly place: string;
  readonly places: number;
  /** The tile's first index, its size, and how many tiles there are. */
  readonly first: string;
  readonly size: number;
  readonly blocks: number;
}

/** Elements that lanes exchange at once: four rows (or columns) of each. */
export const exchanged = (kept: TileSide, added: TileSide): number => 4 * kept.places * added.places;

/** Statements that add up an invocation's sums, then the workgroup's of `lanes`, and store what the tile has. */
export function runSums(
  all: readonly PartialSums[],
  held: readonly string[],
  rows: TileSide,
  columns: TileSide,
  lanes: number,
): string[] {
  return [
    `var held = array<vec4<f32>, ${held.length}>(${held.join(", ")});`,
    ...all.flatMap((sums) => [
      "{",
      ...indent([...sums.setup, ...sums.reduces.flatMap((reduce) => runOne(sums, reduce, rows, columns, lanes))]),
      "}",
    ]),
  ];
}

function runOne(
  { of, row, column, element, flat }: PartialSums,
  { value, buffer, identity, combine }: PartialSums["reduces"][number],
  rows: TileSide,
  columns: TileSide,
  lanes: number,
): string[] {
  const ofRows = of === "rows", [kept, added] = ofRows ? [rows, columns] : [columns, rows];
  const [keptName, addedName] = ofRows ? ["row", "column"] : ["column", "row"];
  const [keptLines, addedLines] = ofRows ? [row, column] : [column, row];
  const [heldRow, heldColumn] = ofRows ? ["keptAt", "addedAt"] : ["addedAt", "keptAt"];
  const when = (conditions: readonly string[], lines: readonly string[]): string[] =>
    conditions.length > 0 ? [`if (${conditions.join(" && ")}) {`, ...indent(lines), "}"] : [...lines];
  const addUp = [
    `for (var addedAt = 0; addedAt < ${added.count}; addedAt++) {`,
    ...indent([
      `let ${addedName} = ${added.at("addedAt")};`,
      ...when(added.own(addedName), [
        `let total = held[${heldRow} * ${columns.count / 4} + (${heldColumn} >> 2u)][${heldColumn} & 3];`,
        ...addedLines,
        ...element,
        `part = ${combine("part", value)};`,
      ]),
    ]),
    "}",
  ];
  // Four rows (or columns) of each lane at a time pass through the workgroup's memory.
  const phases = kept.count / 4, across = added.places;
  return [
    `for (var phase = 0; phase < ${phases}; phase++) {`,
    ...indent([
      "for (var quarter = 0; quarter < 4; quarter++) {",
      ...indent([
        "let keptAt = phase * 4 + quarter;",
        `let ${keptName} = ${kept.at("keptAt")};`,
        `var part = ${identity};`,
        ...when(kept.own(keptName), [...keptLines, ...addUp]),
        `shared_sums[(${kept.place} * 4 + quarter) * ${across} + ${added.place}] = part;`,
      ]),
      "}",
      "workgroupBarrier();",
      `for (var at = own; at < ${4 * kept.places}; at += ${lanes}) {`,
      ...indent([
        `let ${keptName} = ${kept.first} + phase * ${kept.size / phases} + at;`,
        ...when(kept.own(keptName), [
          ...keptLines,
          `var whole = shared_sums[at * ${across}];`,
          `for (var next = 1; next < ${across}; next++) {`,
          `  whole = ${combine("whole", `shared_sums[at * ${across} + next]`)};`,
          "}",
          `${buffer}[(${flat}) * ${added.blocks} + ${added.first} / ${added.size}] = whole;`,
        ]),
      ]),
      "}",
      "workgroupBarrier();",
    ]),
    "}",
  ];
}
