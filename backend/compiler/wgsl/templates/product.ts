/**
 * @file The matrix product inside `contract`, `grouped` and `groupedInto`: one tile of c per workgroup.
 *
 * Two engines (`tuning.ts` says which): *tiles*, where a and b pass through workgroup memory and each invocation keeps 4×4
 * or 8×8 sums in registers, and *direct*, where each invocation reads a and b straight from memory, four elements at once
 * where they lie side by side. A third stands in for tiles where the adapter has it: `product/cooperative.ts`.
 *
 * Rows and columns beyond the matrix repeat its last one and are not stored; depth beyond the end counts as 0.
 */
import type { Capabilities } from "../../../device.ts";
import type { OperandTypes } from "../../kernel.ts";
import { type Epilogue, runEpilogue, type Side } from "./product/epilogue.ts";
import { chooseCooperative, cooperative, type Matrices, type Stored } from "./product/cooperative.ts";
import { below, clamped, last, readers } from "./product/operand.ts";
import { exchanged, type PartialSums, runSums, type TileSide } from "./product/sums.ts";
import { type Binding, type Dispatch, type ElementType, indent, shader } from "./shader.ts";
import { tuningOf } from "./tuning.ts";

/** An address expression (i32) and the statements it needs. */
export interface Address {
  readonly lines: readonly string[];
  readonly at: string;
}

/** Sizes of a workgroup's tile. */
export interface TileShape {
  readonly rows: number;
  readonly columns: number;
  /** Depth of the tiles in workgroup memory; 0: the direct engine. */
  readonly depth: number;
  /** Rows and columns per invocation; per subgroup where matrices multiply. */
  readonly own: readonly [rows: number, columns: number];
  /** Cooperative matrices that multiply the tiles. */
  readonly matrices?: Matrices;
}

/**
 * In which direction four elements of an operand lie side by side, at an address divisible by four, for every multiple
 * of four in that direction: along the depth, or across it (along rows of a, columns of b and c).
 */
export type Vectors = "depth" | "across" | undefined;

/** What a template says about its product. Names given to the callbacks are i32 expressions. */
export interface Product {
  readonly tile: TileShape;
  readonly bindings: readonly Binding[];
  readonly declarations?: readonly string[];
  /** Defines `firstRow` and `firstColumn` (i32), the tile's place, and what the expressions below use. */
  readonly setup: readonly string[];
  /** Workgroups, one per tile. */
  readonly groups: number;
  /** i32 expressions, the same for the whole workgroup; numbers where known. */
  readonly rows: string | number;
  readonly columns: number;
  readonly depth: string | number;
  /** Addresses are sums of a part for the row or column and one for the depth. `id` makes names unique. */
  readonly rowA: (row: string, id: string) => Address;
  readonly columnB: (column: string) => string;
  readonly depthA: (k: string, id: string) => Address;
  readonly depthB: (k: string, id: string) => Address;
  readonly rowC: (row: string, id: string) => Address;
  readonly columnC: (column: string) => string;
  /** What is stored, given the sum; the sum itself if left out. */
  readonly value?: (sum: string) => string;
  /** What goes on with the sums instead of their being stored. */
  readonly epilogue?: Epilogue;
  /** What adds up the sums of a tile after they are stored. */
  readonly sums?: readonly PartialSums[];
  /** Is depth the direction in which an operand's elements lie closest? */
  readonly alongDepth: { readonly a: boolean; readonly b: boolean };
  readonly vectors: { readonly a: Vectors; readonly b: Vectors; readonly c: Vectors };
  readonly types?: OperandTypes;
}

/**
 * Chooses tile sizes for c of `rows` × `columns` with `depth`; `copies` such products run side by side. `kernel` says how
 * the operands are stored, and what stands behind the product.
 */
