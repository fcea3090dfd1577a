/** @file Gives every intermediate value a place in the arena; values that are never needed together share places. */
import { isHalf } from "../../dsl/half.ts";
import type { Node } from "../../dsl/node.ts";
import { sizeOf } from "../../dsl/shape.ts";

/** Bytes of a node in memory: whole words, since that is what GPUs bind and copy. */
export const bytesOf = (node: Node): number =>
  isHalf(node.dtype) ? 4 * Math.ceil(sizeOf(node.shape) / 2) : 4 * sizeOf(node.shape);

/** A value's bytes, and the steps from which until which it is needed. */
export interface Lifetime {
  readonly bytes: number;
  readonly from: number;
  readonly until: number;
}

/** Where a value lies. */
export interface Place {
  readonly chunk: number;
  readonly offset: number;
}

/** Offsets are multiples of this: what every GPU accepts for a binding. */
export const alignment = 256;

const aligned = (bytes: number): number => Math.ceil(Math.max(bytes, 4) / alignment) * alignment;

/** Steps of which it is known together what lives in them. */
const blockSteps = 256;

/** Values in a chunk, by where they start. */
interface Chunk {
  /** All of them, */
  readonly values: number[];
  /** and those that live in a block of steps. */
  readonly blocks: number[][];
}

/**
 * Places values, largest first, each at the lowest place that is free while it lives.
 *
 * @param maxChunkBytes longest chunk the device allows
 */
export function place(values: readonly Lifetime[], maxChunkBytes: number): { places: Place[]; chunks: number[] } {
  const places: Place[] = new Array(values.length), chunks: number[] = [], placed: Chunk[] = [];
  const starts = new Float64Array(values.length), ends = new Float64Array(values.length);
  const steps = values.reduce((most, { until }) => Math.max(most, until + 1), 1),
    blocks = Math.ceil(steps / blockSteps);
  const order = values.map((_, i) => i).sort((a, b) => values[b].bytes - values[a].bytes || a - b);
  for (const i of order) {
    const { from, until } = values[i], bytes = aligned(values[i].bytes);
    const first = Math.floor(from / blockSteps), last = Math.floor(until / blockSteps);
    for (let chunk = 0;; chunk++) {
      if (chunk === chunks.length) {
        chunks.push(0);
        placed.push({ values: [], blocks: Array.from({ length: blocks }, () => []) });
      }
      const inChunk = placed[chunk], others = first === last ? inChunk.blocks[first] : inChunk.values;
      let offset = 0;
      // Neighbours are sorted by start, so one walk finds the first gap.
      for (let at = 0; at < others.length; at++) {
        const other = others[at];
        if (values[other].until < from || values[other].from > until) continue;
        if (starts[other] >= offset + bytes) break;
        if (ends[other] > offset) offset = ends[other];
      }
      if (offset + bytes > maxChunkBytes && offset > 0) continue;
      places[i] = { chunk, offset };
      starts[i] = offset;
      ends[i] = offset + bytes;
      chunks[chunk] = Math.max(chunks[chunk], offset + bytes);
      insert(i, inChunk.values, starts);
      for (let block = first; block <= last; block++) insert(i, inChunk.blocks[block], starts);
      break;
    }
  }
  return { places, chunks };
}

/** Puts a value behind the others of a sorted list that start no later. */
function insert(value: number, sorted: number[], starts: Float64Array): void {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (starts[sorted[middle]] > starts[value]) high = middle;
    else low = middle + 1;
  }
  sorted.splice(low, 0, value);
}
