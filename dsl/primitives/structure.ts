/** @file Structure: the same elements under other axes. None of them moves memory on a device unless it must. */
import {
  axesOf,
  expand as expandTo,
  fill,
  missing,
  node,
  ordered,
  reduceTo,
  sizeOf,
  sum,
  where,
  without,
} from "../build.ts";
import { mistake, type Node, unite } from "../node.ts";
import type { Primitive } from "../primitive.ts";
import { type Shape, showShape, stridesOf } from "../shape.ts";
import { along, fresh, loop } from "./loop.ts";
import { linear, orZero } from "./tangents.ts";

/** Attributes of structure. */
export interface StructureAttributes {
  /** To `shape`: new axes repeat the value, the order may change. */
  expand: { readonly shape: Shape };
  rename: { readonly names: Readonly<Record<string, string>> };
  /** One axis into several, outermost first. */
  unflatten: { readonly axis: string; readonly sizes: Shape };
  /** Several axes into one, outermost first. */
  flatten: { readonly axes: readonly string[]; readonly axis: string };
  slice: { readonly axis: string; readonly start: number; readonly stop: number };
  pad: { readonly axis: string; readonly before: number; readonly after: number };
  concat: { readonly axis: string };
  write: { readonly axis: string };
}

const needs = (op: string, x: Node, axis: string): void => {
  if (!(axis in x.shape)) mistake(op, `no axis "${axis}" in ${showShape(x.shape)}`);
};

/** More axes (each repeats the value), or the same in another order. */
export const expand: Primitive<"expand"> = {
  op: "expand",
  type: ({ shape }, [x]) => {
    unite("expand", x.shape, shape);
    const lost = missing(shape, x.shape);
    if (lost.length > 0) {
      mistake("expand", `${showShape(x.shape)} does not fit into ${showShape(shape)}: no axis "${lost[0]}" there`);
    }
    return { shape, dtype: x.dtype };
  },
  vjp: (g, { inputs: [x] }) => [reduceTo(g, x.shape)],
  jvp: linear,
  interpret: (self, [x]) => {
    const out = fresh(self.shape);
    loop(self.shape, [along(self.shape, self.shape), along(self.shape, x.shape)], ([o, a]) => out[o] = x.data[a]);
    return out;
  },
  samples: [
    { inputs: [{ shape: { a: 3 } }], attributes: { shape: { b: 2, a: 3, c: 4 } } },
    { inputs: [{ shape: { a: 3, b: 2 } }], attributes: { shape: { b: 2, a: 3 } } },
  ],
};

/** Other names for axes. */
export const rename: Primitive<"rename"> = {
  op: "rename",
  type: ({ names }, [x]) => {
    for (const axis in names) needs("rename", x, axis);
    const renamed = axesOf(x.shape).map((axis) => names[axis] ?? axis);
    if (new Set(renamed).size !== renamed.length) {
      mistake("rename", `${JSON.stringify(names)} makes two axes alike in ${showShape(x.shape)}`);
    }
    return { shape: Object.fromEntries(axesOf(x.shape).map((axis, i) => [renamed[i], x.shape[axis]])), dtype: x.dtype };
  },
  vjp: (g, { attributes: { names } }) => [
    node("rename", [g], { names: Object.fromEntries(Object.entries(names).map(([from, to]) => [to, from])) }),
  ],
  jvp: linear,
  interpret: (_, [x]) => x.data,
  samples: [{ inputs: [{ shape: { a: 3, b: 2 } }], attributes: { names: { a: "c" } } }],
};

/** One axis seen as several. */
export const unflatten: Primitive<"unflatten"> = {
  op: "unflatten",
  type: ({ axis, sizes }, [x]) => {
    needs("unflatten", x, axis);
    if (sizeOf(sizes) !== x.shape[axis]) {
      mistake(
        "unflatten",
        `axis "${axis}" is ${x.shape[axis]}, but ${showShape(sizes)} multiplies to ${sizeOf(sizes)}`,
      );
    }
    for (const name in sizes) {
      if (name !== axis && name in x.shape) {
        mistake("unflatten", `axis "${name}" exists already in ${showShape(x.shape)}`);
      }
    }
    const shape: Record<string, number> = {};
    for (const name of axesOf(x.shape)) Object.assign(shape, name === axis ? sizes : { [name]: x.shape[name] });
    return { shape, dtype: x.dtype };
  },
  vjp: (g, { attributes: { axis, sizes }, inputs: [x] }) => [
    expandTo(node("flatten", [g], { axes: axesOf(sizes), axis }), x.shape),
  ],
  jvp: linear,
  interpret: (_, [x]) => x.data,
  samples: [{ inputs: [{ shape: { a: 6, b: 2 } }], attributes: { axis: "a", sizes: { c: 3, d: 2 } } }],
};

