/** @file Operations on the bits of whole numbers, elementwise. Both operands have the same storage, i32 or u32. */
import { into, node } from "../build.ts";
import type { Node } from "../node.ts";
import { type In, nodeOf, type Tensor, tensorOf } from "../tensor.ts";

/** An operation on the bits of two whole numbers; the second fits into the first. */
export type BitOperation = <A extends string>(x: Tensor<A, "int">, y: In<A, "int">) => Tensor<A, "int">;

const operation = (name: string, op: "xor" | "shl" | "shr"): BitOperation => (x, y) => {
  const like: Node = nodeOf(x);
  return tensorOf(node(op, [like, into(name, like, typeof y === "number" ? y : nodeOf(y))], {}));
};

/**
 * Bits that are set in exactly one of x and y.
 *
 * @throws TypeError when y has an axis that x lacks, or another storage
 * @example
 * ```ts
 * import { read, tensor, xor } from "../mod.ts";
 * console.assert(read(xor(tensor({ seq: 2 }, [12, 7], "u32"), 10)).join() === "6,13");
 * ```
 */
export const xor: BitOperation = operation("xor", "xor");

/**
 * x · 2^y, by moving bits up: what leaves at the top is lost. The lowest five bits of y count.
 *
 * @throws TypeError when y has an axis that x lacks, or another storage
 * @example
 * ```ts
 * import { read, shiftLeft, tensor } from "../mod.ts";
 * console.assert(read(shiftLeft(tensor({ seq: 2 }, [1, 3], "i32"), 4)).join() === "16,48");
 * ```
 */
export const shiftLeft: BitOperation = operation("shiftLeft", "shl");

/**
 * x's bits moved down by y, zeros from the top (also for negative x). The lowest five bits of y count.
 *
 * @throws TypeError when y has an axis that x lacks, or another storage
 * @example
 * ```ts
 * import { read, shiftRight, tensor } from "../mod.ts";
 * console.assert(read(shiftRight(tensor({ seq: 2 }, [48, 4294967295], "u32"), 4)).join() === "3,268435455");
 * ```
 */
export const shiftRight: BitOperation = operation("shiftRight", "shr");