export function chooseTile(
  rows: number,
  columns: number,
  depth: number,
  copies: number,
  capabilities: Capabilities,
  kernel: Stored,
): TileShape {
  const matrices = chooseCooperative([rows, columns, depth], kernel, capabilities);
  if (matrices) return matrices;
  const { product } = tuningOf(capabilities);
  if (product.engine === "direct") {
    const { lanes, smallOwn, own: [ownRows, ownColumns] } = product;
    // Narrow products: fewer columns per invocation, and twice the rows.
    const fit = columns < ownColumns / 2 ? ownColumns / 4 : columns < ownColumns ? ownColumns / 2 : ownColumns;
    const own = rows * columns * depth * copies <= product.small
      ? [Math.min(rows, smallOwn[0]), smallOwn[1]] as const
      : [Math.min(rows, columns < ownColumns ? 2 * ownRows : ownRows), Math.max(4, fit)] as const;
    let right = 1;
    while (right < lanes && right * own[1] < columns) right *= 2;
    return { rows: own[0] * (lanes / right), columns: own[1] * right, depth: 0, own };
  }
  const groups = Math.ceil(rows / 128) * Math.ceil(columns / 128) * copies;
  if (rows >= 96 && columns >= 96 && groups >= product.largeFrom) {
    return { rows: 128, columns: 128, depth: product.largeDepth, own: [8, 8] };
  }
  const side = (size: number) => Math.min(product.side, size <= 16 ? 16 : size <= 32 ? 32 : 64);
  return { rows: side(rows), columns: side(columns), depth: product.depth, own: [4, 4] };
}

/**
 * Finds an operand's `Vectors`. `along` is the stride of the direction and `sizes` what must divide by four there;
 * `others` are the operand's other strides and its offset.
 */
export function vectors(
  along: { readonly depth?: Direction; readonly across?: Direction },
  others: readonly number[],
): Vectors {
  const fits = (direction: Direction | undefined, rest: Direction | undefined): boolean =>
    direction !== undefined && direction.stride === 1 && direction.size % 4 === 0 &&
    [...others, rest?.stride ?? 0].every((stride) => stride % 4 === 0);
  if (fits(along.depth, along.across)) return "depth";
  return fits(along.across, along.depth) ? "across" : undefined;
}

/** A direction of an operand: its stride, and what must divide by four for vectors along it. */
export interface Direction {
  readonly stride: number;
  readonly size: number;
}

/**
 * Can the lanes of such a tile add up what they hold? They must share memory. (Drivers in software read the product
 * again in less time than they take to index registers.)
 */
export function addsUp({ rows, columns, depth, own, matrices }: TileShape, capabilities: Capabilities): boolean {
  if (matrices || depth === 0) return false;
  const shared = Math.max(4 * (rows / own[0]), 4 * (columns / own[1])) * Math.max(rows / own[0], columns / own[1]);
  return 16 * depth * (rows / 4 + columns / 4 + 2) + 4 * shared <= capabilities.workgroupMemoryBytes;
}

/** Assembles the shader of a product. */
export function product(parts: Product): Dispatch {
  if (parts.tile.matrices) return cooperative(parts, parts.tile.matrices);
  return parts.tile.depth === 0 ? direct(parts) : tiles(parts);
}

function storeIf(conditions: readonly string[], statement: string): string {
  return conditions.length > 0 ? `if (${conditions.join(" && ")}) { ${statement} }` : statement;
}

const components = ["x", "y", "z", "w"] as const;