/** Several axes seen as one; it stands last. */
export const flatten: Primitive<"flatten"> = {
  op: "flatten",
  type: ({ axes, axis }, [x]) => {
    for (const name of axes) needs("flatten", x, name);
    const rest = without(x.shape, axes);
    if (axis in rest) mistake("flatten", `axis "${axis}" exists already in ${showShape(x.shape)}`);
    return { shape: { ...rest, [axis]: sizeOf(ordered(x.shape, axes)) }, dtype: x.dtype };
  },
  vjp: (g, { attributes: { axes, axis }, inputs: [x] }) => [
    expandTo(node("unflatten", [g], { axis, sizes: ordered(x.shape, axes) }), x.shape),
  ],
  jvp: linear,
  interpret: (self, [x]) => {
    const { axes } = self.attributes;
    const order: Shape = { ...without(x.shape, axes), ...ordered(x.shape, axes) };
    const out = fresh(order);
    loop(order, [along(order, order), along(order, x.shape)], ([o, a]) => out[o] = x.data[a]);
    return out;
  },
  samples: [
    { inputs: [{ shape: { a: 3, b: 2, c: 4 } }], attributes: { axes: ["b", "a"], axis: "d" } },
    { inputs: [{ shape: { a: 3, b: 2, c: 4 } }], attributes: { axes: ["b", "c"], axis: "d" } },
  ],
};

/** Elements start … stop − 1 of an axis. */
export const slice: Primitive<"slice"> = {
  op: "slice",
  type: ({ axis, start, stop }, [x]) => {
    needs("slice", x, axis);
    if (!(0 <= start && start <= stop && stop <= x.shape[axis])) {
      mistake("slice", `${start} … ${stop} is not within axis "${axis}", which has ${x.shape[axis]}`);
    }
    return { shape: { ...x.shape, [axis]: stop - start }, dtype: x.dtype };
  },
  vjp: (g, { attributes: { axis, start, stop }, inputs: [x] }) => [
    node("pad", [g], { axis, before: start, after: x.shape[axis] - stop }),
  ],
  jvp: linear,
  interpret: (self, [x]) => {
    const { axis, start } = self.attributes, out = fresh(self.shape), offset = stridesOf(x.shape)[axis] * start;
    loop(
      self.shape,
      [along(self.shape, self.shape), along(self.shape, x.shape)],
      ([o, a]) => out[o] = x.data[a + offset],
    );
    return out;
  },
  samples: [{ inputs: [{ shape: { a: 5, b: 3 } }], attributes: { axis: "a", start: 1, stop: 4 } }],
};

/** Zeros around an axis. */
export const pad: Primitive<"pad"> = {
  op: "pad",
  type: ({ axis, before, after }, [x]) => {
    needs("pad", x, axis);
    return { shape: { ...x.shape, [axis]: before + x.shape[axis] + after }, dtype: x.dtype };
  },
  vjp: (g, { attributes: { axis, before }, inputs: [x] }) => [
    node("slice", [g], { axis, start: before, stop: before + x.shape[axis] }),
  ],
  jvp: linear,
  interpret: (self, [x]) => {
    const { axis, before } = self.attributes, out = fresh(self.shape), offset = stridesOf(self.shape)[axis] * before;
    loop(x.shape, [along(x.shape, self.shape), along(x.shape, x.shape)], ([o, a]) => out[o + offset] = x.data[a]);
    return out;
  },
  samples: [{ inputs: [{ shape: { a: 2, b: 3 } }], attributes: { axis: "b", before: 1, after: 2 } }],
};

