/**
 * @file The loop behind a product on a GPU: each invocation goes on with the sums that it holds, element by element, and
 * what it stores is the loop's results. The loop's axes are the product's (`Then` in `kernel.ts`), each perhaps in parts.
 */
import type { Instruction, LoopKernel, Then } from "../../../kernel.ts";
import { BodyPrinter, wordOf } from "../body.ts";
import { storesHalves } from "../half.ts";
import { affine, type Binding, indent, split } from "../shader.ts";

/** What a template says of its loop. */
export interface EpilogueParts {
  /** Slots before the loop's own. */
  readonly factors: number;
  /** Statements that define the loop's indices which are the same for the whole workgroup, and for a `row` (i32). */
  readonly setup: readonly string[];
  readonly row: readonly string[];
  /** Statements that define them for a `column` (i32). */
  readonly column: readonly string[];
  /** What the product is, given its sum; the sum itself if left out. */
  readonly value?: (sum: string) => string;
}

/** A printed epilogue; `product.ts` runs it over an invocation's sums. */
export interface Epilogue {
  readonly bindings: readonly Binding[];
  readonly status: boolean;
  readonly declarations: readonly string[];
  readonly setup: readonly string[];
  /** Statements for the element at `row` and `column`, whose sum is `total`. */
  readonly element: readonly string[];
  /** Does it store 16-bit elements? They gather in a word from a pair of columns (`half` is 0u, then 1u). */
  readonly pairs: boolean;
  readonly before: readonly string[];
  readonly after: readonly string[];
}

/** Which of the loop's axes make up one of the product's. */
export interface Parts {
  readonly sizes: readonly number[];
  /** Names of their indices. */
  readonly names: readonly string[];
}

/** Names of a loop's indices. */
export const indexName = (axis: number): string => `i${axis}`;

/**
 * Which of the loop's axes make up each of the product's: their sizes and the names of their indices.
 *
 * @param sizes of the product's axes, in the loop's order
 */
export function partsOf({ loop }: { readonly loop: Pick<LoopKernel, "sizes"> }, sizes: readonly number[]): Parts[] {
  let axis = 0;
  return sizes.map((size) => {
    const parts: { sizes: number[]; names: string[] } = { sizes: [], names: [] };
    for (let rest = size; rest > 1; rest /= loop.sizes[axis++]) {
      parts.sizes.push(loop.sizes[axis]);
      parts.names.push(indexName(axis));
    }
    return parts;
  });
}

/** Statements that define the loop's indices along one axis of the product, given the i32 index there. */
export const indicesAt = (index: string, { sizes, names }: Parts): string[] =>
  sizes.length === 1 ? [`let ${names[0]} = ${index};`] : split(`u32(${index})`, sizes, names);

/**
 * The loop's body with the product's own store, if it is kept; which registers are the sum, and the order of all. (The
 * product is stored first: what the loop stores may be what others are to find there.)
 */
export function bodyBehind({ loop, slot, stored }: Then): { body: Instruction[]; sums: number[]; order: number[] } {
  const sums = loop.body.flatMap((each, register) => each.op === "load" && each.access.slot === slot ? [register] : []);
  const first = loop.body[sums[0]] as Extract<Instruction, { op: "load" }>;
  const registers = loop.stages.flatMap((stage) => stage.registers);
  if (!stored) return { body: [...loop.body], sums, order: registers };
  const kept: Instruction = { op: "store", type: "f32", access: first.access, a: sums[0] };
  return { body: [...loop.body, kept], sums, order: [sums[0], loop.body.length, ...registers] };
}

/** Prints the loop behind a product. */
export function epilogue(then: Then, parts: EpilogueParts): Epilogue {
  const { body, sums, order } = bodyBehind(then), { value = (sum) => sum } = parts;
  const names = then.loop.sizes.map((_, axis) => indexName(axis));
  const printer = new BodyPrinter(body, names, new Map(sums.map((register) => [register, "total"])));
  const words = body.flatMap((each, register) => storesHalves(each) ? [{ register, access: each.access }] : []);
  const statements = [...new Set(order)].flatMap((register) => printer.print(register));
  return {
    bindings: printer.bindings.map((binding) => ({ ...binding, slot: binding.slot + parts.factors })),
    status: printer.status,
    declarations: printer.declarations,
    setup: parts.setup,
    element: [
      `let total = ${value("sum")};`,
      ...parts.row,
      ...parts.column,
      ...words.map(({ register, access }) => `at${register} = ${affine(access, names)};`),
      ...statements,
    ],
    pairs: words.length > 0,
    before: words.flatMap(({ register }) => [`var ${wordOf(register)} = 0u;`, `var at${register} = 0;`]),
    after: words.map(({ register, access }) => `b${access.slot}[at${register} >> 1u] = ${wordOf(register)};`),
  };
}

/** One side of the block of sums that an invocation holds. */
export interface Side {
  readonly count: number;
  /** The matrix's row (or column) of the i-th one. */
  readonly at: (i: string) => string;
  /** Conditions under which that row (or column) is this invocation's to store. */
  readonly own: (index: string) => readonly string[];
}

/** Statements that run the epilogue over an invocation's sums: vectors of four columns, row by row. */
export function runEpilogue(
  { setup, element, pairs, before, after }: Epilogue,
  sums: readonly string[],
  rows: Side,
  columns: Side,
): string[] {
  const only = (conditions: readonly string[]): string[] =>
    conditions.length > 0 ? [`if (!(${conditions.join(" && ")})) { continue; }`] : [];
  // Indices known at run time only: the statements stand there once, however many sums there are.
  const sum = (place: string): string =>
    `let sum = held[heldRow * ${columns.count / 4} + (${place} >> 2u)][${place} & 3];`;
  const loop = (index: string, { count, at, own }: Side, name: string, step: number, lines: readonly string[]) => [
    `for (var ${index} = 0; ${index} < ${count}; ${index} += ${step}) {`,
    ...indent([`let ${name} = ${at(index)};`, ...only(own(name)), ...lines]),
    "}",
  ];
  // A pair of columns is one invocation's: blocks begin at even ones, and their number is even.
  const inner = pairs
    ? loop("heldColumn", columns, "pair", 2, [
      ...before,
      "for (var half = 0u; half < 2u; half++) {",
      ...indent(["let column = pair + i32(half);", sum("(heldColumn + i32(half))"), ...element]),
      "}",
      ...after,
    ])
    : loop("heldColumn", columns, "column", 1, [sum("heldColumn"), ...element]);
  return [
    `var held = array<vec4<f32>, ${sums.length}>(${sums.join(", ")});`,
    ...setup,
    ...loop("heldRow", rows, "row", 1, inner),
  ];
}
