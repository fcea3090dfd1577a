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
  // What lies in each chunk, by start: places as such, and when they are needed.
  const placed: { starts: number[]; ends: number[]; froms: number[]; untils: number[] }[] = [];
  const order = values.map((_, i) => i).sort((a, b) => values[b].bytes - values[a].bytes || a - b);
  for (const i of order) {
    const { from, until } = values[i], bytes = aligned(values[i].bytes);
    for (let chunk = 0;; chunk++) {
      if (chunk === chunks.length) {
        chunks.push(0);
        placed.push({ starts: [], ends: [], froms: [], untils: [] });
      }
      const { starts, ends, froms, untils } = placed[chunk];
      let offset = 0;
      // Neighbours are kept sorted by start, so one walk finds the first gap.
      for (let other = 0; other < starts.length; other++) {
        if (untils[other] < from || froms[other] > until) continue;
        if (starts[other] >= offset + bytes) break;
        if (ends[other] > offset) offset = ends[other];
      }
      if (offset + bytes > maxChunkBytes && offset > 0) continue;
      places[i] = { chunk, offset };
      chunks[chunk] = Math.max(chunks[chunk], offset + bytes);
      const after = starts.findIndex((start) => start > offset), at = after < 0 ? starts.length : after;
      starts.splice(at, 0, offset);
      ends.splice(at, 0, offset + bytes);
      froms.splice(at, 0, from);
      untils.splice(at, 0, until);
      break;
    }
  }
  return { places, chunks };
}
