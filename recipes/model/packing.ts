/**
 * @file Packing: several documents in one row, with less padding than one a row. A document's tokens see one another
 * only, and their positions start at 0, so that each is computed as if it stood alone.
 */
import { and, causal, equal, expand, rename, ropeAt, type RopeTable } from "../../dsl/mod.ts";
import { type HostBatch, place, type Sample, sourcesOf } from "./batch.ts";
import type { Memory, Tokens } from "./llama.ts";

/** Which document of its row a token belongs to, and where in it the token stands; −1: padding. */
export type Packing = { documents: Tokens; positions: Tokens };

/** What queries look at: the tokens of their own document up to themselves. */
export const keysOfOwnDocument = ({ documents }: Packing): Memory => (key, value) => ({
  key: rename(key, { seq: "key" }),
  value: rename(value, { seq: "key" }),
  // A test of its own beside the causal one, whose bounds the compiler knows.
  keep: and(
    equal(expand(documents, { key: documents.shape.seq }), rename(documents, { seq: "key" })),
    causal(documents.shape.seq),
  ),
});

/** Rotations by the positions within each document. */
export const turnsWithinDocuments = (table: RopeTable, { positions }: Packing): ReturnType<typeof ropeAt> =>
  ropeAt(table, positions);

/**
 * Rows of several samples each as one rectangle of `length` tokens a row, cut on the right, filled with −1.
 *
 * @param separate false: documents see those before them in their row, and positions run through it
 * @example
 * ```ts
 * import { packBatch } from "./packing.ts";
 * const rows = [[{ ids: [5, 6], scoredFrom: 0 }, { ids: [7, 8, 9], scoredFrom: 2 }]];
 * const { tokens, labels, packing } = packBatch(rows, 6);
 * console.assert(tokens.join() === "5,6,7,8,9,-1" && labels.join() === "6,-1,-1,9,-1,-1");
 * console.assert(packing?.documents.join() === "0,0,1,1,1,-1" && packing.positions.join() === "0,1,0,1,2,-1");
 * ```
 */
export function packBatch(rows: readonly (readonly Sample[])[], length: number, separate = true): HostBatch {
  const empty = (): Int32Array => new Int32Array(rows.length * length).fill(-1);
  const tokens = empty(), labels = empty(), documents = empty(), positions = empty();
  rows.forEach((samples, row) => {
    let used = 0;
    samples.forEach((sample, document) => {
      const start = row * length + used, count = place(sample, start, length - used, tokens, labels);
      documents.fill(document, start, start + count);
      for (let i = 0; i < count; i++) positions[start + i] = i;
      used += count;
    });
  });
  const packing = separate ? { packing: { documents, positions } } : {};
  return { rows: rows.length, length, tokens, labels, ...packing, ...sourcesOf(rows.flat()) };
}
