/**
 * @file grouped: c[p, n] = Σ_k a[p, k] · b[index[p], k, n], the rows p taken in the order of their groups.
 *
 * The grid is the static bound ⌈P / tile⌉ + groups + 1 (the last for positions without a group); a workgroup finds its
 * group and its rows in the offsets and leaves if there are none. Weights are read in place, rows through `order`.
 */
import type { Capabilities } from "../../../device.ts";
import type { GroupedKernel } from "../../kernel.ts";
import { epilogue, indicesAt, partsOf } from "./product/epilogue.ts";
import { groupedBindings, throughOrder } from "./product/order.ts";
import { chooseTile, product as matrixProduct, type TileShape, vectors } from "./product.ts";
import { type Dispatch, joinAxes, product, sum, times } from "./shader.ts";

/** Declarations and statements by which a workgroup finds its rows: `found` = group, start, count, first row. */
function search(groups: number, positions: number, tile: TileShape): { declarations: string[]; setup: string[] } {
  const code = `fn findTile(number: i32) -> vec4<i32> {
  var rest = number;
  for (var g = 0; g <= ${groups}; g++) {
    let start = order[${positions} + g];
    var end = ${positions};
    if (g < ${groups}) { end = order[${positions} + g + 1]; }
    let count = (end - start + ${tile.rows - 1}) / ${tile.rows};
    if (rest < count) { return vec4<i32>(g, start, end - start, rest * ${tile.rows}); }
    rest -= count;
  }
  return vec4<i32>(-1, 0, 0, 0);
}`;
  const leave = "if (found.x < 0) { return; }";
  if (tile.depth === 0) return { declarations: [code], setup: ["let found = findTile(tile);", leave] };
  return {
    declarations: [code, "var<workgroup> shared_found: vec4<i32>;"],
    setup: [
      "if (lane == 0u) { shared_found = findTile(tile); }",
      "let found = workgroupUniformLoad(&shared_found);",
      leave,
    ],
  };
}

/** Emits a grouped product as one dispatch; none if c is empty. */
export function grouped(kernel: GroupedKernel, capabilities: Capabilities): Dispatch[] {
  const { groups, k, n, group, offsets, types, then } = kernel;
  const positions = product(kernel.positions.map(({ size }) => size));
  if (positions * n.size === 0) return [];
  const tile = chooseTile(Math.max(1, Math.ceil(positions / groups)), n.size, k.size, groups, capabilities, kernel);
  const down = Math.ceil(positions / tile.rows) + groups + 1;
  const right = Math.ceil(n.size / tile.columns);
  const axes = joinAxes(kernel.positions, ["a", "c"]);
  const row = (name: "a" | "c") => throughOrder("found.y", axes, name, offsets[name]);
  const [p, ...parts] = then ? partsOf(then, [positions, n.size]) : [];
  // Positions without a group.
  const value = (result: string): string => `select(${result}, 0f, found.x == ${groups})`;
  const { declarations, setup } = search(groups, positions, tile);
  return [matrixProduct({
    tile,
    bindings: groupedBindings,
    declarations,
    setup: [
      `let tile = i32(group / ${right}u);`,
      `let firstColumn = i32(group % ${right}u) * ${tile.columns};`,
      ...setup,
      "let firstRow = found.w;",
      `let weights = ${sum(offsets.b, [[group, `min(found.x, ${groups - 1})`]])};`,
    ],
    groups: down * right,
    rows: "found.z",
    columns: n.size,
    depth: k.size,
    rowA: row("a"),
    columnB: (column) => `weights + ${times(column, n.b)}`,
    depthA: (index) => ({ lines: [], at: times(index, k.a) }),
    depthB: (index) => ({ lines: [], at: times(index, k.b) }),
    rowC: row("c"),
    columnC: (column) => times(column, n.c),
    value,
    epilogue: then && epilogue(then, {
      factors: 3,
      setup: [],
      row: indicesAt("order[found.y + row]", p),
      column: indicesAt("column", parts[0]),
      value,
    }),
    vectors: {
      a: vectors({ depth: { stride: k.a, size: k.size } }, [offsets.a, ...axes.map(({ a }) => a)]),
      b: vectors({ depth: { stride: k.b, size: k.size }, across: { stride: n.b, size: n.size } }, [offsets.b, group]),
      c: vectors({ across: { stride: n.c, size: n.size } }, [offsets.c, ...axes.map(({ c }) => c)]),
    },
    types,
    alongDepth: { a: k.a === 1, b: k.b === 1 },
  })];
}
