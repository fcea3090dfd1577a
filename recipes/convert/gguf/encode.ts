/** @file Numbers as GGUF stores them: 32 and 16 bits each, or eight bits and a scale for every 32 of them. */

/** How a GGUF file's matrices can be written. */
export type GgufType = "F32" | "F16" | "BF16" | "Q8_0";

/** A type's number in ggml, and bytes of each block of elements. */
export const ggufTypes: Readonly<
  Record<GgufType, { readonly number: number; readonly file: number; readonly block: number; readonly bytes: number }>
> = {
  F32: { number: 0, file: 0, block: 1, bytes: 4 },
  F16: { number: 1, file: 1, block: 1, bytes: 2 },
  BF16: { number: 30, file: 32, block: 1, bytes: 2 },
  Q8_0: { number: 8, file: 7, block: 32, bytes: 34 },
};

/** Rounds to the nearest, to even between two; NaN stays NaN. */
function bf16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length), out = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i];
    out[i] = (x & 0x7fffffff) > 0x7f800000 ? (x >>> 16) | 64 : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
  }
  return out;
}

/** Of each block a scale (f16), the largest magnitude / 127, and multiples of it: as ggml's reference rounds them. */
function q8(values: Float32Array): Uint8Array {
  const blocks = values.length / 32, out = new Uint8Array(blocks * 34), scale = new Float16Array(1);
  const scaleBytes = new Uint8Array(scale.buffer);
  for (let block = 0; block < blocks; block++) {
    let largest = 0;
    for (let i = 32 * block; i < 32 * block + 32; i++) largest = Math.max(largest, Math.abs(values[i]));
    const step = Math.fround(largest / 127), inverse = step === 0 ? 0 : Math.fround(1 / step);
    scale[0] = step;
    out.set(scaleBytes, 34 * block);
    for (let i = 0; i < 32; i++) {
      const x = Math.fround(values[32 * block + i] * inverse);
      // Halves away from zero, as C's roundf.
      out[34 * block + 2 + i] = Math.sign(x) * Math.floor(Math.abs(x) + 0.5);
    }
  }
  return out;
}

/**
 * The bytes of numbers, rounded to the type.
 *
 * @param values for Q8_0 a multiple of 32
 * @example
 * ```ts
 * import { ggufBytes } from "./encode.ts";
 * console.assert(ggufBytes(Float32Array.of(1, -2), "BF16").join() === "128,63,0,192");
 * ```
 */
export function ggufBytes(values: Float32Array, type: GgufType): Uint8Array {
  const bytes = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
    new Uint8Array(buffer, byteOffset, byteLength);
  switch (type) {
    case "F32":
      return bytes(values);
    case "F16":
      return bytes(new Float16Array(values));
    case "BF16":
      return bytes(bf16(values));
    case "Q8_0":
      return q8(values);
  }
}
