/**
 * @file Rotary embeddings in two conventions. llama2.c and GGUF rotate neighbours (rows 2i and 2i+1 of a head),
 * Hugging Face rotates halves (rows i and i + headDim/2): the rows of the query and key matrices change places.
 */

/** Where row (half p, pair i) of a head comes from: row 2i + p of the same head. */
function interleavedRow(row: number, headDim: number): number {
  const head = row - row % headDim;
  const within = row % headDim;
  const [half, pair] = [Math.floor(within / (headDim / 2)), within % (headDim / 2)];
  return head + 2 * pair + half;
}

/**
 * Rows of a query or key matrix from interleaved pairs to halves.
 *
 * @param matrix [heads × headDim, columns], row-major
 * @param headDim rows of one head (even)
 * @param columns width of the residual stream
 * @returns a new matrix of the same shape
 * @example
 * ```ts
 * import { pairsToHalves } from "./rope.ts";
 * const rows = pairsToHalves(Float32Array.of(0, 1, 2, 3), 4, 1);
 * console.assert(rows.join() === "0,2,1,3");
 * ```
 */
export function pairsToHalves(matrix: Float32Array, headDim: number, columns: number): Float32Array {
  const out = new Float32Array(matrix.length);
  for (let row = 0; row * columns < matrix.length; row++) {
    const from = interleavedRow(row, headDim) * columns;
    out.set(matrix.subarray(from, from + columns), row * columns);
  }
  return out;
}

/**
 * Rows of a query or key matrix from halves to interleaved pairs: what `pairsToHalves` undoes.
 *
 * @param matrix [heads × headDim, columns], row-major
 * @param headDim rows of one head (even)
 * @param columns width of the residual stream
 * @returns a new matrix of the same shape
 * @example
 * ```ts
 * import { halvesToPairs } from "./rope.ts";
 * console.assert(halvesToPairs(Float32Array.of(0, 2, 1, 3), 4, 1).join() === "0,1,2,3");
 * ```
 */
export function halvesToPairs(matrix: Float32Array, headDim: number, columns: number): Float32Array {
  const out = new Float32Array(matrix.length);
  for (let row = 0; row * columns < matrix.length; row++) {
    out.set(matrix.subarray(row * columns, (row + 1) * columns), interleavedRow(row, headDim) * columns);
  }
  return out;
}
