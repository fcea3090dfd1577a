/**
 * @file Products by cooperative matrices: the matrix units of a GPU, which a subgroup drives together.
 *
 * A tile of c is cut into blocks of 32 × 32, one per subgroup. Tiles of a and b pass through workgroup memory in the order
 * in which memory holds them (each is loaded as rows or as columns accordingly); the sums leave by way of workgroup
 * memory, too, so that edges, strides and gathered rows are those of any other product.
 *
 * *Precision.* No operand is rounded: a and b enter matrices of f16 only where both are stored as f16, and matrices of
 * f32 in any case. (bf16 does not fit into f16: its range is that of f32.) Sums are always f32. Hardware chooses the
 * order in which a matrix adds its products.
 *
 * WGSL has no such matrices yet: this is naga's extension, which exists in SPIR-V and MSL. The twin that translates
 * everywhere is what the same kernel becomes where capabilities list no matrices.
 */
import type { Capabilities, CooperativeMatrices } from "../../../../device.ts";
import type { OperandTypes, Then } from "../../../kernel.ts";
import type { Product, TileShape, Vectors } from "../product.ts";
import { type Dispatch, type ElementType, indent, shader } from "../shader.ts";
import { tuningOf } from "../tuning.ts";
import { below, clamped, last, type Reader, readers } from "./operand.ts";

/** Rows and columns of a subgroup's block. */
const side = 32;

/** What the choice asks of a product's kernel. */
export interface Stored {
  readonly types?: OperandTypes;
  readonly then?: Then;
}

/** The matrices that multiply, and how many invocations of a workgroup drive them. */
export interface Matrices {
  /** Rows, columns and depth of a matrix: WGSL knows square ones. */
  readonly size: 8 | 16;
  readonly operands: "f16" | "f32";
  readonly lanes: number;
}

/** Elements between the rows (or columns) of a tile in workgroup memory: 16 bytes apart, against bank conflicts. */
function strideOf(length: number, operands: Matrices["operands"]): number {
  return length + (operands === "f16" ? 8 : 4);
}

/** Bytes of workgroup memory: both tiles, however they lie, and the blocks' bands of sums. */
function sharedBytes({ rows, columns, depth }: TileShape, { size, operands }: Matrices): number {
  const tile = (length: number): number =>
    Math.max(length * strideOf(depth, operands), depth * strideOf(length, operands)) * (operands === "f16" ? 2 : 4);
  return tile(rows) + tile(columns) + rows / side * columns * size * 4;
}

/** The matrices that suit the operands best: those of f16 before those of f32, large ones before small ones. */
function fitting(matrices: readonly CooperativeMatrices[], types: OperandTypes | undefined): Omit<Matrices, "lanes">[] {
  const halves = types?.a === "f16" && types.b === "f16";
  return (["f16", "f32"] as const).filter((operands) => operands === "f32" || halves).flatMap((operands) =>
    ([16, 8] as const).filter((size) =>
      matrices.some((each) =>
        each.m === size && each.n === size && each.k === size && each.operands === operands && each.sums === "f32"
      )
    ).map((size) => ({ size, operands }))
  );
}

/**
 * The tile of a product by cooperative matrices; undefined where the adapter has none that keep the operands as they are,
 * where they do not fit into its workgroups, where the product is too small to fill one, or where a loop stands behind it
 * (which goes on with sums in registers).
 *
 * @param sizes rows and columns of c, and the depth (of one group, for a grouped product)
 * @param kernel how the operands are stored, and what stands behind the product
 */
export function chooseCooperative(
  [rows, columns, depth]: readonly [rows: number, columns: number, depth: number],
  { types, then }: Stored,
  capabilities: Capabilities,
): TileShape | undefined {
  const { cooperativeMatrices = [], subgroupSizes: [least, most] = [32, 32] } = capabilities;
  if (then || tuningOf(capabilities).product.engine !== "tiles" || Math.min(rows, columns, depth) < 16) {
    return undefined;
  }
  const blocks = (size: number): number => size <= side ? 1 : 2;
  for (const fit of fitting(cooperativeMatrices, types)) {
    for (const [down, right] of [[blocks(rows), blocks(columns)], [1, 1]]) {
      // Subgroups are whole, whatever their size; most hardware that may choose has 32.
      const expected = Math.min(Math.max(32, least), most);
      const lanes = Math.ceil(down * right * expected / most) * most;
      const tile = {
        rows: down * side,
        columns: right * side,
        depth: fit.operands === "f16" ? 32 : 16,
        own: [side, side],
        matrices: { ...fit, lanes },
      } as const;
      const { maxWorkgroupSize, workgroupMemoryBytes } = capabilities;
      if (lanes <= maxWorkgroupSize && sharedBytes(tile, tile.matrices) <= workgroupMemoryBytes) return tile;
    }
  }
  return undefined;
}

