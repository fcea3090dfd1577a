/**
 * @file Checks what `tile` made: the same results, and loops whose tiles cover their axis once, look only at what they
 * are given, and put every result in its place.
 */
import { isOp, type Node, topological } from "../../../dsl/node.ts";
import { placementOf, type Tile, type TiledBody } from "../../../dsl/primitives/tiled.ts";
import { axesOf, sameAxes, sameOrder } from "../../../dsl/shape.ts";
import { fault } from "./fault.ts";

/** Results of a program before and after tiling. @throws Error that names the first value that is wrong */
export function validateTiled(before: readonly Node[], after: readonly Node[]): void {
  before.forEach(({ shape, dtype }, i) => {
    const result = after[i];
    if (!result || result.dtype !== dtype || !sameOrder(result.shape, shape)) {
      fault("tile", result ?? `result ${i}`, "has another shape or storage than before");
    }
  });
  const checked = new Set<TiledBody>();
  for (const node of topological(after)) {
    if (!isOp(node, "tiled") || checked.has(node.attributes.body)) continue;
    checked.add(node.attributes.body);
    validateLoop(node as unknown as Node, node.attributes.body, node.inputs);
  }
}

function validateLoop(node: Node, body: TiledBody, inputs: readonly Node[]): void {
  const { axis, results, tiles } = body;
  let next = 0, extent: number | undefined;
  for (const { shape, accumulate } of results) {
    if (accumulate === axis in shape) fault("tile", node, `adds up along "${axis}" what has that axis, or the reverse`);
    if (!accumulate) extent = shape[axis];
  }
  for (const tile of tiles) {
    for (const start of tile.starts) {
      if (start !== next) fault("tile", node, `has a tile at ${start} of "${axis}", where ${next} comes next`);
      next += tile.size;
    }
    tile.windows.forEach((window, i) => {
      const { within, along } = window.attributes, from = inputs[i];
      if (!from || !sameOrder(within, from.shape) || window.dtype !== from.dtype) {
        fault("tile", window as unknown as Node, "looks at another tensor than its loop is given");
      }
      const seen = along === undefined ? within : { ...within, [along]: tile.size };
      if (!sameAxes(window.shape, seen)) fault("tile", window as unknown as Node, "is not as large as a tile");
      if (along !== undefined) extent ??= within[along];
    });
    validateBody(node, body, tile);
  }
  if (extent !== undefined && next !== extent) fault("tile", node, `covers ${next} of ${extent} along "${axis}"`);
}

function validateBody(node: Node, { axis, results }: TiledBody, tile: Tile): void {
  const windows = new Set<Node>(tile.windows as readonly Node[]);
  tile.results.forEach((root, i) => {
    const into = placementOf(root), { shape, accumulate } = results[i];
    if (!into || !sameOrder(into.within, shape) || into.accumulate !== accumulate) {
      fault("tile", root, `has no place in result ${i} of its loop`);
    }
    const part = accumulate ? shape : { ...shape, [axis]: tile.size }, { from = {} } = into;
    const fits = (name: string): boolean =>
      name in from ? from[name] >= 0 && from[name] + root.shape[name] <= part[name] : root.shape[name] === part[name];
    // Only what is added may leave out a part.
    if (!axesOf(part).every(fits) || (!accumulate && into.from)) fault("tile", root, `is no tile of result ${i}`);
  });
  for (const each of topological(tile.results)) {
    const outside = each.op === "variable" || each.op === "buffer" || each.op === "data" || each.op === "tiled";
    if (outside || (each.op === "window" && !windows.has(each))) {
      fault("tile", each, `is used inside a loop along "${axis}" that is not given it (${node.op})`);
    }
  }
}
