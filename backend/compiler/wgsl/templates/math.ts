/**
 * @file Scalar functions in WGSL, accurate to a few units in the last place of f32. WGSL's own exp, log, sin, cos and
 * tanh promise much less (sin: an absolute error of 2⁻¹¹).
 *
 * No function gives NaN for a finite argument within its domain. Clamps are written as selects, so that on drivers
 * that keep NaN a NaN passes through. Nothing relies on fma being fused: software drivers split it.
 */

/** Functions of this library, by the names that shaders call. */
export type MathFunction =
  | "bits"
  | "expOf"
  | "logOf"
  | "sinOf"
  | "cosOf"
  | "tanhOf"
  | "toI32"
  | "toU32"
  | "fromF16"
  | "toF16"
  | "toBf16"
  | "reduceAngle"
  | "sineOf";

interface Source {
  readonly needs: readonly MathFunction[];
  readonly code: string;
}

const library: Readonly<Record<MathFunction, Source>> = {
  // A parameter is no constant expression: infinities and NaN may not be constants in WGSL.
  bits: { needs: [], code: "fn bits(x: u32) -> f32 { return bitcast<f32>(x); }" },

  // x = k·ln 2 + r, |r| ≤ ln 2 / 2; 2ᵏ in two factors, since k reaches −150 and 128.
  expOf: {
    needs: ["bits"],
    code: `fn expOf(x: f32) -> f32 {
  let y = select(select(x, -104f, x < -104f), 89f, x > 89f);
  let k = floor(y * 1.44269504f + 0.5f);
  let r = (y - k * 0.693359375f) + k * 2.12194440e-4f;
  var p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * (r * r) + r) + 1f;
  let whole = i32(k);
  let half = whole >> 1u;
  let scaled = p * bits(u32(half + 127) << 23u) * bits(u32(whole - half + 127) << 23u);
  return select(scaled, bits(0x7f800000u), x > 88.7228394f);
}`,
  },

  // x = 2ᵏ·(1 + f), √½ ≤ 1 + f < √2 (the polynomial of FreeBSD's logf).
  logOf: {
    needs: ["bits"],
    code: `fn logOf(x: f32) -> f32 {
  let tiny = x < 1.17549435e-38f;
  let word = bitcast<u32>(select(x, x * 8388608f, tiny)) + (0x3f800000u - 0x3f3504f3u);
  let k = f32(i32(word >> 23u) - select(127, 150, tiny));
  let f = bits((word & 0x7fffffu) + 0x3f3504f3u) - 1f;
  let s = f / (2f + f);
  let z = s * s;
  let w = z * z;
  let even = w * (0.40000972152f + w * 0.24279078841f);
  let odd = z * (0.66666662693f + w * 0.28498786688f);
  let square = 0.5f * f * f;
  let result = s * (square + (even + odd)) + k * 9.0580006145e-6f - square + f + k * 6.9313812256e-1f;
  let beyond = select(result, x, (bitcast<u32>(x) & 0x7fffffffu) >= 0x7f800000u);
  return select(select(beyond, bits(0x7fc00000u), x < 0f), bits(0xff800000u), x == 0f);
}`,
  },

  // Remainder of x after the nearest multiple of π/2, and that multiple modulo 4. Cody and Waite's three parts while
  // they are exact, else Payne and Hanek's product with the bits of 2/π.
  reduceAngle: {
    needs: ["bits"],
    code: `fn highProduct(a: u32, b: u32) -> u32 {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let one = (a >> 16u) * (b & 0xffffu);
  let two = (a & 0xffffu) * (b >> 16u);
  let middle = (low >> 16u) + (one & 0xffffu) + (two & 0xffffu);
  return (a >> 16u) * (b >> 16u) + (one >> 16u) + (two >> 16u) + (middle >> 16u);
}
fn twoOverPi(word: i32) -> u32 {
  switch (word) {
    case 0: { return 0x28be60dbu; }
    case 1: { return 0x9391054au; }
    case 2: { return 0x7f09d5f4u; }
    case 3: { return 0x7d4d3770u; }
    case 4: { return 0x36d8a566u; }
    case 5: { return 0x4f10e410u; }
    default: { return 0u; }
  }
}
struct Angle { rest: f32, quadrant: i32 }
fn reduceAngle(x: f32) -> Angle {
  if (abs(x) < 200f) {
    let k = floor(x * 0.636619772f + 0.5f);
    let rest = ((x - k * 1.5703125f) - k * 4.837512969970703125e-4f) - k * 7.54978995489188216e-8f;
    return Angle(rest, i32(k));
  }
  let word = bitcast<u32>(x);
  let mantissa = ((word & 0x7fffffu) << 8u) | 0x80000000u;
  let exponent = i32((word >> 23u) & 0xffu) - 126;
  let start = exponent >> 5u;
  let shift = u32(exponent & 31);
  var high = twoOverPi(start - 1);
  var middle = twoOverPi(start);
  var low = twoOverPi(start + 1);
  if (shift != 0u) {
    high = (high << shift) | (middle >> (32u - shift));
    middle = (middle << shift) | (low >> (32u - shift));
    low = (low << shift) | (twoOverPi(start + 2) >> (32u - shift));
  }
  let carry = highProduct(mantissa, low);
  let small = mantissa * middle;
  let lower = small + carry;
  var upper = highProduct(mantissa, middle) + select(0u, 1u, lower < small) + mantissa * high;
  let quadrant = i32((upper + 0x20000000u) >> 30u);
  // Two's complement of the fraction, 2.62 fixed point; its highest bits are enough for a float.
  upper = upper - (u32(quadrant) << 30u);
  let negative = (upper & 0x80000000u) != 0u;
  let a = select(upper, ~upper + select(0u, 1u, lower == 0u), negative);
  let b = select(lower, ~lower + 1u, negative);
  let zeros = countLeadingZeros(a);
  var top = a;
  var scale = 1f;
  if (a == 0u) { top = b; scale = 2.3283064e-10f; }
  else if (zeros != 0u) { top = (a << zeros) | (b >> (32u - zeros)); scale = 1f / f32(1u << (zeros & 31u)); }
  let size = f32(top) * scale * 1.4629180793e-9f;
  let rest = select(size, -size, negative);
  return Angle(select(rest, -rest, x < 0f), select(quadrant, -quadrant, x < 0f));
}`,
  },
  // sin (odd = 0) or cos (odd = 1) of the angle.
  sineOf: {
    needs: ["reduceAngle"],
    code: `fn sineOf(x: f32, odd: i32) -> f32 {
  let angle = reduceAngle(x);
  let quadrant = angle.quadrant + odd;
  let r = angle.rest;
  let z = r * r;
  let sine = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * r + r;
  let cosine = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1f;
  let value = select(sine, cosine, (quadrant & 1) != 0);
  return select(value, -value, (quadrant & 2) != 0);
}`,
  },
  sinOf: { needs: ["sineOf"], code: "fn sinOf(x: f32) -> f32 { return sineOf(x, 0); }" },
  cosOf: { needs: ["sineOf"], code: "fn cosOf(x: f32) -> f32 { return sineOf(x, 1); }" },

  tanhOf: {
    needs: ["expOf"],
    code: `fn tanhOf(x: f32) -> f32 {
  let size = abs(x);
  let z = x * x;
  var p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  let small = p * z * x + x;
  let large = 1f - 2f / (expOf(2f * select(size, 10f, size > 10f)) + 1f);
  return select(select(large, -large, x < 0f), small, size < 0.625f);
}`,
  },

  // Truncate, saturate, NaN → 0.
  toI32: {
    needs: [],
    code: `fn toI32(x: f32) -> i32 {
  let inside = i32(clamp(x, -2147483648f, 2147483520f));
  let number = select(inside, 2147483647, x >= 2147483648f);
  return select(number, 0, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u);
}`,
  },
  toU32: {
    needs: [],
    code: `fn toU32(x: f32) -> u32 {
  let inside = u32(clamp(x, 0f, 4294967040f));
  let number = select(inside, 4294967295u, x >= 4294967296f);
  return select(number, 0u, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u);
}`,
  },

  // 16-bit reals, in integers: built-in conversions may round towards zero, or flush what is tiny. The nearest value,
  // ties to even; NaN stays NaN.
  fromF16: {
    needs: ["bits"],
    code: `fn fromF16(half: u32) -> f32 {
  let size = half & 0x7fffu;
  let tiny = bitcast<u32>(f32(size) * 5.9604644775390625e-8f);
  let normal = (size << 13u) + select(0x38000000u, 0x70000000u, size >= 0x7c00u);
  return bits(select(normal, tiny, size < 0x400u) | ((half & 0x8000u) << 16u));
}`,
  },
  toF16: {
    needs: [],
    code: `fn toF16(x: f32) -> u32 {
  let word = bitcast<u32>(x);
  let size = word & 0x7fffffffu;
  let shift = clamp(126u - (size >> 23u), 14u, 25u);
  let mantissa = (size & 0x7fffffu) | 0x800000u;
  let below = mantissa >> shift;
  let rest = mantissa & ((1u << shift) - 1u);
  let middle = 1u << (shift - 1u);
  let up = rest > middle || (rest == middle && (below & 1u) == 1u);
  let tiny = select(0u, below + select(0u, 1u, up), size >= 0x32800000u);
  let normal = (size - 0x38000000u + 0xfffu + ((size >> 13u) & 1u)) >> 13u;
  let finite = select(normal, tiny, size < 0x38800000u);
  let beyond = select(0x7c00u, 0x7e00u, size > 0x7f800000u);
  return select(finite, beyond, size >= 0x47800000u) | ((word >> 16u) & 0x8000u);
}`,
  },
  toBf16: {
    needs: [],
    code: `fn toBf16(x: f32) -> u32 {
  let word = bitcast<u32>(x);
  let nearest = (word + 0x7fffu + ((word >> 16u) & 1u)) >> 16u;
  return select(nearest, (word >> 16u) | 0x40u, (word & 0x7fffffffu) > 0x7f800000u);
}`,
  },
};

/** Declarations of the functions used and of those that they call, each once, in a fixed order. */
export function mathDeclarations(used: ReadonlySet<MathFunction>): string[] {
  const all = new Set<MathFunction>();
  const visit = (name: MathFunction): void => {
    for (const needed of library[name].needs) visit(needed);
    all.add(name);
  };
  for (const name of Object.keys(library) as MathFunction[]) if (used.has(name)) visit(name);
  return [...all].map((name) => library[name].code);
}
