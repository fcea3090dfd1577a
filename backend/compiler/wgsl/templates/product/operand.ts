/** @file How products read what they multiply: elements of 32 and of 16 bits, and indices at a matrix's edges. */
import type { OperandTypes } from "../../../kernel.ts";
import { mathDeclarations } from "../math.ts";
import type { Vectors } from "../product.ts";
import type { ElementType } from "../shader.ts";

/** How a product reads an operand: its binding's type, the functions that needs, and the expression of an element. */
export interface Reader {
  readonly type: ElementType;
  readonly declarations: readonly string[];
  /** The element at an address, or the four of them from there on where vectors are read. */
  readonly at: (address: string) => string;
}

/** 16-bit elements come two to a word; f32 ones as they are. */
function reader(name: "a" | "b", dtype: "f16" | "bf16" | undefined, vectors: Vectors): Reader {
  if (!dtype) {
    const at = (address: string) => vectors ? `${name}[(${address}) >> 2u]` : `${name}[${address}]`;
    return { type: vectors ? "vec4<f32>" : "f32", declarations: [], at };
  }
  const [low, high] = dtype === "bf16"
    ? ["bitcast<f32>(word << 16u)", "bitcast<f32>(word & 0xffff0000u)"]
    : ["fromF16(word & 0xffffu)", "fromF16(word >> 16u)"];
  const pair = `fn pair_${name}(word: u32) -> vec2<f32> { return vec2<f32>(${low}, ${high}); }`;
  const one = vectors
    ? `fn load_${name}(at: i32) -> vec4<f32> {
  let words = ${name}[at >> 2u];
  return vec4<f32>(pair_${name}(words.x), pair_${name}(words.y));
}`
    : `fn load_${name}(at: i32) -> f32 {
  let pair = pair_${name}(${name}[at >> 1u]);
  return select(pair.x, pair.y, (at & 1) == 1);
}`;
  return {
    type: vectors ? "vec2<u32>" : "u32",
    declarations: [...mathDeclarations(new Set(dtype === "f16" ? ["fromF16"] : [])), pair, one],
    at: (address) => `load_${name}(${address})`,
  };
}

/** Readers of both operands, with the declarations of both (what they share once). */
export function readers(
  { types, vectors }: { readonly types?: OperandTypes; readonly vectors: Readonly<Record<"a" | "b", Vectors>> },
): {
  readonly a: Reader;
  readonly b: Reader;
  readonly declarations: readonly string[];
} {
  const a = reader("a", types?.a, vectors.a), b = reader("b", types?.b, vectors.b);
  return { a, b, declarations: [...new Set([...a.declarations, ...b.declarations])] };
}

/** `index`, or the last one below `bound`. Nothing to do where tiles divide the size. */
export function clamped(index: string, bound: string | number, step: number): string {
  return typeof bound === "number" && bound % step === 0 ? index : `min(${index}, ${last(bound)})`;
}

/** The last index below `bound`. */
export function last(bound: string | number): string {
  return typeof bound === "number" ? `${bound - 1}` : `${bound} - 1`;
}

/** The condition `index < bound`, or nothing where tiles divide the size. */
export function below(index: string, bound: string | number, step: number): string[] {
  return typeof bound === "number" && bound % step === 0 ? [] : [`${index} < ${bound}`];
}