/** Reads f16 elements as what they are. */
function halfReader(name: "a" | "b", vectors: Vectors): Reader {
  const type: ElementType = vectors ? "vec4<f16>" : "f16";
  const declaration = `fn load_${name}(at: i32) -> ${type} { return ${name}[at${vectors ? " >> 2u" : ""}]; }`;
  return { type, declarations: [declaration], at: (address) => `load_${name}(${address})` };
}

/** How an operand's tile is filled. */
interface Staging {
  readonly name: "a" | "b";
  /** Rows of a's tile, columns of b's. */
  readonly length: number;
  /** Does the tile lie in memory along the depth, or across it? */
  readonly along: boolean;
  readonly vectors: Vectors;
  readonly stride: number;
}

/** Vectors of an operand, where tiles take them: whole ones at the edge, too. */
function wholeVectors({ vectors, rows }: Product, name: "a" | "b"): Vectors {
  return name === "a" && vectors.a === "across" && typeof rows !== "number" ? undefined : vectors[name];
}

function stagingOf(parts: Product, { operands }: Matrices, name: "a" | "b"): Staging {
  const { tile } = parts, length = name === "a" ? tile.rows : tile.columns;
  const vectors = wholeVectors(parts, name);
  const along = vectors ? vectors === "depth" : parts.alongDepth[name];
  return { name, length, along, vectors, stride: strideOf(along ? tile.depth : length, operands) };
}

/** Statements that fill a tile: what is the same for all depths, and what each step of `k` does. Fours lie side by side. */
function fill(
  { name, length, along, vectors, stride }: Staging,
  parts: Product,
  { operands, lanes }: Matrices,
  read: Reader,
): { readonly before: string[]; readonly each: string[] } {
  const { tile, depth } = parts, bound = name === "a" ? parts.rows : parts.columns;
  const fours = (along ? tile.depth : length) / 4, units = length * tile.depth / 4;
  const ragged = !(typeof depth === "number" && depth % tile.depth === 0);
  const zero = operands === "f16" ? "0h" : "0f";
  const before: string[] = [], each: string[] = [];
  for (let unit = 0; unit * lanes < units; unit++) {
    const id = `${name}${unit}`, number = unit === 0 ? "own" : `(own + ${unit * lanes})`;
    before.push(`let fast_${id} = (${number} % ${fours}) * 4;`, `let slow_${id} = ${number} / ${fours};`);
    // The unit's places across the depth, and along it.
    const across = along ? [`slow_${id}`] : [0, 1, 2, 3].map((part) => `fast_${id} + ${part}`);
    const deep = along ? [0, 1, 2, 3].map((part) => `k + fast_${id} + ${part}`) : [`k + slow_${id}`];
    for (const [part, place] of (vectors ? across.slice(0, 1) : across).entries()) {
      const wanted = `${name === "a" ? "firstRow" : "firstColumn"} + ${place}`;
      const index = vectors && !along && typeof bound === "number"
        ? bound % length === 0 ? wanted : `min(${wanted}, ${bound - 4})`
        : clamped(wanted, bound, length);
      const { lines, at } = name === "a" ? parts.rowA(index, `${id}_${part}`) : { lines: [], at: parts.columnB(index) };
      before.push(...lines, `let from_${id}_${part} = ${at};`);
    }
    const load: string[] = [];
    for (const [part, k] of (vectors ? deep.slice(0, 1) : deep).entries()) {
      const index = !ragged
        ? k
        : vectors && along && typeof depth === "number"
        ? `min(${k}, ${depth - 4})`
        : `min(${k}, ${last(depth)})`;
      load.push(`let k_${id}_${part} = ${index};`);
      const { lines, at } = (name === "a" ? parts.depthA : parts.depthB)(`k_${id}_${part}`, `${id}_${part}`);
      load.push(...lines, `let depth_${id}_${part} = ${at};`);
    }
    if (vectors) load.push(`let four_${id} = ${read.at(`from_${id}_0 + depth_${id}_0`)};`);
    load.push(`let place_${id} = slow_${id} * ${stride} + fast_${id};`);
    for (let part = 0; part < 4; part++) {
      const value = vectors
        ? `four_${id}.${"xyzw"[part]}`
        : read.at(`from_${id}_${along ? 0 : part} + depth_${id}_${along ? part : 0}`);
      const inside = `${deep[along ? part : 0]} < ${depth}`;
      load.push(`tile_${name}[place_${id} + ${part}] = ${ragged ? `select(${zero}, ${value}, ${inside})` : value};`);
    }
    const partial = units < (unit + 1) * lanes;
    each.push("{", ...indent(partial ? [`if (own < ${units - unit * lanes}) {`, ...indent(load), "}"] : load), "}");
  }
  return { before, each };
}