/** One after the other along an axis. */
export const concat: Primitive<"concat"> = {
  op: "concat",
  type: ({ axis }, inputs) => {
    const [first] = inputs, rest = without(first.shape, [axis]);
    for (const x of inputs) {
      needs("concat", x, axis);
      unite("concat", rest, without(x.shape, [axis]));
      if (missing(first.shape, x.shape).length + missing(x.shape, first.shape).length > 0) {
        mistake("concat", `operands ${showShape(first.shape)} and ${showShape(x.shape)} differ`);
      }
      if (x.dtype !== first.dtype) mistake("concat", `one operand is ${first.dtype}, another ${x.dtype}`);
    }
    const total = inputs.reduce((size, x) => size + x.shape[axis], 0);
    return { shape: { ...first.shape, [axis]: total }, dtype: first.dtype };
  },
  vjp: (g, { attributes: { axis }, inputs }) => {
    let start = 0;
    return inputs.map((x) => {
      const piece = node("slice", [g], { axis, start, stop: start + x.shape[axis] });
      start += x.shape[axis];
      return expandTo(piece, ordered(piece.shape, axesOf(x.shape)));
    });
  },
  jvp: (tangents, { attributes, inputs }) =>
    tangents.some((tangent) => tangent)
      ? node("concat", inputs.map((x, i) => orZero(tangents[i], x)), attributes)
      : null,
  interpret: (self, inputs) => {
    const { axis } = self.attributes, out = fresh(self.shape), stride = stridesOf(self.shape)[axis];
    let start = 0;
    for (const x of inputs) {
      const offset = start * stride;
      loop(x.shape, [along(x.shape, self.shape), along(x.shape, x.shape)], ([o, a]) => out[o + offset] = x.data[a]);
      start += x.shape[axis];
    }
    return out;
  },
  samples: [{ inputs: [{ shape: { a: 2, b: 3 } }, { shape: { b: 3, a: 4 } }], attributes: { axis: "a" } }],
};

/**
 * x with `value` (third input) written at a run-time start (second input, an int) along an axis. Where the start has
 * axes, each of their indices has its own.
 */
export const write: Primitive<"write"> = {
  op: "write",
  type: ({ axis }, [x, start, value]) => {
    needs("write", x, axis);
    needs("write", value, axis);
    unite("write", without(x.shape, [axis]), without(value.shape, [axis]));
    if (value.shape[axis] > x.shape[axis]) {
      mistake("write", `${value.shape[axis]} elements do not fit into axis "${axis}"`);
    }
    if (axis in start.shape || start.dtype !== "i32") mistake("write", `start must be i32, without axis "${axis}"`);
    if (axesOf(start.shape).some((name) => start.shape[name] !== value.shape[name])) {
      mistake("write", `start ${showShape(start.shape)} has axes that the value ${showShape(value.shape)} lacks`);
    }
    return { shape: x.shape, dtype: x.dtype };
  },
  vjp: (g, self) => {
    const { attributes: { axis }, inputs: [_, start, value] } = self;
    const position = node("iota", [], { axis, size: value.shape[axis] }), from = `${axis}'`;
    const index = expandTo(position, { [axis]: value.shape[axis], ...start.shape });
    const moved = node("add", [index, expandTo(start, index.shape)], {});
    const source = node("rename", [g], { names: { [axis]: from } });
    const taken = axesOf(start.shape).length === 0
      ? node("take", [source, moved], { axis: from })
      : pickedAlong(source, from, moved);
    return [node("write", [g, start, fill(0, value)], { axis }), null, expandTo(taken, value.shape)];
  },
  jvp: ([dx, _, dValue], { attributes, inputs: [x, start, value] }) =>
    dx || dValue ? node("write", [orZero(dx, x), start, orZero(dValue, value)], attributes) : null,
  interpret: (self, [x, start, value]) => {
    const { axis } = self.attributes, out = x.data.slice(), stride = stridesOf(x.shape)[axis];
    const room = x.shape[axis] - value.shape[axis], odd = start.data.find((at) => at < 0 || at > room);
    if (odd !== undefined) throw new RangeError(`write: start ${odd} leaves axis "${axis}"`);
    loop(
      value.shape,
      [x.shape, value.shape, start.shape].map((shape) => along(value.shape, shape)),
      ([o, a, i]) => out[o + stride * start.data[i]] = value.data[a],
    );
    return out;
  },
  samples: [
    {
      inputs: [
        { shape: { a: 5, b: 3 } },
        { shape: {}, dtype: "i32", range: [0, 3] },
        { shape: { b: 3, a: 2 } },
      ],
      attributes: { axis: "a" },
    },
    {
      inputs: [
        { shape: { c: 2, a: 5, b: 4 } },
        { shape: { b: 4 }, dtype: "i32", range: [0, 3] },
        { shape: { b: 4, a: 2, c: 2 } },
      ],
      attributes: { axis: "a" },
    },
  ],
};

/** x[axis = index], for an index that shares axes with x: Σ over the axis of where(iota = index, x, 0). */
function pickedAlong(x: Node, axis: string, index: Node): Node {
  const space = { ...index.shape, ...x.shape }, wide = expandTo(x, space);
  const place = expandTo(node("iota", [], { axis, size: x.shape[axis] }), space);
  return sum(where(node("equal", [expandTo(index, space), place], {}), wide, fill(0, wide)), [axis]);
}
