/** @file Kernels of the templates: products, grouped products, look-up gradients, top-k, sorting, writing in place. */
import { isHalf } from "../../../dsl/half.ts";
import { isOp, type Node } from "../../../dsl/node.ts";
import { memoryStrides } from "../../../dsl/primitives/tiled.ts";
import { axesOf, type Shape, sizeOf, stridesOf } from "../../../dsl/shape.ts";
import { registerType } from "../../../dsl/primitive.ts";
import type { ColumnAxis, DepthAxis, Kernel, LoopKernel, OperandTypes, RowAxis, StorageType } from "../kernel.ts";
import { stagesOf } from "./body.ts";
import { bytesOf } from "../place.ts";
import { type Operand, operandOf } from "../views.ts";

/** A kernel and the nodes behind its slots. */
export interface TemplateStep {
  readonly kernel: Kernel;
  readonly slots: readonly Node[];
}

type Strides = Readonly<Record<string, number>>;
interface Axis {
  readonly size: number;
  readonly strides: readonly number[];
}

const operand = (node: Node): Operand => {
  const found = operandOf(node);
  if (!found) throw new Error(`${node.op} is no operand: the program was not lowered`);
  return found;
};

/** Axes (slowest first by the first operand) with neighbours joined wherever every operand walks them as one. */
function join(shape: Shape, axes: readonly string[], operands: readonly Strides[]): Axis[] {
  const order = axes.filter((axis) => shape[axis] !== 1)
    .map((axis): Axis => ({ size: shape[axis], strides: operands.map((strides) => strides[axis] ?? 0) }))
    .sort((a, b) => b.strides[0] - a.strides[0] || (b.strides[1] ?? 0) - (a.strides[1] ?? 0));
  const joined: Axis[] = [];
  for (const axis of order) {
    const last = joined[joined.length - 1];
    if (last?.strides.every((stride, i) => stride === axis.strides[i] * axis.size)) {
      joined[joined.length - 1] = { size: last.size * axis.size, strides: axis.strides };
    } else joined.push(axis);
  }
  return joined;
}

/** The longest axis, and the others. */
function longest(axes: readonly Axis[], none: Axis): [Axis, Axis[]] {
  if (axes.length === 0) return [none, []];
  const best = axes.reduce((a, b) => (b.size > a.size ? b : a));
  return [best, axes.filter((axis) => axis !== best)];
}

function contract(node: Node<"contract">): TemplateStep {
  const a = operand(node.inputs[0]), b = operand(node.inputs[1]), c = memoryStrides(node), { over } = node.attributes;
  const has = (strides: Strides, axis: string): boolean => (strides[axis] ?? 0) !== 0;
  const kept = axesOf(node.shape);
  const rows = kept.filter((axis) => has(a.strides, axis) && !has(b.strides, axis));
  const columns = kept.filter((axis) => !has(a.strides, axis) && has(b.strides, axis));
  const both = kept.filter((axis) => !rows.includes(axis) && !columns.includes(axis));
  const none = { size: 1, strides: [0, 0, 0] };
  const [m, moreRows] = longest(join(node.shape, rows, [c, a.strides]), none);
  const [n, moreColumns] = longest(join(node.shape, columns, [c, b.strides]), none);
  const depth = join(node.inputs[0].shape, over, [a.strides, b.strides]);
  const [inner, outer] = longest(depth, none);
  return {
    kernel: {
      kind: "contract",
      batch: [
        ...join(node.shape, both, [c, a.strides, b.strides]).map(({ size, strides }) => ({
          size,
          a: strides[1],
          b: strides[2],
          c: strides[0],
        })),
        ...moreRows.map(({ size, strides }) => ({ size, a: strides[1], b: 0, c: strides[0] })),
        ...moreColumns.map(({ size, strides }) => ({ size, a: 0, b: strides[1], c: strides[0] })),
      ],
      m: { size: m.size, a: m.strides[1], c: m.strides[0] },
      n: { size: n.size, b: n.strides[1], c: n.strides[0] },
      k: [...outer, inner].map(({ size, strides }) => ({ size, a: strides[0], b: strides[1] })),
      offsets: { a: a.offset, b: b.offset, c: 0 },
      ...(node.attributes.into?.accumulate && { accumulate: true }),
      ...typesOf(a, b),
    },
    slots: [a.base, b.base, node],
  };
}

/** How two operands are stored, as a kernel says it. */
function typesOf(a: Operand, b: Operand): { types?: OperandTypes } {
  const [first, second] = [a.base.dtype, b.base.dtype];
  if (!isHalf(first) && !isHalf(second)) return {};
  return { types: { ...(isHalf(first) && { a: first }), ...(isHalf(second) && { b: second }) } };
}

/** The one stride of axes that must be walkable as one. */
function single(what: string, axes: readonly Axis[], operands: number): Axis {
  if (axes.length > 1) throw new Error(`grouped contraction: the ${what} axes do not lie together in memory`);
  return axes[0] ?? { size: 1, strides: new Array(operands).fill(0) };
}

