/** @file Reductions: one value for all elements along some axes. */
import { add, axesOf, cast, expand, mul, neg, node, ordered, recip, sum as total, without } from "../build.ts";
import { mistake, type Node } from "../node.ts";
import type { Primitive } from "../primitive.ts";
import { type Shape, showShape } from "../shape.ts";
import { wrapped } from "./elementwise.ts";
import { along, fresh, loop } from "./loop.ts";
import { linear } from "./tangents.ts";

/** Attributes of reductions: the axes they go over. */
export interface ReduceAttributes {
  /** `order`: of the result's axes. */
  sum: { readonly over: readonly string[]; readonly order?: readonly string[] };
  max: { readonly over: readonly string[] };
  /** At least `floor`: what an all-masked row gives. */
  logSumExp: { readonly over: readonly string[]; readonly floor?: number };
}

const reduced = (op: string, x: Node, over: readonly string[], empty: boolean): Shape => {
  for (const axis of over) {
    if (!(axis in x.shape)) mistake(op, `no axis "${axis}" in ${showShape(x.shape)}`);
    if (!empty && x.shape[axis] === 0) mistake(op, `axis "${axis}" is empty: nothing has no maximum`);
  }
  return without(x.shape, over);
};

const fold = (
  shape: Shape,
  x: { shape: Shape; data: Float64Array },
  start: number,
  f: (a: number, b: number) => number,
): Float64Array => {
  const out = fresh(shape, start);
  loop(x.shape, [along(x.shape, shape), along(x.shape, x.shape)], ([o, a]) => out[o] = f(out[o], x.data[a]));
  return out;
};

/** Sum over axes; integers wrap around. */
export const sum: Primitive<"sum"> = {
  op: "sum",
  type: ({ over, order }, [x]) => {
    const shape = reduced("sum", x, over, true);
    return { shape: order ? ordered(shape, order) : shape, dtype: x.dtype };
  },
  vjp: (g, { inputs: [x] }) => [expand(g, x.shape)],
  jvp: linear,
  interpret: (self, [x]) => fold(self.shape, x, 0, (a, b) => wrapped(a + b, self.dtype)),
  lower: (build, [x]) => build.reduce("sum", x),
  samples: [
    { inputs: [{ shape: { a: 3, b: 5 } }], attributes: { over: ["b"] } },
    { inputs: [{ shape: { a: 3, b: 5 } }], attributes: { over: ["a"] } },
    { inputs: [{ shape: { a: 3, b: 40, c: 2 } }], attributes: { over: ["a", "b", "c"] } },
    { inputs: [{ shape: { a: 3, b: 4, c: 2 } }], attributes: { over: ["b"], order: ["c", "a"] } },
    {
      inputs: [{ shape: { a: 3, b: 4 }, dtype: "i32", range: [-9, 9] }],
      attributes: { over: ["b"] },
      valuesOnly: true,
    },
    { inputs: [{ shape: { a: 3, b: 0 } }], attributes: { over: ["b"] }, valuesOnly: true },
    // Long enough to be summed in parts.
    { inputs: [{ shape: { a: 64, b: 128, c: 5 } }], attributes: { over: ["a", "b"] } },
    { inputs: [{ shape: { a: 6, b: 7000 } }], attributes: { over: ["b"] } },
  ],
};

/** For each element its share in the maximum: 1 for the largest, less where several are equal. */
function shareOf(self: Node<"max">): Node {
  const { inputs: [x], attributes: { over } } = self;
  const hit = cast(node("equal", [x, expand(self as unknown as Node, x.shape)], {}), x.dtype);
  return mul(hit, expand(recip(total(hit, over, axesOf(self.shape))), x.shape));
}

/** Largest element; equal largest ones share the gradient. */
export const max: Primitive<"max"> = {
  op: "max",
  type: ({ over }, [x]) => ({ shape: reduced("max", x, over, false), dtype: x.dtype }),
  vjp: (g, self) => [mul(shareOf(self), expand(g, self.inputs[0].shape))],
  jvp: ([tangent], self) => tangent && total(mul(shareOf(self), tangent), self.attributes.over, axesOf(self.shape)),
  interpret: (self, [x]) => fold(self.shape, x, -Infinity, Math.max),
  lower: (build, [x]) => build.reduce("max", x),
  samples: [
    { inputs: [{ shape: { a: 3, b: 5 } }], attributes: { over: ["b"] } },
    { inputs: [{ shape: { a: 33, b: 5 } }], attributes: { over: ["a"] } },
  ],
};

/** For each element its share in the sum, softmax(x). */
const softmaxOf = (self: Node<"logSumExp">): Node => {
  const [x] = self.inputs;
  return node("exp", [add(x, neg(expand(self as unknown as Node, x.shape)))], {});
};

/**
 * log Σ exp(x), at least `floor`: what softmax and cross-entropy share. The derivative by x is exp(x − result), which
 * is 0 far below the floor.
 */
export const logSumExp: Primitive<"logSumExp"> = {
  op: "logSumExp",
  type: ({ over }, [x]) => ({ shape: reduced("logSumExp", x, over, false), dtype: x.dtype }),
  vjp: (g, self) => [mul(softmaxOf(self), expand(g, self.inputs[0].shape))],
  jvp: ([tangent], self) => tangent && total(mul(softmaxOf(self), tangent), self.attributes.over, axesOf(self.shape)),
  interpret: (self, [x]) => {
    const { floor = -Infinity } = self.attributes;
    const top = fold(self.shape, x, -Infinity, Math.max), out = fresh(self.shape);
    loop(x.shape, [along(x.shape, self.shape), along(x.shape, x.shape)], ([o, a]) => {
      out[o] += top[o] === -Infinity ? 0 : Math.exp(x.data[a] - top[o]);
    });
    return out.map((value, i) => Math.max(floor, Math.log(value) + (top[i] === -Infinity ? 0 : top[i])));
  },
  lower: (build, [x], { attributes: { floor } }) => {
    const top = build.reduce("max", x);
    // x − (−∞) would be NaN: an all-masked row must stay −∞.
    const safe = build.select(
      build.binary("equal", top, build.constant(-Infinity, "f32")),
      build.constant(0, "f32"),
      top,
    );
    const total = build.reduce("sum", build.unary("exp", build.binary("sub", x, safe)));
    const value = build.binary("add", build.unary("log", total), safe);
    return floor === undefined ? value : build.binary("max", value, build.constant(floor, "f32"));
  },
  samples: [
    { inputs: [{ shape: { a: 3, b: 5 }, range: [-3, 3] }], attributes: { over: ["b"] } },
    { inputs: [{ shape: { a: 70, b: 5 }, range: [-30, 90] }], attributes: { over: ["a"] } },
    { inputs: [{ shape: { a: 3, b: 5 }, range: [-3, 3] }], attributes: { over: ["b"], floor: -20 } },
  ],
};
