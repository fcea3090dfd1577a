/** @file Indexing: looking up, its adjoint, and the largest few. */
import { axesOf, expand, node, ordered, without } from "../build.ts";
import { mistake, unite } from "../node.ts";
import type { Primitive } from "../primitive.ts";
import { showShape, stridesOf } from "../shape.ts";
import { along, fresh, loop } from "./loop.ts";
import { linear, still } from "./tangents.ts";

/** Attributes of indexing. */
export interface IndexingAttributes {
  take: { readonly axis: string };
  scatter: {
    readonly axis: string;
    readonly size: number;
    readonly over: readonly string[];
    readonly order: readonly string[];
  };
  /** The result has the axis `slot` of `count` in place of `axis`. */
  topk: { readonly axis: string; readonly slot: string; readonly count: number };
  order: { readonly groups: number };
}

/** x[axis = index], for an index that shares no axis with x (an embedding). −1 gives 0. Inputs: x, index. */
export const take: Primitive<"take"> = {
  op: "take",
  type: ({ axis }, [x, index]) => {
    if (!(axis in x.shape)) mistake("take", `no axis "${axis}" in ${showShape(x.shape)}`);
    if (index.dtype !== "i32") mistake("take", `the index is ${index.dtype}, not i32`);
    for (const name in index.shape) {
      if (name in x.shape) mistake("take", `axis "${name}" is in both ${showShape(x.shape)} and the index`);
    }
    return { shape: { ...index.shape, ...without(x.shape, [axis]) }, dtype: x.dtype };
  },
  vjp: (g, { attributes: { axis }, inputs: [x, index] }) => [
    node("scatter", [g, index], {
      axis,
      size: x.shape[axis],
      over: axesOf(index.shape),
      order: axesOf(x.shape),
    }),
    null,
  ],
  jvp: linear,
  interpret: (self, [x, index]) => {
    const { axis } = self.attributes, stride = stridesOf(x.shape)[axis], size = x.shape[axis], out = fresh(self.shape);
    loop(self.shape, [self.shape, x.shape, index.shape].map((shape) => along(self.shape, shape)), ([o, a, i]) => {
      const at = index.data[i];
      out[o] = at >= 0 && at < size ? x.data[a + stride * at] : 0;
    });
    return out;
  },
  samples: [{
    inputs: [{ shape: { v: 9, e: 4 } }, { shape: { b: 2, s: 7 }, dtype: "i32", range: [-1, 8] }],
    attributes: { axis: "v" },
  }],
};

/** out[axis = index] += x: the adjoint of `take`. Inputs: x, index (whose axes are summed). */
export const scatter: Primitive<"scatter"> = {
  op: "scatter",
  type: ({ axis, size, over, order }, [x, index]) => {
    unite("scatter", x.shape, index.shape);
    return { shape: ordered({ [axis]: size, ...without(x.shape, over) }, order), dtype: x.dtype };
  },
  vjp: (g, { attributes: { axis }, inputs: [x, index] }) => [
    expand(node("take", [g, index], { axis }), x.shape),
    null,
  ],
  jvp: linear,
  interpret: (self, [x, index]) => {
    const { axis, size } = self.attributes, stride = stridesOf(self.shape)[axis], out = fresh(self.shape);
    loop(x.shape, [self.shape, x.shape, index.shape].map((shape) => along(x.shape, shape)), ([o, a, i]) => {
      const at = index.data[i];
      if (at >= 0 && at < size) out[o + stride * at] += x.data[a];
    });
    return out;
  },
  samples: [{
    inputs: [{ shape: { b: 2, s: 7, e: 4 } }, { shape: { b: 2, s: 7 }, dtype: "i32", range: [-1, 8] }],
    attributes: { axis: "v", size: 9, over: ["b", "s"], order: ["v", "e"] },
  }],
};

/** Indices of the largest `count` elements, largest first; ties: lowest index; NaN last. */
export const topk: Primitive<"topk"> = {
  op: "topk",
  type: ({ axis, slot, count }, [x]) => {
    if (!(axis in x.shape)) mistake("topk", `no axis "${axis}" in ${showShape(x.shape)}`);
    if (!(count >= 1 && count <= x.shape[axis])) {
      mistake("topk", `${count} of axis "${axis}", which has ${x.shape[axis]}`);
    }
    return { shape: { ...without(x.shape, [axis]), [slot]: count }, dtype: "i32" };
  },
  vjp: () => [null],
  jvp: still,
  interpret: (self, [x]) => {
    const { axis, slot, count } = self.attributes, rows = without(x.shape, [axis]);
    const from = stridesOf(x.shape)[axis], to = stridesOf(self.shape)[slot], out = fresh(self.shape);
    const candidates = Array.from({ length: x.shape[axis] }, (_, i) => i);
    loop(rows, [along(rows, self.shape), along(rows, x.shape)], ([o, a]) => {
      const value = (i: number): number => Number.isNaN(x.data[a + i * from]) ? -Infinity : x.data[a + i * from];
      const last = (i: number): number => Number(Number.isNaN(x.data[a + i * from]));
      const best = candidates.toSorted((i, j) =>
        last(i) - last(j) || (value(j) > value(i) ? 1 : value(j) < value(i) ? -1 : i - j)
      );
      for (let i = 0; i < count; i++) out[o + i * to] = best[i];
    });
    return out;
  },
  samples: [
    { inputs: [{ shape: { a: 9, b: 7 } }], attributes: { axis: "b", slot: "k", count: 3 } },
    { inputs: [{ shape: { a: 7, b: 2 }, range: [0, 0] }], attributes: { axis: "a", slot: "k", count: 4 } },
  ],
};

/** Positions sorted by group, then groups + 1 offsets. Positions without a group come last. */
export const order: Primitive<"order"> = {
  op: "order",
  type: ({ groups }, [index]) => ({
    shape: { order: Object.values(index.shape).reduce((a, b) => a * b, 1) + groups + 1 },
    dtype: "i32",
  }),
  vjp: () => [null],
  jvp: still,
  interpret: ({ attributes: { groups } }, [index]) => {
    const members: number[][] = Array.from({ length: groups }, () => []), nowhere: number[] = [];
    index.data.forEach((group, position) => (members[group] ?? nowhere).push(position));
    const offsets = [0];
    for (const group of members) offsets.push(offsets[offsets.length - 1] + group.length);
    return Float64Array.from([...members.flat(), ...nowhere, ...offsets]);
  },
  samples: [
    { inputs: [{ shape: { a: 9, b: 7 }, dtype: "i32", range: [-1, 4] }], attributes: { groups: 5 } },
    { inputs: [{ shape: { a: 700 }, dtype: "i32", range: [0, 6] }], attributes: { groups: 8 } },
  ],
};