function contractAt(node: Node<"contractAt">): TemplateStep {
  const [x, w, index, order] = node.inputs, { axis, over } = node.attributes;
  const a = operand(x), b = operand(w), c = stridesOf(node.shape);
  const positions = axesOf(index.shape).map((name): RowAxis => ({
    size: index.shape[name],
    a: a.strides[name] ?? 0,
    c: c[name] ?? 0,
  }));
  const free = axesOf(w.shape).filter((name) => name !== axis && !over.includes(name) && !(name in index.shape));
  const k = single("summed", join(w.shape, over, [b.strides, a.strides]), 2);
  const n = single("free", join(w.shape, free, [b.strides, c]), 2);
  return {
    kernel: {
      kind: "grouped",
      groups: w.shape[axis],
      positions,
      k: { size: k.size, a: k.strides[1], b: k.strides[0] } satisfies DepthAxis,
      n: { size: n.size, b: n.strides[0], c: n.strides[1] } satisfies ColumnAxis,
      group: b.strides[axis],
      offsets: { a: a.offset, b: b.offset, c: 0 },
      ...typesOf(a, b),
    },
    slots: [a.base, b.base, order, node],
  };
}

function contractInto(node: Node<"contractInto">): TemplateStep {
  const [x, y, index, order] = node.inputs, { axis, size } = node.attributes;
  const a = operand(x), b = operand(y), c = stridesOf(node.shape);
  const free = (each: Node): string[] => axesOf(each.shape).filter((name) => name in node.shape && name !== axis);
  const m = single("row", join(x.shape, free(x), [a.strides, c]), 2);
  const n = single("column", join(y.shape, free(y), [b.strides, c]), 2);
  return {
    kernel: {
      kind: "groupedInto",
      groups: size,
      positions: axesOf(index.shape).map((name) => ({
        size: index.shape[name],
        a: a.strides[name] ?? 0,
        b: b.strides[name] ?? 0,
      })),
      m: { size: m.size, a: m.strides[0], c: m.strides[1] },
      n: { size: n.size, b: n.strides[0], c: n.strides[1] },
      group: c[axis],
      offsets: { a: a.offset, b: b.offset, c: 0 },
      ...typesOf(a, b),
    },
    slots: [a.base, b.base, order, node],
  };
}

function scatter(node: Node<"scatter">): TemplateStep {
  const [x, index] = node.inputs, { axis, size } = node.attributes, b = operand(x), c = stridesOf(node.shape);
  const columns = axesOf(x.shape).filter((name) => !(name in index.shape));
  return {
    kernel: {
      kind: "scatter",
      groups: size,
      positions: axesOf(index.shape).map((name) => ({ size: index.shape[name], b: b.strides[name] ?? 0 })),
      columns: join(x.shape, columns, [c, b.strides]).map(({ size, strides }) => ({
        size,
        b: strides[1],
        c: strides[0],
      })),
      group: c[axis],
      offsets: { b: b.offset, c: 0 },
    },
    slots: [b.base, index, node],
  };
}

function topk(node: Node<"topk">): TemplateStep {
  const [x] = node.inputs, { axis, slot, count } = node.attributes, a = operand(x), c = stridesOf(node.shape);
  const rows = axesOf(x.shape).filter((name) => name !== axis);
  return {
    kernel: {
      kind: "topk",
      rows: join(x.shape, rows, [c, a.strides]).map(({ size, strides }) => ({ size, a: strides[1], c: strides[0] })),
      axis: { size: x.shape[axis], a: a.strides[axis] },
      slots: { size: count, c: c[slot] },
      offsets: { a: a.offset, c: 0 },
    },
    slots: [a.base, node],
  };
}

/** The written part as a loop over the value; where x lies elsewhere, a copy of it comes first. */
function write(node: Node<"write">, inPlace: boolean): TemplateStep[] {
  const [x, start, value] = node.inputs, { axis } = node.attributes, from = operand(value), to = stridesOf(node.shape);
  const axes = axesOf(value.shape), type = registerType(node.dtype), dtype = node.dtype as StorageType;
  const starts = stridesOf(start.shape);
  const body: LoopKernel["body"] = [
    {
      op: "load",
      type: "i32",
      access: { slot: 1, dtype: "i32", offset: 0, strides: axes.map((name) => starts[name] ?? 0) },
    },
    {
      op: "load",
      type,
      access: { slot: 0, dtype, offset: from.offset, strides: axes.map((name) => from.strides[name]) },
    },
    {
      op: "store",
      type,
      a: 1,
      access: {
        slot: 2,
        dtype,
        offset: 0,
        strides: axes.map((name) => to[name]),
        gather: { register: 0, stride: to[axis], size: x.shape[axis] - value.shape[axis] + 1 },
      },
    },
  ];
  const sizes = axes.map((name) => value.shape[name]);
  const loop: LoopKernel = {
    kind: "loop",
    sizes,
    outer: sizes.length,
    lanes: "outer",
    body,
    stages: stagesOf(body, sizes.length),
  };
  const steps: TemplateStep[] = inPlace ? [] : [{ kernel: { kind: "copy", words: bytesOf(x) / 4 }, slots: [x, node] }];
  return [...steps, { kernel: loop, slots: [from.base, start, node] }];
}

/** The steps of a template. `inPlace`: the result of a `write` lies in the memory of its first input. */
export function templateSteps(node: Node, inPlace: boolean): TemplateStep[] {
  if (isOp(node, "contract")) return [contract(node)];
  if (isOp(node, "contractAt")) return [contractAt(node)];
  if (isOp(node, "contractInto")) return [contractInto(node)];
  if (isOp(node, "scatter")) return [scatter(node)];
  if (isOp(node, "topk")) return [topk(node)];
  if (isOp(node, "write")) return write(node, inPlace);
  if (isOp(node, "order")) {
    const [index] = node.inputs;
    return [{
      kernel: { kind: "order", groups: node.attributes.groups, positions: sizeOf(index.shape) },
      slots: [index, node],
    }];
  }
  throw new Error(`${node.op} has no template`);
}
