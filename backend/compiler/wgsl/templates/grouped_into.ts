/**
 * @file groupedInto: c[g, m, n] = Σ_{p: index[p] = g} a[p, m] · b[p, n], the positions of a group in their order.
 * One workgroup per tile of each group's matrix; its depth runs over the group's stretch of `order`.
 */
import type { Capabilities } from "../../../device.ts";
import type { GroupedIntoKernel, Sums } from "../../kernel.ts";
import { epilogue, indicesAt, type Parts, partsOf } from "./product/epilogue.ts";
import { groupedBindings, throughOrder } from "./product/order.ts";
import { addsUp, chooseTile, product as matrixProduct, vectors } from "./product.ts";
import { type Emitted, joinAxes, product, sum, times } from "./shader.ts";
import { partialSums, partsOfSums, planSums, sumsApart, withSums } from "./product/sums.ts";

/** Emits the product as one dispatch, and what its sums need; none if c is empty. */
export function groupedInto(kernel: GroupedIntoKernel, capabilities: Capabilities): Emitted {
  const { groups, group, m, n, offsets, types, then, sums } = kernel;
  if (groups * m.size * n.size === 0) return { dispatches: [], scratch: [] };
  const positions = product(kernel.positions.map(({ size }) => size));
  const tile = chooseTile(m.size, n.size, Math.ceil(positions / groups), groups, capabilities, kernel);
  if (sums && !addsUp(tile, capabilities)) {
    const { sums: _, ...alone } = kernel;
    return sumsApart(sums, 3, groupedInto(alone, capabilities), capabilities);
  }
  const planned = sums ? planSums(sums, 3, false, tile, m.size, n.size) : [];
  const down = Math.ceil(m.size / tile.rows);
  const right = Math.ceil(n.size / tile.columns);
  const axes = joinAxes(kernel.positions, ["a", "b"]);
  const depth = (name: "a" | "b") => throughOrder("stretch.x", axes, name, offsets[name]);
  const indices = ([first, rows, columns]: readonly Parts[]) => ({
    setup: indicesAt("g", first),
    row: indicesAt("row", rows),
    column: indicesAt("column", columns),
  });
  const partsOfThese = (behind: Sums): Parts[] => {
    const parts = partsOfSums(behind, [groups], m.size, n.size);
    return [...parts.batch, parts.m, parts.n];
  };
  const stretch = `vec2<i32>(order[${positions} + g], order[${positions} + g + 1])`;
  const dispatch = matrixProduct({
    tile,
    bindings: groupedBindings,
    declarations: tile.depth === 0 ? [] : ["var<workgroup> shared_stretch: vec2<i32>;"],
    setup: [
      `let firstColumn = i32(group % ${right}u) * ${tile.columns};`,
      `let firstRow = i32((group / ${right}u) % ${down}u) * ${tile.rows};`,
      `let g = i32(group / ${right * down}u);`,
      ...(tile.depth === 0 ? [`let stretch = ${stretch};`] : [
        `if (lane == 0u) { shared_stretch = ${stretch}; }`,
        "let stretch = workgroupUniformLoad(&shared_stretch);",
      ]),
      "let count = stretch.y - stretch.x;",
      `let base_c = ${sum(offsets.c, [[group, "g"]])};`,
    ],
    groups: down * right * groups,
    rows: m.size,
    columns: n.size,
    depth: "count",
    rowA: (row) => ({ lines: [], at: times(row, m.a) }),
    columnB: (column) => times(column, n.b),
    depthA: depth("a"),
    depthB: depth("b"),
    rowC: (row) => ({ lines: [], at: `base_c + ${times(row, m.c)}` }),
    columnC: (column) => times(column, n.c),
    vectors: {
      a: vectors({ across: { stride: m.a, size: m.size } }, [offsets.a, ...axes.map(({ a }) => a)]),
      b: vectors({ across: { stride: n.b, size: n.size } }, [offsets.b, ...axes.map(({ b }) => b)]),
      c: vectors({ across: { stride: n.c, size: n.size } }, [offsets.c, group, m.c]),
    },
    types,
    epilogue: then && epilogue(then, { factors: 3, ...indices(partsOf(then, [groups, m.size, n.size])) }),
    sums: planned.map(({ sums, ...each }) => partialSums(sums, { ...each, ...indices(partsOfThese(sums)) })),
    alongDepth: { a: false, b: false },
  });
  return sums ? withSums(planned, dispatch, capabilities) : { dispatches: [dispatch], scratch: [] };
}
