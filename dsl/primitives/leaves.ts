/** @file Leaves: what a program starts from. */
import type { HostArray } from "../node.ts";
import type { Primitive } from "../primitive.ts";
import type { Shape } from "../shape.ts";
import type { DType } from "../tensor.ts";
import { fresh } from "./loop.ts";
import { still } from "./tangents.ts";

/** Attributes of leaves. */
export interface LeafAttributes {
  constant: { readonly value: number; readonly dtype: DType };
  data: { readonly shape: Shape; readonly dtype: DType; readonly values: HostArray };
  variable: { readonly shape: Shape; readonly dtype: DType; readonly name: string };
  /** `memory` belongs to the backend. */
  buffer: { readonly shape: Shape; readonly dtype: DType; readonly memory: object };
  iota: { readonly axis: string; readonly size: number };
}

/** A number without axes. */
export const constant: Primitive<"constant"> = {
  op: "constant",
  type: ({ dtype }) => ({ shape: {}, dtype }),
  vjp: () => [],
  jvp: still,
  interpret: ({ attributes }) => Float64Array.of(attributes.value),
  lower: (build, _, { attributes: { value, dtype } }) =>
    build.constant(value, dtype === "i32" || dtype === "u32" || dtype === "bool" ? dtype : "f32"),
  samples: [{ inputs: [], attributes: { value: 1.5, dtype: "f32" } }],
};

/** Values from the host. */
export const data: Primitive<"data"> = {
  op: "data",
  type: ({ shape, dtype }) => ({ shape, dtype }),
  vjp: () => [],
  jvp: still,
  interpret: ({ attributes }) => Float64Array.from(attributes.values),
  samples: [],
};

/** A parameter of a traced program. */
export const variable: Primitive<"variable"> = {
  op: "variable",
  type: ({ shape, dtype }) => ({ shape, dtype }),
  vjp: () => [],
  jvp: still,
  interpret: ({ attributes }) => {
    throw new Error(`variable ${attributes.name} has no value: it belongs to a trace that is over`);
  },
  samples: [],
};

/** Memory of a device. */
export const buffer: Primitive<"buffer"> = {
  op: "buffer",
  type: ({ shape, dtype }) => ({ shape, dtype }),
  vjp: () => [],
  jvp: still,
  interpret: () => {
    throw new TypeError("this tensor lies on a device: read it there, or pass it to a compiled function");
  },
  samples: [],
};

/** 0, 1, 2, … along one axis. */
export const iota: Primitive<"iota"> = {
  op: "iota",
  type: ({ axis, size }) => ({ shape: { [axis]: size }, dtype: "i32" }),
  vjp: () => [],
  jvp: still,
  interpret: (self) => fresh(self.shape).map((_, i) => i),
  samples: [{ inputs: [], attributes: { axis: "a", size: 7 } }],
};
