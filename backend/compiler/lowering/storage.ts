/** @file Where templates find their operands: strided memory, a node's own memory, axes that lie together. */
import { expand, node as make, ordered, primitiveOf } from "../../../dsl/build.ts";
import { isHalf } from "../../../dsl/half.ts";
import { isOp, type Node } from "../../../dsl/node.ts";
import { type Shape, without } from "../../../dsl/shape.ts";
import { isAffineView, isView, operandOf } from "../views.ts";

/** x in memory of its own. */
export const copy = (x: Node): Node => make("copy", [x], {});

/** x, or a copy of it where no strided memory holds it. */
export const stored = (x: Node): Node => operandOf(x) ? x : copy(x);

/** x as 16-bit storage has it, if x is that widened to f32 (and seen through views); else x. */
export function narrow(x: Node): Node {
  if (isOp(x, "cast") && x.dtype === "f32" && isHalf(x.inputs[0].dtype)) return x.inputs[0];
  if (!isAffineView(x)) return x;
  const [inner, ...rest] = x.inputs, found = narrow(inner);
  return found === inner ? x : make(x.op, [found, ...rest], x.attributes);
}

/** Operands of a product: 16-bit ones as they are stored, products widen them on the way. */
export function operands(xs: readonly Node[]): { nodes: readonly Node[]; wide?: { wide: true } } {
  const nodes = xs.map(narrow).map(stored);
  return { nodes, ...(nodes.some(({ dtype }) => isHalf(dtype)) && { wide: { wide: true } }) };
}

/** x as a node of its own memory, in the order of its shape. */
export const contiguous = (x: Node): Node =>
  isView(x) || x.op === "constant" || x.op === "iota" || x.op === "window" ? copy(x) : x;

/**
 * Several axes of x as one, the fastest. What is cheap to compute might be computed where it is needed and never stored,
 * but a flatten reads memory: an elementwise x is copied (in the kernel that computes it).
 */
export function flattened(x: Node, axes: readonly string[], axis: string): Node {
  const inOrder = expand(x, last(x.shape, axes));
  return make("flatten", [primitiveOf(inOrder.op).elementwise ? copy(inOrder) : contiguous(inOrder)], { axes, axis });
}

/** x, or a copy of it, in memory where each of these groups of axes is walked with one stride, in its order. */
export function packed(x: Node, ...groups: readonly (readonly string[])[]): Node {
  const strides = operandOf(x)?.strides;
  const together = (axes: readonly string[]): boolean => {
    const long = axes.filter((axis) => x.shape[axis] !== 1);
    return long.slice(1).every((axis, i) => strides![long[i]] === strides![axis] * x.shape[axis]);
  };
  if (strides && groups.every(together)) return x;
  return copy(expand(x, groups.reduce((shape, axes) => last(shape, axes), x.shape)));
}

/** The shape with these axes last, in this order. */
const last = (shape: Shape, axes: readonly string[]): Shape => ({ ...without(shape, axes), ...ordered(shape, axes) });
