/**
 * @file Which part of one axis the tiles of another can see, where a mask made of counters hides the rest: causal
 * attention looks at earlier keys, a window at near ones, documents of fixed length at their own.
 *
 * A part is hidden from some rows if nothing that leaves the cluster changes without it: what would be added is 0, or an
 * exponential far below the floor of its normaliser. What masked weights of 0 are multiplied with counts as finite.
 */
import { isOp, type Node } from "../../../dsl/node.ts";
import type { Cluster } from "./clusters.ts";
import { type Indices, rangeOf } from "./ranges.ts";

/** Rows `start` … `stop` − 1 of the tiles' axis, and what they see: `from` … `to` − 1 of the other axis. */
export interface Band {
  readonly start: number;
  readonly stop: number;
  readonly from: number;
  readonly to: number;
}

/** What tiles along an axis see of another one. */
export interface Reach {
  readonly axis: string;
  /** Of all rows, in order; neighbours see different parts. */
  readonly bands: readonly Band[];
}

/** An axis is looked at in so many parts, */
const mostParts = 8;
/** of a multiple of so many elements: fewer rows make poor products. */
const partGrain = 64;
/** The share of all pairs up to which it is worth while to have kernels of its own for each band. */
const worthwhile = 0.9;
/** exp of minus that is 0 in f32, also times the number of terms. */
const farBelow = 1000;

/** Size of the parts that an axis is looked at in. */
const partSize = (extent: number): number => Math.ceil(extent / mostParts / partGrain) * partGrain;

/** What tiles along `axis` see; undefined if nothing, or next to nothing, is hidden. */
export function reachOf(cluster: Cluster, axis: string): Reach | undefined {
  const { shape } = cluster.seeds[0], rows = parts(shape[axis]);
  for (const other of Object.keys(shape)) {
    const columns = parts(shape[other]);
    if (other === axis || !(rows.length > 1 && columns.length > 1)) continue;
    const hidden = (row: Part, column: Part): boolean => isHidden(cluster, axis, row, other, column);
    // Most axes have nothing to do with each other: two corners tell.
    if (!hidden(rows[0], columns.at(-1)!) && !hidden(rows.at(-1)!, columns[0])) continue;
    const bands: Band[] = [];
    for (const row of rows) {
      const seen = columns.filter((column) => !hidden(row, column));
      // Rows that see nothing still have a result: that of any part.
      const from = seen[0]?.start ?? 0, to = seen.at(-1)?.stop ?? columns[0].stop, last = bands.at(-1);
      if (last?.from === from && last.to === to) bands[bands.length - 1] = { ...last, stop: row.stop };
      else bands.push({ ...row, from, to });
    }
    const pairs = bands.reduce((total, { start, stop, from, to }) => total + (stop - start) * (to - from), 0);
    if (pairs <= worthwhile * shape[axis] * shape[other]) return { axis: other, bands };
  }
  return undefined;
}

interface Part {
  readonly start: number;
  readonly stop: number;
}

function parts(extent: number): Part[] {
  const size = partSize(extent);
  return Array.from({ length: Math.ceil(extent / size) }, (_, i) => ({
    start: i * size,
    stop: Math.min(extent, (i + 1) * size),
  }));
}

/** Does everything that leaves the cluster stay as it is without these columns of these rows? */
function isHidden({ large, exits }: Cluster, axis: string, row: Part, other: string, column: Part): boolean {
  const indices: Indices = { [axis]: [row.start, row.stop - 1], [other]: [column.start, column.stop - 1] };
  const isZero = (x: Node): boolean => {
    const [low, high] = rangeOf(x, indices);
    return low === 0 && high === 0;
  };
  return [...exits].every((exit) => {
    // It has an element for each pair.
    if (axis in exit.shape && other in exit.shape) return false;
    const operands = exit.inputs.filter((input) => large.has(input));
    if (isOp(exit, "contract") || isOp(exit, "sum")) return operands.some(isZero);
    if (!isOp(exit, "logSumExp") || !exit.attributes.over.includes(other)) return false;
    const { floor = -Infinity } = exit.attributes;
    return operands.every((x) => rangeOf(x, indices)[1] < floor - farBelow);
  });
}
