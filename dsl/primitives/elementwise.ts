/** @file What elementwise primitives share: records of one and of two operands, from what is particular to each. */
import { type Attributes, mistake, type NoAttributes, type Node, type Op } from "../node.ts";
import type { BinaryOp, Builder, Primitive, Sample, UnaryOp } from "../primitive.ts";
import { sameAxes, showShape } from "../shape.ts";
import type { DType } from "../tensor.ts";
import { along, fresh, loop } from "./loop.ts";
import { plus } from "./tangents.ts";

/** Primitives without attributes. */
type Plain = { [O in Op]: NoAttributes extends Attributes[O] ? O : never }[Op];

/** What is particular to a primitive of one operand. */
export interface UnaryDefinition<O extends Plain> {
  readonly op: O;
  readonly interpret: (x: number, dtype: DType) => number;
  /**
   * A change of x times the derivative, from the change, x and the result; absent: none flows. One element depends on
   * one element, so that tangents and cotangents are multiplied by the same number.
   */
  readonly change?: (change: Node, x: Node, out: Node) => Node;
  /** An instruction that devices have, or a body of other ones. */
  readonly lower: UnaryOp | ((build: Builder, x: number) => number);
  /** What samples are drawn from; `further` are ranges where the value matters, but not the slope by differences. */
  readonly range: readonly [number, number];
  readonly further?: readonly (readonly [number, number])[];
}

/** An elementwise primitive of one operand. */
export function unary<O extends Plain>(definition: UnaryDefinition<O>): Primitive<O> {
  const { op, interpret, change, lower, range, further = [] } = definition, attributes = {} as Attributes[O];
  return {
    op,
    elementwise: true,
    type: (_, [x]) => ({ shape: x.shape, dtype: x.dtype }),
    vjp: (cotangent, self) => [change ? change(cotangent, self.inputs[0], self as unknown as Node) : null],
    jvp: ([tangent], self) => tangent && change ? change(tangent, self.inputs[0], self as unknown as Node) : null,
    interpret: ({ dtype }, [x]) => x.data.map((value) => interpret(value, dtype)),
    lower: (build, [x]) => typeof lower === "string" ? build.unary(lower, x) : lower(build, x),
    samples: [
      { inputs: [{ shape: { a: 3, b: 5 }, range }], attributes, valuesOnly: !change },
      { inputs: [{ shape: {}, range }], attributes, valuesOnly: !change },
      ...further.map((range) => ({ inputs: [{ shape: { a: 500 }, range }], attributes, valuesOnly: true })),
    ],
  };
}

/** Operands of an elementwise operation: same axes, same storage. */
export function alike(op: string, x: Node, y: Node, storage = true): void {
  if (!sameAxes(x.shape, y.shape)) {
    mistake(op, `operands ${showShape(x.shape)} and ${showShape(y.shape)} differ`);
  }
  if (storage && x.dtype !== y.dtype) mistake(op, `one operand is ${x.dtype}, the other ${y.dtype}; cast one of them`);
}

/** What is particular to a primitive of two operands. */
export interface BinaryDefinition<O extends Plain> {
  readonly op: O;
  readonly interpret: (x: number, y: number, dtype: DType) => number;
  readonly lower: BinaryOp;
  /** A change times the derivative by x, and by y; the same for tangents and cotangents. Absent: none flows. */
  readonly change?: readonly [
    byX: (change: Node, x: Node, y: Node) => Node,
    byY: (change: Node, x: Node, y: Node) => Node,
  ];
  /** Storage of the result, where it is another one. */
  readonly result?: DType;
  /** Storage of the samples. */
  readonly dtypes: readonly DType[];
  /** Defined for no other storage than that: bits are not of reals. */
  readonly discrete?: boolean;
  readonly range?: readonly [number, number];
}

/** An elementwise primitive of two operands of the same axes and storage. */
export function binary<O extends Plain>(definition: BinaryDefinition<O>): Primitive<O> {
  const { op, interpret, lower, change, result, dtypes, discrete = false, range = [-4, 4] } = definition;
  const attributes = {} as Attributes[O];
  return {
    op,
    elementwise: true,
    type: (_, [x, y]) => {
      alike(op, x, y);
      if (discrete && !dtypes.includes(x.dtype)) mistake(op, `its operands are ${x.dtype}, not ${dtypes.join(" or ")}`);
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
    lower: (build, [x, y]) => build.binary(lower, x, y),
    samples: dtypes.map((dtype): Sample<O> => {
      const drawn = dtype === "u32" ? [0, 2 ** 32 - 1] as const : range;
      return {
        inputs: [{ shape: { a: 3, b: 5 }, dtype, range: drawn }, { shape: { b: 5, a: 3 }, dtype, range: drawn }],
        attributes,
        valuesOnly: !change || dtype !== "f32",
      };
    }),
  };
}

/** A whole number as 32 bits hold it: what is beyond wraps around. Reals stay. */
export const wrapped = (x: number, dtype: DType): number => dtype === "i32" ? x | 0 : dtype === "u32" ? x >>> 0 : x;

/** c₀ + c₁·x + c₂·x² + …, by Horner's rule. Coefficients as they are published: f32 rounds them. */
export function polynomial(build: Builder, x: number, coefficients: readonly number[]): number {
  const [highest, ...lower] = coefficients.toReversed().map((coefficient) => build.constant(coefficient, "f32"));
  return lower.reduce((sum, coefficient) => build.binary("add", build.binary("mul", sum, x), coefficient), highest);
}