function direct(parts: Product): Dispatch {
  const { tile, rows, columns, depth, value = (sum) => sum } = parts;
  const [ownRows, ownColumns] = tile.own;
  const across = tile.columns / ownColumns;
  const down = tile.rows / ownRows;
  // Vectors across need whole ones: four rows of a, or four columns of b and c.
  const a = parts.vectors.a === "across" && (ownRows % 4 !== 0 || typeof rows !== "number")
    ? undefined
    : parts.vectors.a;
  const { b, c } = parts.vectors;
  const step = a === "depth" || b === "depth" ? 4 : 1;
  const lines: string[] = [...parts.setup];
  const count = (size: number) => Array.from({ length: size }, (_, at) => at);
  const range = (size: number, by: number) => count(size / by).map((at) => at * by);
  // The last blocks are moved back to end with the matrix, or repeat its last row or column: what is computed twice
  // has the same bits both times, so no store needs a condition.
  const fitted = (index: string, bound: string | number, own: number) =>
    typeof bound === "number" && bound >= own ? `min(${index}, ${bound - own})` : index;
  const within = (index: string, bound: string | number, own: number) =>
    typeof bound === "number" && bound >= own ? index : `min(${index}, ${bound} - 1)`;
  const laneRow = across === 1 ? "lane" : `lane / ${across}u`;
  const laneColumn = down === 1 ? "lane" : `lane % ${across}u`;
  const placeRow = down === 1 ? "firstRow" : `firstRow + i32(${laneRow}) * ${ownRows}`;
  const placeColumn = across === 1 ? "firstColumn" : `firstColumn + i32(${laneColumn}) * ${ownColumns}`;
  lines.push(
    `let placeRow = ${placeRow};`,
    `let placeColumn = ${placeColumn};`,
    `let ownRow = ${fitted("placeRow", rows, ownRows)};`,
    `let ownColumn = ${fitted("placeColumn", columns, ownColumns)};`,
  );
  for (const i of range(ownRows, a === "across" ? 4 : 1)) {
    const { lines: before, at } = parts.rowA(within(`ownRow + ${i}`, rows, ownRows), `a${i}`);
    lines.push(...before, `let rowA${i} = ${at};`);
  }
  for (const j of range(ownColumns, b === "across" ? 4 : 1)) {
    lines.push(`let columnB${j} = ${parts.columnB(within(`ownColumn + ${j}`, columns, ownColumns))};`);
  }
  for (const i of count(ownRows)) for (const j of range(ownColumns, 4)) lines.push(`var sum${i}_${j} = vec4<f32>();`);

  const body: string[] = [];
  const read = readers({ types: parts.types, vectors: { a, b } });
  for (const q of count(step)) {
    const k = q === 0 ? "k" : `(k + ${q})`;
    if (q === 0 || a !== "depth") {
      const { lines: before, at } = parts.depthA(k, `a${q}`);
      body.push(...before, `let depthA${q} = ${at};`);
      for (const i of range(ownRows, a === "across" ? 4 : 1)) {
        body.push(`let a${i}_${q} = ${read.a.at(`rowA${i} + depthA${q}`)};`);
      }
    }
    if (q === 0 || b !== "depth") {
      const { lines: before, at } = parts.depthB(k, `b${q}`);
      body.push(...before, `let depthB${q} = ${at};`);
      for (const j of range(ownColumns, b === "across" ? 4 : 1)) {
        body.push(`let b${j}_${q} = ${read.b.at(`columnB${j} + depthB${q}`)};`);
      }
    }
    for (const j of range(ownColumns, 4)) {
      const four = [0, 1, 2, 3].map((part) => b === "depth" ? `b${j + part}_0.${components[q]}` : `b${j + part}_${q}`);
      body.push(`let right${j}_${q} = ${b === "across" ? `b${j}_${q}` : `vec4<f32>(${four.join(", ")})`};`);
    }
    for (const i of count(ownRows)) {
      const scalar = a === "depth"
        ? `a${i}_0.${components[q]}`
        : a === "across"
        ? `a${i - i % 4}_${q}.${components[i % 4]}`
        : `a${i}_${q}`;
      for (const j of range(ownColumns, 4)) body.push(`sum${i}_${j} += ${scalar} * right${j}_${q};`);
    }
  }
  lines.push(`for (var k = 0; k < ${depth}; k += ${step}) {`, ...indent(body), "}");

  if (parts.epilogue) {
    // Unlike a store of its own, what follows may not run twice: a block moved back leaves to its neighbour what it shares.
    const side = (name: "Row" | "Column", bound: string | number, own: number, size: number): Side => ({
      count: own,
      at: (i) => `own${name} + ${i}`,
      own: (index) => [
        ...(typeof bound === "number" && bound % size === 0 ? [] : [`${index} >= place${name}`, `${index} < ${bound}`]),
      ],
    });
    const sums = count(ownRows).flatMap((i) => range(ownColumns, 4).map((j) => `sum${i}_${j}`));
    lines.push(
      ...runEpilogue(
        parts.epilogue,
        sums,
        side("Row", rows, ownRows, tile.rows),
        side("Column", columns, ownColumns, tile.columns),
      ),
    );
  } else {
    for (const j of range(ownColumns, c === "across" ? 4 : 1)) {
      lines.push(`let columnC${j} = ${parts.columnC(`(${within(`ownColumn + ${j}`, columns, ownColumns)})`)};`);
    }
    for (const i of count(ownRows)) {
      const { lines: before, at } = parts.rowC(`(${within(`ownRow + ${i}`, rows, ownRows)})`, `c${i}`);
      lines.push(...before, `let rowC${i} = ${at};`);
      for (const j of range(ownColumns, 4)) {
        const four = components.map((part) => value(`sum${i}_${j}.${part}`));
        if (c === "across") lines.push(`c[(rowC${i} + columnC${j}) >> 2u] = vec4<f32>(${four.join(", ")});`);
        else four.forEach((sum, part) => lines.push(`c[rowC${i} + columnC${j + part}] = ${sum};`));
      }
    }
  }
  const types: Readonly<Record<string, ElementType>> = {
    a: read.a.type,
    b: read.b.type,
    c: c ? "vec4<f32>" : "f32",
  };
  return assemble(parts, types, read.declarations, across * down, lines);
}

