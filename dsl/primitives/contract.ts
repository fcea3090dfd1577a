/** @file Products: contractions, and contractions whose weights are chosen per row by an index. */
import { axesOf, contract as product, expand, missing, node, ordered, without } from "../build.ts";
import { mistake, type Node, unite } from "../node.ts";
import type { Primitive } from "../primitive.ts";
import { type Shape, showShape, stridesOf } from "../shape.ts";
import { along, fresh, loop } from "./loop.ts";
import { bilinear } from "./tangents.ts";
import type { Placement } from "./tiled.ts";

/** How products read 16-bit operands. */
interface Widening {
  /** As f32, which is what comes out then: made by the compiler, where a device can. */
  readonly wide?: true;
}

/** Attributes of products: the axes that are summed, and the order of the result's. */
export interface ContractAttributes {
  /** `into`: in a loop over tiles, where the result belongs. */
  contract: Widening & {
    readonly over: readonly string[];
    readonly order?: readonly string[];
    readonly into?: Placement;
  };
  /** `axis` of the second input is chosen by the third. */
  contractAt: Widening & { readonly axis: string; readonly over: readonly string[] };
  contractInto: Widening & {
    readonly axis: string;
    readonly size: number;
    readonly over: readonly string[];
    readonly order: readonly string[];
  };
}

/** Σ over axes of x·y; every other axis of either is kept. */
export const contract: Primitive<"contract"> = {
  op: "contract",
  type: ({ over, order, wide }, [x, y]) => {
    for (const axis of over) {
      if (!(axis in x.shape && axis in y.shape)) {
        mistake(
          "contract",
          `axis "${axis}" must be in both operands, got ${showShape(x.shape)} and ${showShape(y.shape)}`,
        );
      }
    }
    if (x.dtype !== y.dtype && !wide) {
      mistake("contract", `one operand is ${x.dtype}, the other ${y.dtype}; cast one of them`);
    }
    const shape = without(unite("contract", x.shape, y.shape), over);
    return { shape: order ? ordered(shape, order) : shape, dtype: wide ? "f32" : x.dtype };
  },
  vjp: (g, { inputs: [x, y] }) => [
    product(g, y, missing(x.shape, unite("contract", g.shape, y.shape)), axesOf(x.shape)),
    product(g, x, missing(y.shape, unite("contract", g.shape, x.shape)), axesOf(y.shape)),
  ],
  jvp: bilinear,
  interpret: (self, [x, y]) => {
    const space = unite("contract", x.shape, y.shape), out = fresh(self.shape);
    loop(space, [self.shape, x.shape, y.shape].map((shape) => along(space, shape)), ([o, a, b]) => {
      out[o] += x.data[a] * y.data[b];
    });
    return out;
  },
  samples: [
    { inputs: [{ shape: { a: 3, b: 5 } }, { shape: { b: 5, c: 4 } }], attributes: { over: ["b"] } },
    { inputs: [{ shape: { a: 3, b: 5 } }, { shape: { c: 4, b: 5 } }], attributes: { over: ["b"], order: ["c", "a"] } },
    { inputs: [{ shape: { a: 3, b: 5 } }, { shape: { c: 2 } }], attributes: { over: [] } },
    { inputs: [{ shape: { a: 3, b: 5 } }, { shape: { a: 3, b: 5 } }], attributes: { over: ["b"] } },
    {
      inputs: [{ shape: { a: 2, s: 3, h: 2, d: 4 } }, { shape: { a: 2, k: 5, h: 2, d: 4 } }],
      attributes: { over: ["d"] },
    },
    { inputs: [{ shape: { a: 2, h: 3, d: 4 } }, { shape: { e: 5, h: 3, d: 4 } }], attributes: { over: ["h", "d"] } },
    { inputs: [{ shape: { x: 7, h: 64, e: 96 } }, { shape: { h: 64, e: 96 } }], attributes: { over: ["h", "e"] } },
    { inputs: [{ shape: { a: 3, b: 0 } }, { shape: { b: 0, c: 4 } }], attributes: { over: ["b"] }, valuesOnly: true },
  ],
};

/** Strides of the axis that an index chooses; an index outside gives nothing. */
const chosen = (shape: Shape, axis: string): { stride: number; size: number } => ({
  stride: stridesOf(shape)[axis],
  size: shape[axis],
});
const within = (index: number, size: number): boolean => index >= 0 && index < size;

