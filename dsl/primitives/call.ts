/** @file call: a function kept as one node (`checkpoint`, `customVjp`); inlined before grouping. */
import { evaluate } from "../interpret/interpret.ts";
import type { Node } from "../node.ts";
import type { Primitive, Tangents } from "../primitive.ts";

/** A function kept as one node, with its rules. */
export interface Func {
  /** What made it. */
  readonly kind: "checkpoint" | "customVjp";
  readonly parameters: readonly Node[];
  readonly result: Node;
  readonly vjp: (cotangent: Node, call: Node) => readonly (Node | null)[];
  readonly jvp: (tangents: Tangents, call: Node) => Node | null;
}

/** Attributes of functions. */
export interface CallAttributes {
  call: { readonly func: Func };
}

/** The function's result on the inputs. */
export const call: Primitive<"call"> = {
  op: "call",
  type: ({ func }) => ({ shape: func.result.shape, dtype: func.result.dtype }),
  vjp: (cotangent, self) => self.attributes.func.vjp(cotangent, self),
  jvp: (tangents, self) => tangents.some((tangent) => tangent) ? self.attributes.func.jvp(tangents, self) : null,
  interpret: ({ attributes: { func } }, inputs) =>
    evaluate([func.result], new Map(func.parameters.map((parameter, i) => [parameter, inputs[i]])))[0].data,
  samples: [],
};
