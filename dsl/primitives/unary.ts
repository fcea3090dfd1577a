/** @file Elementwise primitives of one operand. */
import { add, cast as castTo, fill, mul, neg as negate, node, recip as reciprocal, scale } from "../build.ts";
import type { Attributes, Node, Op } from "../node.ts";
import { isReal, type Primitive, registerType, type Sample, type UnaryOp } from "../primitive.ts";
import { linear, still } from "./tangents.ts";

/** The primitives that `unary` makes. */
type Unary = Extract<Op, "neg" | "exp" | "log" | "recip" | "sqrt" | "sin" | "cos" | "tanh" | "erf" | "floor">;

interface Definition<O extends Unary> {
  readonly op: O;
  readonly interpret: (x: number) => number;
  /**
   * A change of x times the derivative, from the change, x and the result; absent: none flows. One element depends on
   * one element, so that tangents and cotangents are multiplied by the same number.
   */
  readonly change?: (change: Node, x: Node, out: Node) => Node;
  readonly instruction?: UnaryOp;
  readonly range: readonly [number, number];
  readonly samples?: readonly Sample<O>[];
}

function unary<O extends Unary>(definition: Definition<O>): Primitive<O> {
  const { op, interpret, change, instruction, range, samples = [] } = definition, none = {} as Attributes[O];
  return {
    op,
    type: (_, [x]) => ({ shape: x.shape, dtype: x.dtype }),
    vjp: (cotangent, self) => [change ? change(cotangent, self.inputs[0], self as unknown as Node) : null],
    jvp: ([tangent], self) => tangent && change ? change(tangent, self.inputs[0], self as unknown as Node) : null,
    interpret: (_, [x]) => x.data.map(interpret),
    lower: (build, [x]) => build.unary(instruction ?? op, x),
    samples: [
      { inputs: [{ shape: { a: 3, b: 5 }, range }], attributes: none, valuesOnly: !change },
      { inputs: [{ shape: {}, range }], attributes: none, valuesOnly: !change },
      ...samples,
    ],
  };
}

/** −x. */
export const neg = unary({ op: "neg", interpret: (x) => -x, change: (d) => negate(d), range: [-2, 2] });
/** e to the power of x. */
export const exp = unary({ op: "exp", interpret: Math.exp, change: (d, _, out) => mul(d, out), range: [-9, 9] });
/** Natural logarithm. */
export const log = unary({
  op: "log",
  interpret: Math.log,
  change: (d, x) => mul(d, reciprocal(x)),
  range: [0.01, 50],
});
/** 1 / x. */
export const recip = unary({
  op: "recip",
  interpret: (x) => 1 / x,
  change: (d, _, out) => negate(mul(d, mul(out, out))),
  range: [0.1, 9],
});
/** Square root. */
export const sqrt = unary({
  op: "sqrt",
  interpret: Math.sqrt,
  change: (d, _, out) => mul(d, reciprocal(scale(out, 2))),
  range: [0.1, 9],
});
/** Sine of an angle in radians. */
export const sin = unary({
  op: "sin",
  interpret: Math.sin,
  change: (d, x) => mul(d, node("cos", [x], {})),
  range: [-9, 9],
});
/** Cosine of an angle in radians. */
export const cos = unary({
  op: "cos",
  interpret: Math.cos,
  change: (d, x) => negate(mul(d, node("sin", [x], {}))),
  range: [-9, 9],
});
/** Hyperbolic tangent. */
export const tanh = unary({
  op: "tanh",
  interpret: Math.tanh,
  change: (d, _, out) => mul(d, add(fill(1, out), negate(mul(out, out)))),
  range: [-3, 3],
});
/** Error function. */
export const erf = unary({
  op: "erf",
  interpret: errorFunction,
  change: (d, x) => mul(d, scale(node("exp", [negate(mul(x, x))], {}), 2 / Math.sqrt(Math.PI))),
  range: [-3, 3],
});
/** Largest whole number that is not larger. Its gradient is zero. */
export const floor = unary({ op: "floor", interpret: Math.floor, range: [-5, 5] });

