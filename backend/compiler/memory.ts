/** @file Gives every intermediate value a place in the arena; values that are never needed together share places. */

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

/**
 * Places values, largest first, each at the lowest place that is free while it lives.
 *
 * @param maxChunkBytes longest chunk the device allows
 */
export function place(values: readonly Lifetime[], maxChunkBytes: number): { places: Place[]; chunks: number[] } {
  const places: Place[] = new Array(values.length), chunks: number[] = [];
  const placed: { start: number; end: number; from: number; until: number }[][] = [];
  const order = values.map((_, i) => i).sort((a, b) => values[b].bytes - values[a].bytes || a - b);
  for (const i of order) {
    const { from, until } = values[i], bytes = aligned(values[i].bytes);
    for (let chunk = 0;; chunk++) {
      if (chunk === chunks.length) {
        chunks.push(0);
        placed.push([]);
      }
      let offset = 0;
      // Neighbours are kept sorted by start, so one walk finds the first gap.
      for (const other of placed[chunk]) {
        if (other.until < from || other.from > until) continue;
        if (other.start >= offset + bytes) break;
        offset = Math.max(offset, other.end);
      }
      if (offset + bytes > maxChunkBytes && offset > 0) continue;
      places[i] = { chunk, offset };
      chunks[chunk] = Math.max(chunks[chunk], offset + bytes);
      const list = placed[chunk], at = list.findIndex(({ start }) => start > offset);
      list.splice(at < 0 ? list.length : at, 0, { start: offset, end: offset + bytes, from, until });
      break;
    }
  }
  return { places, chunks };
}
