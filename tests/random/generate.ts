/** @file Random well-typed programs, built from a list of numbers, so that a failing program shrinks with its list. */
import { add, constant, expand, mul, neg, node, ordered, recip, scale, shift, sum } from "../../dsl/build.ts";
import { checkpoint, take } from "../../dsl/mod.ts";
import type { Node } from "../../dsl/node.ts";
import { isReal } from "../../dsl/primitive.ts";
import { axesOf, type Shape, sizeOf, without } from "../../dsl/shape.ts";
import { nodeOf, type Tensor, tensorOf } from "../../dsl/tensor.ts";
import { backward } from "../../dsl/transforms/reverse.ts";
import { type Case, drawValues, randomNumbers, withDecisionsFedIn } from "../agreement.ts";

/** Sizes of all axes there are. An axis of one name has one size, so that any two tensors fit together. */
const smallSizes: Shape = { a: 3, b: 5, c: 2, d: 8, e: 4, f: 3, s: 2, v: 7, k: 2 };
/** Two axes so long that their product is worth computing tile by tile. */
export const wideSizes: Shape = { ...smallSizes, a: 150, b: 140 };

/** Reads choices from a list of numbers. */
class Choices {
  #next = 0;
  constructor(private readonly list: readonly number[]) {}
  below(count: number): number {
    return count <= 1 ? 0 : (this.list[this.#next++ % Math.max(1, this.list.length)] ?? 0) % count;
  }
  of<T>(options: readonly T[]): T {
    return options[this.below(options.length)];
  }
  get done(): boolean {
    return this.#next >= this.list.length;
  }
}

/** What a program starts from: reals that gradients are taken of, and indices. */
interface Given {
  readonly sizes: Shape;
  readonly weights: Node;
  readonly table: Node;
  /** Chooses an `e` for each `a` and `s`. */
  readonly experts: Node;
  /** Chooses a `v` for each `c` and `a`. */
  readonly rows: Node;
  /** 0 or 1. */
  readonly start: Node;
}

type Step = (choose: Choices, pool: readonly Node[], given: Given) => Node | undefined;

/** Both in the space of the union of their axes. */
function together(x: Node, y: Node): [Node, Node] {
  const space = { ...x.shape, ...y.shape };
  return [expand(x, space), expand(y, space)];
}

/** Kept small: values stay near 1, so that errors stay errors of rounding. */
const tame = (x: Node): Node => node("tanh", [x], {});

/** A step on one tensor. */
const one = (f: (x: Node) => Node): Step => (choose, pool) => f(choose.of(pool));

/** A step on one tensor and one of its axes. */
const along =
  (f: (x: Node, axis: string, choose: Choices, given: Given) => Node | undefined): Step => (choose, pool, given) => {
    const x = choose.of(pool), axes = axesOf(x.shape);
    return axes.length > 0 ? f(x, choose.of(axes), choose, given) : undefined;
  };

const elementwise: readonly Step[] = [
  (choose, pool) => add(...together(choose.of(pool), choose.of(pool))),
  (choose, pool) => mul(...together(choose.of(pool), choose.of(pool))),
  (choose, pool) => node("maximum", together(choose.of(pool), choose.of(pool)), {}),
  one(tame),
  one(neg),
  one((x) => node("sin", [x], {})),
  one((x) => node("exp", [tame(x)], {})),
  one((x) => recip(shift(mul(x, x), 1))),
  one((x) => node("sqrt", [shift(mul(x, x), 0.5)], {})),
  one((x) => node("log", [shift(mul(x, x), 0.5)], {})),
  one((x) => node("cast", [node("cast", [x], { dtype: "bf16" })], { dtype: "f32" })),
  (choose, pool) => {
    const [x, y] = together(choose.of(pool), choose.of(pool));
    return node("where", [node("less", [x, y], {}), tame(x), scale(y, 0.5)], {});
  },
  along((x, axis, choose) => {
    const place = expand(node("iota", [], { axis, size: x.shape[axis] }), x.shape);
    const end = expand(constant(choose.below(x.shape[axis] + 1), "i32"), x.shape);
    return node("where", [node("less", [place, end], {}), x, expand(constant(0.25), x.shape)], {});
  }),
];

const reducing: readonly Step[] = [
  along((x, axis) => scale(sum(x, [axis]), 1 / x.shape[axis])),
  along((x, axis) => node("max", [x], { over: [axis] })),
  along((x, axis) => node("logSumExp", [x], { over: [axis] })),
  along((x, axis) => node("exp", [add(x, neg(expand(node("logSumExp", [x], { over: [axis] }), x.shape)))], {})),
  (choose, pool) => {
    const x = choose.of(pool), y = choose.of(pool), shared = axesOf(x.shape).filter((axis) => axis in y.shape);
    if (shared.length === 0) return undefined;
    const over = [...new Set([choose.of(shared), choose.of(shared)])];
    return scale(node("contract", [x, y], { over }), 1 / over.reduce((size, axis) => size * x.shape[axis], 1));
  },
];

const structural: readonly Step[] = [
  along((x, axis) => {
    const half = Math.floor(x.shape[axis] / 2);
    const pieces = [
      node("slice", [x], { axis, start: half, stop: x.shape[axis] }),
      node("slice", [x], { axis, start: 0, stop: half }),
    ];
    return node("concat", pieces, { axis });
  }),
  along((x, axis) =>
    node("pad", [node("slice", [x], { axis, start: 1, stop: x.shape[axis] })], { axis, before: 1, after: 0 })
  ),
  along((x, axis, choose) => {
    if (axis !== "d") return undefined;
    const split = neg(node("unflatten", [x], { axis, sizes: { p: 2, q: 4 } }));
    return expand(node("flatten", [split], { axes: choose.of([["q", "p"], ["p", "q"]]), axis }), x.shape);
  }),
  along((x) => expand(x, Object.fromEntries(Object.entries(x.shape).reverse()))),
  along((x, axis, choose, { sizes }) => {
    const free = axesOf(sizes).filter((name) => !(name in x.shape) && sizes[name] === x.shape[axis]);
    return free.length > 0 ? node("rename", [x], { names: { [axis]: choose.of(free) } }) : undefined;
  }),
];

const indexing: readonly Step[] = [
  (choose, pool, { weights, experts }) => {
    const x = choose.of(pool.filter(({ shape }) => "d" in shape && !("e" in shape)));
    if (!x) return undefined;
    const late = ["a", "s", "f"].filter(() => choose.below(4) === 0);
    return scale(node("contractAt", [x, weights, experts], { axis: "e", over: ["d", ...late] }), 0.125);
  },
  (choose, pool, { experts, sizes }) => {
    const x = choose.of(pool), y = choose.of(pool), over = choose.below(3) === 0 ? ["a"] : ["a", "s"];
    if ("e" in x.shape || "e" in y.shape) return undefined;
    const free = axesOf(without({ ...x.shape, ...y.shape, ...experts.shape }, over));
    const order = choose.below(2) === 0 ? ["e", ...free] : [...free.reverse(), "e"];
    return scale(node("contractInto", [x, y, experts], { axis: "e", size: sizes.e, over, order }), 1 / 6);
  },
  (choose, _, { table, rows }) => node("take", [choose.below(2) === 0 ? table : tame(table), rows], { axis: "v" }),
  (choose, pool, { rows, sizes }) => {
    const x = choose.of(pool.filter(({ shape }) => !("v" in shape)));
    if (!x) return undefined;
    const wide = expand(x, { ...rows.shape, ...x.shape }), rest = axesOf(without(wide.shape, ["c", "a"]));
    return scale(
      node("scatter", [wide, rows], { axis: "v", size: sizes.v, over: ["c", "a"], order: ["v", ...rest] }),
      0.2,
    );
  },
  along((x, axis, _, { sizes }) => {
    if ("k" in x.shape || x.shape[axis] < sizes.k) return undefined;
    const index = node("topk", [x], { axis, slot: "k", count: sizes.k });
    return nodeOf(take(tensorOf<string, "real">(x), axis, tensorOf<string, "int">(index)));
  }),
  along((x, axis, choose, { start }) => {
    const value = node("slice", [tame(x)], { axis, start: 0, stop: x.shape[axis] - 1 });
    return node("write", [choose.below(2) === 0 ? x : scale(x, 0.5), start, value], { axis });
  }),
];

/** Part of a program as one node, computed again in the backward pass; it closes over another tensor. */
const kept: Step = (choose, pool) => {
  const x = choose.of(pool), other = choose.of(pool);
  const f = (argument: Tensor<string>): Tensor<string> => {
    const [a, b] = together(nodeOf(argument), other);
    return tensorOf(mul(tame(add(a, b)), node("sin", [a], {})));
  };
  return nodeOf(checkpoint(f)(tensorOf<string, "real">(x)));
};

/** A product, work on its elements, and what makes it small again: attention and the losses have this form. */
const scored: Step = (choose, pool) => {
  // Each has one of the two longest axes, so that the product is larger than they are.
  const x = choose.of(pool.filter(({ shape }) => "a" in shape && !("b" in shape)));
  const y = choose.of(pool.filter(({ shape }) => "b" in shape && !("a" in shape) && axesOf(shape).length > 1));
  const shared = x && y ? axesOf(x.shape).filter((axis) => axis in y.shape) : [];
  if (shared.length === 0) return undefined;
  const product = node("contract", [x, y], { over: [choose.of(shared)] }), axes = axesOf(product.shape);
  if (axes.length < 2) return undefined;
  const axis = choose.of(axes);
  const total = expand(node("logSumExp", [product], { over: [axis] }), product.shape);
  const inner = [tame(product), node("exp", [add(product, neg(total))], {}), scale(mul(product, product), 0.1)];
  const made = choose.of(inner), values = pool.filter(({ shape }) => axis in shape);
  return values.length > 0 && choose.below(2) === 0
    ? scale(node("contract", [made, choose.of(values)], { over: [axis] }), 4 / product.shape[axis])
    : choose.below(2) === 0
    ? scale(sum(made, [axis]), 1 / product.shape[axis])
    : node("max", [made], { over: [axis] });
};

const steps: readonly Step[] = [
  ...elementwise,
  ...reducing,
  ...structural,
  ...[...indexing, ...indexing],
  ...[kept, scored, scored],
];

/** The program of a list of choices. Decisions that rounding could change are parameters. */
export const programOf = (list: readonly number[], sizes: Shape = smallSizes): Case =>
  withDecisionsFedIn(draftOf(list, sizes));

/** The program of a list of choices: a few results, and the gradient of the sum of their squares. */
export function draftOf(list: readonly number[], sizes: Shape): Case {
  const choose = new Choices(list), random = randomNumbers(list.length * 7 + 1), parameters: Node[] = [];
  const values: Float64Array[] = [];
  const variable = (shape: Shape, range?: readonly [number, number]): Node => {
    const dtype = range ? "i32" : "f32", x = node("variable", [], { shape, dtype, name: `x${parameters.length}` });
    parameters.push(x);
    values.push(drawValues({ shape, dtype, range }, random));
    return x;
  };
  const of = (...axes: readonly string[]): Shape => ordered(sizes, axes);
  const pool = [of("a", "b"), of("d", "b"), of("c", "a", "d"), of("b")].map((shape) => variable(shape));
  const given: Given = {
    sizes,
    weights: variable(of("e", "d", "f")),
    table: variable(of("v", "b")),
    experts: variable(of("a", "s"), [-1, sizes.e - 1]),
    rows: variable(of("c", "a"), [-1, sizes.v - 1]),
    start: variable({}, [0, 1]),
  };
  const most = 4096 * Math.ceil(sizes.a * sizes.b / 1000);
  const fits = (x: Node): boolean =>
    sizeOf(x.shape) <= most && axesOf(x.shape).every((axis) => sizes[axis] === x.shape[axis]);
  for (let count = 0; count < 24 && !choose.done; count++) {
    const made = steps[choose.below(steps.length)](choose, pool, given);
    if (made && fits(made)) pool.push(made);
  }
  const last = pool.slice(-3).map(tame);
  const loss = last.map((x) => sum(mul(x, x), axesOf(x.shape))).reduce(add);
  const results = [...last, ...backward([loss], [constant(1)], parameters.filter(isReal))];
  return { parameters, results, values };
}