/** not x, of bools. */
export const not: Primitive<"not"> = {
  op: "not",
  type: (_, [x]) => ({ shape: x.shape, dtype: x.dtype }),
  vjp: () => [null],
  jvp: still,
  interpret: (_, [x]) => x.data.map((v) => (v ? 0 : 1)),
  lower: (build, [x]) => build.unary("not", x),
  samples: [{ inputs: [{ shape: { a: 9 }, dtype: "bool" }], attributes: {} }],
};

/**
 * Another storage type. Real to integer truncates and saturates (NaN is 0), i32 and u32 keep each other's bits. Between
 * reals the cotangent is cast back; to and from integers none flows.
 */
export const cast: Primitive<"cast"> = {
  op: "cast",
  type: ({ dtype }, [x]) => ({ shape: x.shape, dtype }),
  vjp: (cotangent, self) => [
    isReal(self.inputs[0]) && isReal(self as unknown as Node) ? castTo(cotangent, self.inputs[0].dtype) : null,
  ],
  jvp: ([tangent], { dtype }) => tangent && registerType(dtype) === "f32" ? castTo(tangent, dtype) : null,
  interpret: ({ attributes: { dtype }, inputs: [{ dtype: from }] }, [x]) => {
    if (dtype === "bool") return x.data.map((v) => (v !== 0 ? 1 : 0));
    if (dtype !== "i32" && dtype !== "u32") return x.data;
    if (from === "i32" || from === "u32") return x.data.map((v) => dtype === "i32" ? v | 0 : v >>> 0);
    const [least, most] = dtype === "i32" ? [-(2 ** 31), 2 ** 31 - 1] : [0, 2 ** 32 - 1];
    return x.data.map((v) => Math.min(most, Math.max(least, Math.trunc(v))) || 0);
  },
  lower: (build, [x], { attributes: { dtype } }) => build.cast(x, registerType(dtype)),
  samples: [
    { inputs: [{ shape: { a: 9 }, range: [-9, 9] }], attributes: { dtype: "i32" }, valuesOnly: true },
    { inputs: [{ shape: { a: 9 }, dtype: "i32", range: [-9, 9] }], attributes: { dtype: "f32" }, valuesOnly: true },
    { inputs: [{ shape: { a: 9 }, dtype: "bool" }], attributes: { dtype: "f32" }, valuesOnly: true },
  ],
};

/** x; no gradient flows through it. */
export const stop: Primitive<"stop"> = {
  op: "stop",
  type: (_, [x]) => ({ shape: x.shape, dtype: x.dtype }),
  vjp: () => [null],
  jvp: still,
  interpret: (_, [x]) => x.data,
  lower: (_, [x]) => x,
  samples: [{ inputs: [{ shape: { a: 3 } }], attributes: {}, valuesOnly: true }],
};

/** x, computed only after the other inputs are: keeps recomputation where checkpoint put it. */
export const barrier: Primitive<"barrier"> = {
  op: "barrier",
  type: (_, [x]) => ({ shape: x.shape, dtype: x.dtype }),
  vjp: (cotangent, self) => self.inputs.map((_, i) => (i === 0 ? cotangent : null)),
  jvp: linear,
  interpret: (_, [x]) => x.data,
  lower: (_, [x]) => x,
  samples: [{ inputs: [{ shape: { a: 3 } }], attributes: {} }],
};

/** x in memory of its own. */
export const copy: Primitive<"copy"> = {
  op: "copy",
  type: (_, [x]) => ({ shape: x.shape, dtype: x.dtype }),
  vjp: (cotangent) => [cotangent],
  jvp: ([tangent]) => tangent,
  interpret: (_, [x]) => x.data,
  lower: (_, [x]) => x,
  samples: [{ inputs: [{ shape: { a: 3, b: 2 } }], attributes: {} }],
};

/** erf in f64: a Maclaurin series near zero, a continued fraction of erfc further out. */
export function errorFunction(x: number): number {
  const size = Math.abs(x);
  if (Number.isNaN(x)) return NaN;
  if (size > 6) return Math.sign(x);
  if (size < 2.5) {
    let term = x, total = x;
    for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(total) && n < 200; n++) {
      term *= -x * x / n;
      total += term / (2 * n + 1);
    }
    return total * 2 / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let k = 60; k > 0; k--) fraction = k / 2 / (size + fraction);
  return Math.sign(x) * (1 - Math.exp(-x * x) / ((size + fraction) * Math.sqrt(Math.PI)));
}
