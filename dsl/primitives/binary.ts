/** @file Elementwise primitives of two and three operands, all of the same axes. */
import { fill, mul as times, node, where as choose } from "../build.ts";
import { mistake, type NoAttributes, type Node } from "../node.ts";
import type { Primitive } from "../primitive.ts";
import { alike, binary, wrapped } from "./elementwise.ts";
import { along, fresh, loop } from "./loop.ts";
import { orZero } from "./tangents.ts";

/** Attributes of operations of several operands: none. */
export interface BinaryAttributes {
  add: NoAttributes;
  mul: NoAttributes;
  maximum: NoAttributes;
  less: NoAttributes;
  equal: NoAttributes;
  and: NoAttributes;
  or: NoAttributes;
  xor: NoAttributes;
  shl: NoAttributes;
  shr: NoAttributes;
  where: NoAttributes;
}

/** x + y; integers wrap around. */
export const add = binary({
  op: "add",
  interpret: (x, y, dtype) => wrapped(x + y, dtype),
  lower: "add",
  change: [(d) => d, (d) => d],
  dtypes: ["f32", "i32", "u32"],
});
/** x · y; integers wrap around. */
export const mul = binary({
  op: "mul",
  interpret: (x, y, dtype) => dtype === "i32" || dtype === "u32" ? wrapped(Math.imul(x, y), dtype) : x * y,
  lower: "mul",
  change: [(d, _, y) => times(d, y), (d, x) => times(d, x)],
  dtypes: ["f32", "i32", "u32"],
});
const isSecond = (x: Node, y: Node): Node => node("less", [x, y], {});

/** The larger one; where both are equal the first one counts for the gradient. */
export const maximum = binary({
  op: "maximum",
  interpret: (x, y) => Math.max(x, y),
  lower: "max",
  change: [
    (d, x, y) => choose(isSecond(x, y), fill(0, d), d),
    (d, x, y) => choose(isSecond(x, y), d, fill(0, d)),
  ],
  dtypes: ["f32", "i32", "u32"],
});
/** x < y. */
export const less = binary({
  op: "less",
  interpret: (x, y) => Number(x < y),
  lower: "less",
  result: "bool",
  dtypes: ["f32", "i32", "u32"],
});
/** x = y. */
export const equal = binary({
  op: "equal",
  interpret: (x, y) => Number(x === y),
  lower: "equal",
  result: "bool",
  dtypes: ["f32", "i32", "u32"],
});
/** Both: of bools, or bit by bit of whole numbers. */
export const and = binary({
  op: "and",
  interpret: (x, y, dtype) => wrapped(x & y, dtype),
  lower: "and",
  dtypes: ["bool", "i32", "u32"],
  discrete: true,
});
/** Either: of bools, or bit by bit of whole numbers. */
export const or = binary({
  op: "or",
  interpret: (x, y, dtype) => wrapped(x | y, dtype),
  lower: "or",
  dtypes: ["bool", "i32", "u32"],
  discrete: true,
});
/** Exactly one of both: of bools, or bit by bit of whole numbers. */
export const xor = binary({
  op: "xor",
  interpret: (x, y, dtype) => wrapped(x ^ y, dtype),
  lower: "xor",
  dtypes: ["bool", "i32", "u32"],
  discrete: true,
});
/** The bits of x moved up by y (its lowest five bits count); zeros follow. */
export const shl = binary({
  op: "shl",
  interpret: (x, y, dtype) => wrapped(x << y, dtype),
  lower: "shl",
  dtypes: ["i32", "u32"],
  discrete: true,
});
/** The bits of x moved down by y (its lowest five bits count); zeros follow, also where x is negative. */
export const shr = binary({
  op: "shr",
  interpret: (x, y, dtype) => wrapped(x >>> y, dtype),
  lower: "shr",
  dtypes: ["i32", "u32"],
  discrete: true,
});

/** The second operand where the first is true, else the third. */
export const where: Primitive<"where"> = {
  op: "where",
  elementwise: true,
  type: (_, [condition, x, y]) => {
    alike("where", x, y);
    alike("where", x, condition, false);
    if (condition.dtype !== "bool") mistake("where", `the condition is ${condition.dtype}, not bool`);
    return { shape: x.shape, dtype: x.dtype };
  },
  vjp: (g, { inputs: [condition] }) => [null, choose(condition, g, fill(0, g)), choose(condition, fill(0, g), g)],
  jvp: ([_, dx, dy], { inputs: [condition, x, y] }) =>
    dx || dy ? choose(condition, orZero(dx, x), orZero(dy, y)) : null,
  interpret: (self, [condition, x, y]) => {
    const out = fresh(self.shape);
    loop(
      self.shape,
      [self.shape, condition.shape, x.shape, y.shape].map((shape) => along(self.shape, shape)),
      ([o, c, a, b]) => out[o] = condition.data[c] ? x.data[a] : y.data[b],
    );
    return out;
  },
  lower: (build, [condition, x, y]) => build.select(condition, x, y),
  samples: [{
    inputs: [{ shape: { a: 4, b: 3 }, dtype: "bool" }, { shape: { a: 4, b: 3 } }, { shape: { b: 3, a: 4 } }],
    attributes: {},
  }],
};
