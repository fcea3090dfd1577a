/** @file What forward rules share. A null tangent is zero. */
import { add, fill, node } from "../build.ts";
import type { Node, Op } from "../node.ts";
import type { Tangents } from "../primitive.ts";

/** The rule of a primitive that is linear in its first input and has no tangent from others: itself. */
export const linear = <O extends Op>([tangent]: Tangents, { op, attributes, inputs }: Node<O>): Node | null =>
  tangent && node(op, [tangent, ...inputs.slice(1)], attributes);

/** The rule of a product, which is linear in either of its first two inputs; the others are indices. */
export const bilinear = <O extends Op>([dx, dy]: Tangents, { op, attributes, inputs }: Node<O>): Node | null => {
  const [x, y, ...indices] = inputs;
  return plus(dx && node(op, [dx, y, ...indices], attributes), dy && node(op, [x, dy, ...indices], attributes));
};

/** The rule of a primitive through which nothing flows. */
export const still = (): null => null;

/** The sum of two tangents. */
export const plus = (x: Node | null, y: Node | null): Node | null => x && y ? add(x, y) : x ?? y;

/** A tangent, written out where it is zero. */
export const orZero = (tangent: Node | null, like: Node): Node => tangent ?? fill(0, like);
