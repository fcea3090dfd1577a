/**
 * @file Tensors as users see them: axes and kind in the type, sizes and storage in the value.
 * A tensor is a node of an immutable expression graph; nothing is computed until a device runs it.
 */
import type { Node } from "./node.ts";

/** What a tensor means; it is part of the type. */
export type Kind = "real" | "int" | "bool";

/** How a tensor is stored; it is part of the value. */
export type DType = "f32" | "f16" | "bf16" | "i32" | "u32" | "bool";

/** The kind of what is stored as `D`. */
export type KindOf<D extends DType> = D extends "i32" | "u32" ? "int" : D extends "bool" ? "bool" : "real";

/** Sizes of axes, by name. */
export type Sizes = Readonly<Record<string, number>>;

/** Anything whose axes are AT MOST `A` (covariant): what fits into a tensor of `A`. */
export interface Operand<out A extends string, out K extends Kind = "real"> {
  /** Its axes (in the type only). */
  readonly "~axes": A;
  /** What it means (in the type only). */
  readonly "~kind": K;
}

/** A tensor whose axes are EXACTLY `A` (invariant): nothing broadcasts across a function's boundary. */
export interface Tensor<in out A extends string, out K extends Kind = "real"> extends Operand<A, K> {
  /** Size of every axis. */
  readonly shape: { readonly [N in A]: number };
  /** How it is stored. */
  readonly dtype: DType;
}

/** A tensor without axes. */
export type Scalar = Tensor<never>;

/** A tensor of any axes and kind, for functions that only pass it on. */
export type AnyTensor = Operand<string, Kind>;

/** Right-hand operand: a number, or something that fits into `A`. It never drives inference. */
export type In<A extends string, K extends Kind = "real"> = number | Operand<NoInfer<A>, K>;

/** The same tree with one more axis on every leaf. */
export type Stacked<P, N extends string> = P extends Tensor<infer A, infer K> ? Tensor<A | N, K>
  : { readonly [k in keyof P]: Stacked<P[k], N> };

/** The same tree without the axis `N`: what indexing or mixing a stacked tree gives. */
export type Unstacked<P, N extends string> = P extends Tensor<infer A, infer K> ? Tensor<Exclude<A, N>, K>
  : { readonly [k in keyof P]: Unstacked<P[k], N> };

/** The node behind a tensor. */
export const nodeOf = (x: AnyTensor): Node => x as unknown as Node;

/** A node seen as a tensor; the caller vouches for the axes. */
export const tensorOf = <A extends string, K extends Kind>(node: Node): Tensor<A, K> => node as unknown as Tensor<A, K>;