/** Assembles the shader of a product by cooperative matrices. */
export function cooperative(parts: Product, matrices: Matrices): Dispatch {
  const { tile, rows, columns, depth, value = (sum) => sum } = parts;
  const { size, operands, lanes } = matrices;
  const right = tile.columns / side, blocks = tile.rows / side * right;
  const a = stagingOf(parts, matrices, "a"), b = stagingOf(parts, matrices, "b");
  const vectors = { a: a.vectors, b: b.vectors };
  const wide = readers({ types: parts.types, vectors });
  const read = operands === "f32" ? wide : { a: halfReader("a", a.vectors), b: halfReader("b", b.vectors) };
  const fillA = fill(a, parts, matrices, read.a), fillB = fill(b, parts, matrices, read.b);
  const matrix = (type: string, role: "A" | "B" | "C") => `coop_mat${size}x${size}<${type}, ${role}>`;
  const steps = Array.from({ length: side / size }, (_, at) => at);

  const multiply: string[] = [];
  for (const i of steps) {
    const [load, place] = a.along
      ? ["coopLoadT", `(down + ${i * size}) * ${a.stride} + deep`]
      : ["coopLoad", `deep * ${a.stride} + down + ${i * size}`];
    multiply.push(`let a${i} = ${load}<${matrix(operands, "A")}>(&tile_a[${place}], ${a.stride}u);`);
  }
  for (const j of steps) {
    const [load, place] = b.along
      ? ["coopLoad", `(over + ${j * size}) * ${b.stride} + deep`]
      : ["coopLoadT", `deep * ${b.stride} + over + ${j * size}`];
    multiply.push(`let b${j} = ${load}<${matrix(operands, "B")}>(&tile_b[${place}], ${b.stride}u);`);
  }
  for (const i of steps) {
    for (const j of steps) multiply.push(`sum${i}_${j} = coopMultiplyAdd(a${i}, b${j}, sum${i}_${j});`);
  }

  // A band: one row of a block's matrices, side by side.
  const band = size * side, total = blocks * band;
  const place = (j: number): string => `&bands[block * ${band} + ${j * size}], ${side}u`;
  const store = (i: number): string[] => {
    const { lines, at } = parts.rowC("row", `c${i}`);
    const inside = [
      "source >= first",
      "source < first + i32(subgroups)",
      ...below("row", rows, tile.rows),
      ...below("column", columns, tile.columns),
    ];
    return [
      ...steps.map((j) => `coopStoreT(sum${i}_${j}, ${place(j)});`),
      "workgroupBarrier();",
      `for (var element = own; element < ${total}; element += ${lanes}) {`,
      ...indent([
        `let source = element / ${band};`,
        `let row = firstRow + source / ${right} * ${side} + ${i * size} + element % ${band} / ${side};`,
        `let column = firstColumn + source % ${right} * ${side} + element % ${side};`,
        `if (${inside.join(" && ")}) {`,
        ...indent([...lines, `c[${at} + ${parts.columnC("column")}] = ${value("bands[element]")};`]),
        "}",
      ]),
      "}",
      "workgroupBarrier();",
    ];
  };

  const lines = [
    ...parts.setup,
    "let own = i32(lane);",
    ...fillA.before,
    ...fillB.before,
    // As many rounds as the blocks need: one where subgroups are as large as expected, or smaller. Surplus subgroups
    // compute the last block, too, with the same bits.
    `for (var round = 0u; round * subgroups < ${blocks}u; round++) {`,
    ...indent([
      "let first = i32(round * subgroups);",
      `let block = min(first + i32(subgroup), ${blocks - 1});`,
      `let down = block / ${right} * ${side};`,
      `let over = block % ${right} * ${side};`,
      `for (var element = own; element < ${total}; element += ${lanes}) { bands[element] = 0f; }`,
      "workgroupBarrier();",
      ...steps.flatMap((i) => steps.map((j) => `var sum${i}_${j} = coopLoadT<${matrix("f32", "C")}>(${place(j)});`)),
      `for (var k = 0; k < ${depth}; k += ${tile.depth}) {`,
      ...indent([
        ...fillA.each,
        ...fillB.each,
        "workgroupBarrier();",
        `for (var deep = 0; deep < ${tile.depth}; deep += ${size}) {`,
        ...indent(multiply),
        "}",
        "workgroupBarrier();",
      ]),
      "}",
      ...steps.flatMap(store),
    ]),
    "}",
  ];
  const types: Readonly<Record<string, ElementType>> = { a: read.a.type, b: read.b.type };
  const tileOf = ({ name, along, length, stride }: Staging): string =>
    `var<workgroup> tile_${name}: array<${operands}, ${(along ? length : tile.depth) * stride}>;`;
  return shader({
    extensions: [...(operands === "f16" ? ["f16"] : []), "wgpu_cooperative_matrix"],
    subgroups: true,
    bindings: parts.bindings.map((binding) => ({ ...binding, type: types[binding.name] ?? binding.type })),
    declarations: [
      ...(operands === "f32" ? wide.declarations : [...read.a.declarations, ...read.b.declarations]),
      ...(parts.declarations ?? []),
      tileOf(a),
      tileOf(b),
      `var<workgroup> bands: array<f32, ${total}>;`,
    ],
    workgroupSize: lanes,
    groups: parts.groups,
    body: lines,
  });
}
