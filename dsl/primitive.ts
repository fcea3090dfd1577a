/** @file What a primitive is: one record with everything about one operation. */
import type { DType } from "./tensor.ts";
import type { Attributes, Node, Op } from "./node.ts";
import type { Shape } from "./shape.ts";

/** Type of a scalar while a kernel computes with it. */
export type RegisterType = "f32" | "i32" | "u32" | "bool";

/** Scalar instructions with one operand. */
export type UnaryOp =
  | "neg"
  | "abs"
  | "exp"
  | "log"
  | "recip"
  | "sqrt"
  | "sin"
  | "cos"
  | "tanh"
  | "floor"
  | "not"
  /** The nearest value that 16-bit storage holds (ties to even; NaN stays NaN). */
  | "roundF16"
  | "roundBf16";

/** Scalar instructions with two operands of one type. */
export type BinaryOp = "add" | "sub" | "mul" | "max" | "min" | "less" | "equal" | "and" | "or" | "xor" | "shl" | "shr";

/** Writes scalar SSA instructions; registers are numbers. */
export interface Builder {
  unary(op: UnaryOp, a: number): number;
  binary(op: BinaryOp, a: number, b: number): number;
  select(condition: number, yes: number, no: number): number;
  constant(value: number, type: RegisterType): number;
  cast(a: number, type: RegisterType): number;
  /** Combines a value over the kernel's inner axes. */
  reduce(by: "sum" | "max" | "min", a: number): number;
}

/** An array while it is interpreted: row-major in the order of `shape`. */
export interface Values {
  readonly shape: Shape;
  readonly data: Float64Array;
}

/** One input of a sample: its shape, how it is stored, and the range its values are drawn from. */
export interface SampleInput {
  readonly shape: Shape;
  readonly dtype?: DType;
  readonly range?: readonly [low: number, high: number];
}

/** Inputs on which every device and the gradients of a primitive are tested. */
export interface Sample<O extends Op> {
  readonly inputs: readonly SampleInput[];
  readonly attributes: Attributes[O];
  /** Not differentiable there (kinks): check values only. */
  readonly valuesOnly?: boolean;
}

/** How inputs change, to first order: one tensor each, null where they do not. */
export type Tangents = readonly (Node | null)[];

/** Everything about one operation. */
export interface Primitive<O extends Op> {
  readonly op: O;
  /** Each element of the result is a function of the same element of every input: of constants it is a constant. */
  readonly elementwise?: boolean;
  /** Shape and storage of the result. @throws TypeError that names the axis. */
  readonly type: (attributes: Attributes[O], inputs: readonly Node[]) => { shape: Shape; dtype: DType };
  /** Cotangents of the inputs (null: none flows). */
  readonly vjp: (cotangent: Node, node: Node<O>) => readonly (Node | null)[];
  /** Tangent of the result, from the tangents of the inputs (null: zero, which a tangent often is). */
  readonly jvp: (tangents: Tangents, node: Node<O>) => Node | null;
  /** The definition, in f64. */
  readonly interpret: (node: Node<O>, inputs: readonly Values[]) => Float64Array;
  /** Elementwise and reducing primitives: one element, as scalar instructions. Others have a kernel template. */
  readonly lower?: (build: Builder, inputs: readonly number[], node: Node<O>) => number;
  readonly samples: readonly Sample<O>[];
}

/** Register type of a storage type. */
export const registerType = (dtype: DType): RegisterType => dtype === "f16" || dtype === "bf16" ? "f32" : dtype;

/** Is it a real number (the only thing that gradients flow through)? */
export const isReal = (node: Node): boolean => registerType(node.dtype) === "f32";
