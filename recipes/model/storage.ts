/** @file Weights of 16 bits are computed with as f32: products and look-ups read them as they are stored. */
import { type AnyTensor, cast, mapTree } from "../../dsl/mod.ts";
import { isHalf } from "../../dsl/half.ts";
import { nodeOf } from "../../dsl/tensor.ts";
import { entriesOf } from "../../dsl/tree.ts";

/** The same weights as f32. In memory they stay what they are. */
export const widened = <P>(model: P): P => mapTree((x) => cast(x, "f32"), model);

/** Is some weight stored in two bytes? */
export const isNarrow = (model: unknown): boolean => entriesOf(model).some(([, { dtype }]) => isHalf(dtype));

/** How a weight is stored. */
export function storageOf(weight: AnyTensor): "f32" | "f16" | "bf16" {
  const { dtype } = nodeOf(weight);
  return isHalf(dtype) ? dtype : "f32";
}
