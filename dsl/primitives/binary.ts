/** @file Elementwise primitives of two and three operands, all of the same axes. */
import { fill, mul as times, node, where as choose } from "../build.ts";
import { type Attributes, mistake, type Node, type Op } from "../node.ts";
import { type BinaryOp, type Primitive, type Sample } from "../primitive.ts";
import { sameAxes, showShape } from "../shape.ts";
import type { DType } from "../tensor.ts";
import { along, fresh, loop } from "./loop.ts";
import { orZero, plus } from "./tangents.ts";

type Binary = Extract<Op, "add" | "mul" | "maximum" | "less" | "equal" | "and" | "or">;

/** Operands of an elementwise operation: same axes, same storage. */
export function alike(op: string, x: Node, y: Node, storage = true): void {
  if (!sameAxes(x.shape, y.shape)) {
    mistake(op, `operands ${showShape(x.shape)} and ${showShape(y.shape)} differ`);
  }
  if (storage && x.dtype !== y.dtype) mistake(op, `one operand is ${x.dtype}, the other ${y.dtype}; cast one of them`);
}

interface Definition<O extends Binary> {
  readonly op: O;
  readonly interpret: (x: number, y: number, dtype: DType) => number;
  readonly instruction: BinaryOp;
  /** A change times the derivative by x, and by y; the same for tangents and cotangents. Absent: none flows. */
  readonly change?: readonly [
    byX: (change: Node, x: Node, y: Node) => Node,
    byY: (change: Node, x: Node, y: Node) => Node,
  ];
  readonly result?: DType;
  readonly dtypes: readonly DType[];
}

function binary<O extends Binary>(definition: Definition<O>): Primitive<O> {
  const { op, interpret, instruction, change, result, dtypes } = definition, none = {} as Attributes[O];
  return {
    op,
    type: (_, [x, y]) => {
      alike(op, x, y);
      return { shape: x.shape, dtype: result ?? x.dtype };
    },
    vjp: (cotangent, { inputs: [x, y] }) => change ? change.map((by) => by(cotangent, x, y)) : [null, null],
    jvp: ([dx, dy], { inputs: [x, y] }) => change ? plus(dx && change[0](dx, x, y), dy && change[1](dy, x, y)) : null,
    interpret: (self, [x, y]) => {
      const out = fresh(self.shape), dtype = self.inputs[0].dtype;
      loop(
        self.shape,
        [along(self.shape, self.shape), along(self.shape, x.shape), along(self.shape, y.shape)],
        ([o, a, b]) => out[o] = interpret(x.data[a], y.data[b], dtype),
      );
      return out;
    },
    lower: (build, [x, y]) => build.binary(instruction, x, y),
    samples: dtypes.flatMap((dtype): Sample<O>[] => [
      {
        inputs: [{ shape: { a: 3, b: 5 }, dtype, range: [-4, 4] }, { shape: { b: 5, a: 3 }, dtype, range: [-4, 4] }],
        attributes: none,
        valuesOnly: !change || dtype !== "f32",
      },
    ]),
  };
}

const integer = (x: number, dtype: DType): number => dtype === "i32" ? x | 0 : dtype === "u32" ? x >>> 0 : x;

/** x + y; integers wrap around. */
export const add = binary({
  op: "add",
  interpret: (x, y, dtype) => integer(x + y, dtype),
  instruction: "add",
  change: [(d) => d, (d) => d],
  dtypes: ["f32", "i32"],
});
/** x · y; integers wrap around. */
export const mul = binary({
  op: "mul",
  interpret: (x, y, dtype) => dtype === "i32" || dtype === "u32" ? integer(Math.imul(x, y), dtype) : x * y,
  instruction: "mul",
  change: [(d, _, y) => times(d, y), (d, x) => times(d, x)],
  dtypes: ["f32", "i32"],
});
const isSecond = (x: Node, y: Node): Node => node("less", [x, y], {});

/** The larger one; where both are equal the first one counts for the gradient. */
export const maximum = binary({
  op: "maximum",
  interpret: (x, y) => Math.max(x, y),
  instruction: "max",
  change: [
    (d, x, y) => choose(isSecond(x, y), fill(0, d), d),
    (d, x, y) => choose(isSecond(x, y), d, fill(0, d)),
  ],
  dtypes: ["f32", "i32"],
});
/** x < y. */
export const less = binary({
  op: "less",
  interpret: (x, y) => Number(x < y),
  instruction: "less",
  result: "bool",
  dtypes: ["f32", "i32"],
});
/** x = y. */
export const equal = binary({
  op: "equal",
  interpret: (x, y) => Number(x === y),
  instruction: "equal",
  result: "bool",
  dtypes: ["f32", "i32"],
});
/** x and y, of bools. */
export const and = binary({ op: "and", interpret: (x, y) => x && y ? 1 : 0, instruction: "and", dtypes: ["bool"] });
/** x or y, of bools. */
export const or = binary({ op: "or", interpret: (x, y) => x || y ? 1 : 0, instruction: "or", dtypes: ["bool"] });

/** The second operand where the first is true, else the third. */
export const where: Primitive<"where"> = {
  op: "where",
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