function tiles(parts: Product): Dispatch {
  const { tile, rows, columns, depth, value = (sum) => sum } = parts;
  const [ownRows, ownColumns] = tile.own;
  const across = tile.columns / ownColumns;
  const lanes = (tile.rows / ownRows) * across;
  // Workgroup memory: vectors of 4 rows (4 columns) for each k, one vector of padding against bank conflicts.
  const strideA = tile.rows / 4 + 1;
  const strideB = tile.columns / 4 + 1;
  const ragged = !(typeof depth === "number" && depth % tile.depth === 0);
  const read = readers({ types: parts.types, vectors: { a: undefined, b: undefined } });
  const lines: string[] = [...parts.setup, "let own = i32(lane);"];
  const fetch: string[] = [];

  /** Which vectors of an operand's tile this lane fetches: their places before the loop, the loads inside it. */
  const operand = (name: "a" | "b", vectors: number, along: boolean) => {
    const count = Math.ceil(vectors * tile.depth / lanes);
    const partial = vectors * tile.depth < lanes * count;
    for (let unit = 0; unit < count; unit++) {
      const id = `${name}${unit}`;
      const number = unit === 0 ? "own" : `(own + ${unit * lanes})`;
      const [vector, deep] = along
        ? [`${number} / ${tile.depth}`, `${number} % ${tile.depth}`]
        : [`${number} % ${vectors}`, `${number} / ${vectors}`];
      lines.push(`let vector_${id} = ${vector};`, `let deep_${id} = ${deep};`);
      for (let part = 0; part < 4; part++) {
        if (name === "a") {
          const index = clamped(`firstRow + vector_${id} * 4 + ${part}`, rows, tile.rows);
          const { lines: before, at } = parts.rowA(index, `${id}_${part}`);
          lines.push(...before, `let from_${id}_${part} = ${at};`);
        } else {
          const index = clamped(`firstColumn + vector_${id} * 4 + ${part}`, columns, tile.columns);
          lines.push(`let from_${id}_${part} = ${parts.columnB(index)};`);
        }
      }
      const k = ragged ? `min(k + deep_${id}, ${last(depth)})` : `k + deep_${id}`;
      const { lines: before, at } = (name === "a" ? parts.depthA : parts.depthB)(`k_${id}`, id);
      const loads = [0, 1, 2, 3].map((part) => read[name].at(`from_${id}_${part} + depth_${id}`)).join(", ");
      const vectorText = `vec4<f32>(${loads})`;
      const place = `tile_${name}[deep_${id} * ${name === "a" ? strideA : strideB} + vector_${id}]`;
      const load = [
        `let k_${id} = ${k};`,
        ...before,
        `let depth_${id} = ${at};`,
        ragged
          ? `${place} = select(vec4<f32>(), ${vectorText}, k + deep_${id} < ${depth});`
          : `${place} = ${vectorText};`,
      ];
      fetch.push(
        ...(partial && unit === count - 1
          ? [`if (own < ${vectors * tile.depth - unit * lanes}) {`, ...indent(load), "}"]
          : load),
      );
    }
  };
  operand("a", tile.rows / 4, parts.alongDepth.a);
  operand("b", tile.columns / 4, parts.alongDepth.b);

  // Each invocation owns vectors of 4 rows and 4 columns; a second one lies half a tile further.
  lines.push(`let down = own / ${across};`, `let right = own % ${across};`);
  const halves = (own: number) => Array.from({ length: own / 4 }, (_, at) => at);
  const row = (half: number, part: number) => `firstRow + down * 4 + ${half * (tile.rows / (ownRows / 4)) + part}`;
  const column = (half: number, part: number) =>
    `firstColumn + right * 4 + ${half * (tile.columns / (ownColumns / 4)) + part}`;
  for (let i = 0; i < ownRows; i++) for (const j of halves(ownColumns)) lines.push(`var sum${i}_${j} = vec4<f32>();`);
  const multiply: string[] = [];
  for (const h of halves(ownRows)) {
    multiply.push(`let a${h} = tile_a[deep * ${strideA} + down + ${h * tile.rows / ownRows}];`);
  }
  for (const j of halves(ownColumns)) {
    multiply.push(`let b${j} = tile_b[deep * ${strideB} + right + ${j * tile.columns / ownColumns}];`);
  }
  for (let i = 0; i < ownRows; i++) {
    const scalar = `a${Math.floor(i / 4)}.${components[i % 4]}`;
    for (const j of halves(ownColumns)) {
      multiply.push(`sum${i}_${j} = fma(vec4<f32>(${scalar}), b${j}, sum${i}_${j});`);
    }
  }
  lines.push(
    `for (var k = 0; k < ${depth}; k += ${tile.depth}) {`,
    ...indent([
      ...fetch,
      "workgroupBarrier();",
      `for (var deep = 0; deep < ${tile.depth}; deep++) {`,
      ...indent(multiply),
      "}",
      "workgroupBarrier();",
    ]),
    "}",
  );
  if (parts.epilogue) {
    const side = (own: number, bound: string | number, size: number, first: string): Side => ({
      count: own,
      at: (i) => `${first} + (${i} & 3)` + (own > 4 ? ` + (${i} >> 2u) * ${4 * size / own}` : ""),
      own: (index) => below(index, bound, size),
    });
    const sums = Array.from({ length: ownRows }, (_, i) => halves(ownColumns).map((j) => `sum${i}_${j}`)).flat();
    lines.push(...runEpilogue(
      parts.epilogue,
      sums,
      side(ownRows, rows, tile.rows, "firstRow + down * 4"),
      side(ownColumns, columns, tile.columns, "firstColumn + right * 4"),
    ));
  } else {
    for (let i = 0; i < ownRows; i++) {
      const at = row(Math.floor(i / 4), i % 4);
      const inside = below(`row${i}`, rows, tile.rows);
      const { lines: before, at: to } = parts.rowC(`row${i}`, `c${i}`);
      const stores: string[] = [...before];
      for (const j of halves(ownColumns)) {
        for (let part = 0; part < 4; part++) {
          const sum = value(`sum${i}_${j}.${components[part]}`);
          const store = `c[${to} + ${parts.columnC(column(j, part))}] = ${sum};`;
          stores.push(storeIf(below(column(j, part), columns, tile.columns), store));
        }
      }
      lines.push(
        `let row${i} = ${at};`,
        inside.length > 0 ? `if (${inside[0]}) {` : "{",
        ...indent(stores),
        "}",
      );
    }
  }
  const types: Readonly<Record<string, ElementType>> = { a: read.a.type, b: read.b.type };
  const shared = [
    `var<workgroup> tile_a: array<vec4<f32>, ${strideA * tile.depth}>;`,
    `var<workgroup> tile_b: array<vec4<f32>, ${strideB * tile.depth}>;`,
  ];
  if (parts.sums && parts.sums.length > 0) {
    const side = (own: number, bound: number, size: number, first: string, place: string): TileSide => ({
      count: own,
      at: (i) => `${first} + ${place} * 4 + (${i} & 3)` + (own > 4 ? ` + (${i} >> 2u) * ${4 * size / own}` : ""),
      own: (index) => below(index, bound, size),
      place,
      places: size / own,
      first,
      size,
      blocks: Math.ceil(bound / size),
    });
    const [high, wide] = [
      side(ownRows, Number(rows), tile.rows, "firstRow", "down"),
      side(ownColumns, columns, tile.columns, "firstColumn", "right"),
    ];
    const sums = Array.from({ length: ownRows }, (_, i) => halves(ownColumns).map((j) => `sum${i}_${j}`)).flat();
    lines.push(...runSums(parts.sums, sums, high, wide, lanes));
    const elements = parts.sums.map(({ of }) => of === "rows" ? exchanged(high, wide) : exchanged(wide, high));
    shared.push(`var<workgroup> shared_sums: array<f32, ${Math.max(...elements)}>;`);
  }
  return assemble(parts, types, [...read.declarations, ...shared], lanes, lines);
}

/** The shader: what stands behind a product has taken the place of c. */
function assemble(
  { bindings, declarations = [], epilogue, groups, sums = [] }: Product,
  types: Readonly<Record<string, ElementType>>,
  own: readonly string[],
  workgroupSize: number,
  body: readonly string[],
): Dispatch {
  const bound = bindings.filter(({ name }) => !epilogue || name !== "c")
    .map((binding) => ({ ...binding, type: types[binding.name] ?? binding.type }));
  return shader({
    bindings: [...bound, ...(epilogue?.bindings ?? []), ...sums.flatMap((each) => each.bindings)],
    status: epilogue?.status || sums.some(({ status }) => status),
    declarations: [
      ...new Set([
        ...own,
        ...declarations,
        ...(epilogue?.declarations ?? []),
        ...sums.flatMap((each) => each.declarations),
      ]),
    ],
    workgroupSize,
    groups,
    body,
  });
}
