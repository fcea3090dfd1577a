/** @file Elementwise primitives of one operand. */
import { add, cast as castTo, fill, mul, neg as negate, node, recip as reciprocal, scale } from "../build.ts";
import type { NoAttributes, Node } from "../node.ts";
import { isReal, type Primitive, registerType } from "../primitive.ts";
import type { DType } from "../tensor.ts";
import { unary, wrapped } from "./elementwise.ts";
import { linear, still } from "./tangents.ts";

/** Attributes of operations of one operand. */
export interface UnaryAttributes {
  neg: NoAttributes;
  exp: NoAttributes;
  log: NoAttributes;
  recip: NoAttributes;
  sqrt: NoAttributes;
  sin: NoAttributes;
  cos: NoAttributes;
  tanh: NoAttributes;
  floor: NoAttributes;
  not: NoAttributes;
  cast: { readonly dtype: DType };
  stop: NoAttributes;
  barrier: NoAttributes;
  copy: NoAttributes;
}

/** −x. */
export const neg = unary({
  op: "neg",
  lower: "neg",
  interpret: (x, dtype) => wrapped(-x, dtype),
  change: (d) => negate(d),
  range: [-2, 2],
});
/** e to the power of x. */
export const exp = unary({
  op: "exp",
  lower: "exp",
  interpret: Math.exp,
  change: (d, _, out) => mul(d, out),
  range: [-9, 9],
});
/** Natural logarithm. */
export const log = unary({
  op: "log",
  lower: "log",
  interpret: Math.log,
  change: (d, x) => mul(d, reciprocal(x)),
  range: [0.01, 50],
});
/** 1 / x. */
export const recip = unary({
  op: "recip",
  lower: "recip",
  interpret: (x) => 1 / x,
  change: (d, _, out) => negate(mul(d, mul(out, out))),
  range: [0.1, 9],
});
/** Square root. */
export const sqrt = unary({
  op: "sqrt",
  lower: "sqrt",
  interpret: Math.sqrt,
  change: (d, _, out) => mul(d, reciprocal(scale(out, 2))),
  range: [0.1, 9],
});
/** Sine of an angle in radians. */
export const sin = unary({
  op: "sin",
  lower: "sin",
  interpret: Math.sin,
  change: (d, x) => mul(d, node("cos", [x], {})),
  range: [-9, 9],
});
/** Cosine of an angle in radians. */
export const cos = unary({
  op: "cos",
  lower: "cos",
  interpret: Math.cos,
  change: (d, x) => negate(mul(d, node("sin", [x], {}))),
  range: [-9, 9],
});
/** Hyperbolic tangent. */
export const tanh = unary({
  op: "tanh",
  lower: "tanh",
  interpret: Math.tanh,
  change: (d, _, out) => mul(d, add(fill(1, out), negate(mul(out, out)))),
  range: [-3, 3],
});
/** Largest whole number that is not larger. Its gradient is zero. */
export const floor = unary({ op: "floor", lower: "floor", interpret: Math.floor, range: [-5, 5] });

/** not x, of bools. */
export const not: Primitive<"not"> = {
  op: "not",
  elementwise: true,
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
  elementwise: true,
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
