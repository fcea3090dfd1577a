/** @file 16-bit reals: IEEE halves (f16) and bfloat16 (bf16), rounded to nearest, ties to even; NaN stays NaN. */
import type { DType } from "./tensor.ts";

/** Storage of two bytes. */
export type HalfType = Extract<DType, "f16" | "bf16">;

/** Is it stored in two bytes? */
export const isHalf = (dtype: DType): dtype is HalfType => dtype === "f16" || dtype === "bf16";

const float = new Float32Array(1), word = new Uint32Array(float.buffer);

/**
 * The 16 bits of the nearest value (of x as f32, which is what devices have in their registers).
 *
 * @example
 * ```ts
 * import { halfBits } from "./half.ts";
 * console.assert(halfBits("bf16", 1) === 0x3f80 && halfBits("f16", 1) === 0x3c00);
 * ```
 */
export function halfBits(dtype: HalfType, x: number): number {
  float[0] = x;
  const bits = word[0], sign = (bits >>> 16) & 0x8000, magnitude = bits & 0x7fffffff;
  if (dtype === "bf16") {
    return magnitude > 0x7f800000 ? (bits >>> 16) | 0x40 : (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
  }
  if (magnitude >= 0x47800000) return sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00);
  // Below 2⁻¹⁴: multiples of 2⁻²⁴.
  if (magnitude < 0x38800000) return sign | nearestEven(Math.abs(float[0]) * 2 ** 24);
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
}

/** `halfBits` of many values. */
export function allHalfBits(dtype: HalfType, values: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = halfBits(dtype, values[i]);
  return out;
}

/** The value of 16 bits. */
export function halfValue(dtype: HalfType, bits: number): number {
  if (dtype === "f16") {
    const size = bits & 0x7fff, exponent = size >>> 10, sign = bits & 0x8000 ? -1 : 1;
    if (exponent === 0) return sign * size * 2 ** -24;
    if (exponent === 31) return size === 0x7c00 ? sign * Infinity : NaN;
    return sign * (1024 + (size & 1023)) * 2 ** (exponent - 25);
  }
  word[0] = bits << 16;
  return float[0];
}

/** The value that a tensor stored as `dtype` holds for x: x itself unless that has two bytes. */
export const roundTo = (dtype: DType, x: number): number => isHalf(dtype) ? halfValue(dtype, halfBits(dtype, x)) : x;

function nearestEven(x: number): number {
  const below = Math.floor(x), rest = x - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}