/** Σ over axes of x · w[axis = index]: a product whose weights the index chooses. Inputs: x, w, index. */
export const contractAt: Primitive<"contractAt"> = {
  op: "contractAt",
  type: ({ axis, over, wide }, [x, w, index]) => {
    if (!(axis in w.shape)) mistake("contractAt", `no axis "${axis}" in the weights ${showShape(w.shape)}`);
    if (axis in x.shape || axis in index.shape) {
      mistake("contractAt", `axis "${axis}" is chosen by the index and can be in the weights only`);
    }
    if (index.dtype !== "i32") mistake("contractAt", `the index is ${index.dtype}, not i32`);
    // Rows (index axes) first: a row of the result is then a row in memory.
    const shape = without(unite("contractAt", index.shape, x.shape, without(w.shape, [axis])), over);
    return { shape, dtype: wide ? "f32" : w.dtype };
  },
  vjp: (g, { attributes: { axis }, inputs: [x, w, index] }) => {
    const weight = without(w.shape, [axis]);
    const space = unite("contractAt", g.shape, weight, index.shape);
    const toX = node("contractAt", [g, w, index], { axis, over: missing(x.shape, space) });
    const into = unite("contractAt", x.shape, g.shape, index.shape);
    // An axis that only one operand had, and that was summed, repeats the cotangent.
    const toW = node("contractInto", [x, g, index], {
      axis,
      size: w.shape[axis],
      over: missing(weight, into),
      order: axesOf(w.shape).filter((name) => name === axis || name in into),
    });
    return [expand(toX, x.shape), expand(toW, w.shape), null];
  },
  jvp: bilinear,
  interpret: (self, [x, w, index]) => {
    const { axis } = self.attributes, { stride, size } = chosen(w.shape, axis), out = fresh(self.shape);
    const space = unite("contractAt", x.shape, without(w.shape, [axis]), index.shape);
    loop(space, [self.shape, x.shape, w.shape, index.shape].map((shape) => along(space, shape)), ([o, a, b, i]) => {
      if (within(index.data[i], size)) out[o] += x.data[a] * w.data[b + stride * index.data[i]];
    });
    return out;
  },
  samples: [
    {
      inputs: [{ shape: { t: 7, e: 4 } }, { shape: { x: 3, e: 4, h: 5 } }, {
        shape: { t: 7, s: 2 },
        dtype: "i32",
        range: [0, 2],
      }],
      attributes: { axis: "x", over: ["e"] },
    },
    {
      inputs: [{ shape: { t: 7, s: 2, e: 4 } }, { shape: { x: 3, h: 5, e: 4 } }, {
        shape: { t: 7, s: 2 },
        dtype: "i32",
        range: [-1, 2],
      }],
      attributes: { axis: "x", over: ["e", "s"] },
    },
    // An axis that both operands keep, one of the index in the weights, and sums over axes of one operand alone.
    {
      inputs: [{ shape: { t: 5, h: 2, e: 4, g: 2 } }, { shape: { h: 2, x: 3, e: 4, t: 5, f: 3, j: 2 } }, {
        shape: { t: 5 },
        dtype: "i32",
        range: [-1, 2],
      }],
      attributes: { axis: "x", over: ["e", "g", "f"] },
    },
  ],
};

/** out[axis = index] += Σ over axes of x·y: the adjoint of `contractAt` in its weights. Inputs: x, y, index. */
export const contractInto: Primitive<"contractInto"> = {
  op: "contractInto",
  type: ({ axis, size, over, order, wide }, [x, y, index]) => {
    const rest = without(unite("contractInto", x.shape, y.shape, index.shape), over);
    if (index.dtype !== "i32") mistake("contractInto", `the index is ${index.dtype}, not i32`);
    return { shape: ordered({ [axis]: size, ...rest }, order), dtype: wide ? "f32" : x.dtype };
  },
  vjp: (g, { attributes: { axis }, inputs: [x, y, index] }) => {
    const rest = without(g.shape, [axis]);
    const back = (other: Node, to: Node): Node =>
      expand(
        node("contractAt", [other, g, index], {
          axis,
          over: missing(to.shape, unite("", other.shape, rest, index.shape)),
        }),
        to.shape,
      );
    return [back(y, x), back(x, y), null];
  },
  jvp: bilinear,
  interpret: (self, [x, y, index]) => {
    const { axis } = self.attributes, { stride, size } = chosen(self.shape, axis), out = fresh(self.shape);
    const space = unite("contractInto", x.shape, y.shape, index.shape);
    loop(space, [self.shape, x.shape, y.shape, index.shape].map((shape) => along(space, shape)), ([o, a, b, i]) => {
      if (within(index.data[i], size)) out[o + stride * index.data[i]] += x.data[a] * y.data[b];
    });
    return out;
  },
  samples: [
    {
      inputs: [{ shape: { t: 7, e: 4 } }, { shape: { t: 7, s: 2, h: 5 } }, {
        shape: { t: 7, s: 2 },
        dtype: "i32",
        range: [-1, 2],
      }],
      attributes: { axis: "x", size: 4, over: ["t", "s"], order: ["x", "h", "e"] },
    },
    // Axes that both operands keep, that the index keeps, and that do not lie together in memory.
    {
      inputs: [{ shape: { e: 4, t: 5, h: 2, i: 3 } }, { shape: { t: 5, j: 2, s: 2, h: 2, f: 3 } }, {
        shape: { t: 5, s: 2 },
        dtype: "i32",
        range: [-1, 2],
      }],
      attributes: { axis: "x", size: 3, over: ["t"], order: ["j", "e", "s", "f", "x", "h", "i"] },
    },
  ],
};
