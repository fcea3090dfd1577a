/** @file Programs with loops behind their products, for the tests of shaders. */
import { add, cast, expand, mul, node, scale, sum } from "../../dsl/build.ts";
import type { Node } from "../../dsl/node.ts";
import type { Shape } from "../../dsl/shape.ts";
import { backward } from "../../dsl/transforms/reverse.ts";
import { type Case, drawValues, randomNumbers } from "../agreement.ts";

/** A parameter. */
export const variable = (shape: Shape, dtype: Node["dtype"] = "f32"): Node =>
  node("variable", [], { shape, dtype, name: "x" });

/** A case with drawn values. */
export function drawn(parameters: readonly Node[], results: readonly Node[]): Case {
  const random = randomNumbers(5);
  return {
    parameters,
    results,
    values: parameters.map(({ shape, dtype }) =>
      drawValues({ shape, dtype, ...(dtype === "i32" && { range: [-1, 4] }) }, random)
    ),
  };
}

/** A product over one axis. */
export const contract = (x: Node, w: Node, over: string): Node => node("contract", [x, w], { over: [over] });
export const tanh = (x: Node): Node => node("tanh", [x], {});

/** What each program is, and how many of its kernels are products with a loop behind them. */
export interface Example extends Case {
  readonly name: string;
  readonly joined: number;
  /** How many loops sum over a product's rows or columns in its kernel (default: none). */
  readonly summed?: number;
  /** Are the first parameters' memories given to the results? */
  readonly donate?: boolean;
}

/** Two results of one element, one of them in another order; the product itself is no result. */
function manyOutputs([m, k, n]: readonly number[]): Example {
  const x = variable({ m, k }), w = variable({ k, n }), bias = variable({ n }), rest = variable({ n, m });
  const h = add(contract(x, w, "k"), expand(bias, { m, n })), gate = mul(h, tanh(h));
  const results = [add(expand(gate, { n, m }), rest), scale(h, 0.5)];
  return { name: `two outputs, ${m}·${k}·${n}`, joined: 1, ...drawn([x, w, bias, rest], results) };
}

/** The product is a result, too; its columns are heads. */
function keptInHeads(): Example {
  const x = variable({ b: 3, m: 7, k: 9 }), w = variable({ k: 9, n: 20 }), table = variable({ m: 7, d: 5 });
  const h = contract(x, w, "k"), shape = { b: 3, m: 7, h: 4, d: 5 };
  const heads = node("unflatten", [h], { axis: "n", sizes: { h: 4, d: 5 } });
  return {
    name: "kept, in heads",
    joined: 1,
    ...drawn([x, w, table], [h, mul(expand(heads, { b: 3, h: 4, m: 7, d: 5 }), expand(table, { ...shape }))]),
  };
}

/** Weights that are updated where they lie by their gradient: no element may be updated twice. */
function updated([m, k, n]: readonly number[]): Example {
  const w = variable({ k, n }), x = variable({ m, k }), y = variable({ m, n });
  return {
    name: `update in place, ${m}·${k}·${n}`,
    joined: 1,
    donate: true,
    ...drawn([w, x, y], [add(w, scale(contract(x, y, "m"), -0.1))]),
  };
}

/** Results of 16 bits: one invocation writes both halves of a word, or a kernel of its own does. */
function halves(dtype: "bf16" | "f16", [m, n]: readonly number[], transposed: boolean, joined: number): Example {
  const x = variable({ m, k: 11 }), w = variable({ k: 11, n }), rest = variable({ m, n }, dtype);
  const h = cast(add(contract(x, w, "k"), cast(rest, "f32")), dtype);
  return {
    name: `${dtype}, ${m} × ${n}${transposed ? ", transposed" : ""}`,
    joined,
    ...drawn([x, w, rest], [transposed ? expand(h, { n, m }) : h]),
  };
}

/** Rows of experts, some without one, with gates; and the update of the experts' weights where they lie. */
function experts([t, s, e, h]: readonly number[]): Example {
  const x = variable({ t, e }), w = variable({ x: 5, h, e }), index = variable({ t, s }, "i32");
  const gates = variable({ t, s }), shape = { t, s, h };
  const y = mul(tanh(node("contractAt", [x, w, index], { axis: "x", over: ["e"] })), expand(gates, shape));
  return { name: `experts, ${t}·${s}·${e}·${h}`, joined: 1, ...drawn([x, w, index, gates], [y]) };
}

function updatedExperts(): Example {
  const w = variable({ x: 5, h: 21, e: 9 }), x = variable({ t: 37, e: 9 }), index = variable({ t: 37, s: 2 }, "i32");
  const y = node("contractAt", [x, w, index], { axis: "x", over: ["e"] }), dy = variable(y.shape);
  const [slope] = backward([y], [dy], [w]);
  return {
    name: "update of experts in place",
    joined: 1,
    donate: true,
    ...drawn([w, x, index, dy], [add(w, scale(slope, -0.1))]),
  };
}

/** Rows of a table, looked up, are added to the product's. */
function lookedUp(): Example {
  const x = variable({ m: 23, k: 6 }), w = variable({ k: 6, n: 12 }), table = variable({ v: 5, n: 12 });
  const index = variable({ m: 23 }, "i32"), rows = node("take", [table, index], { axis: "v" });
  return {
    name: "looked up",
    joined: 1,
    ...drawn([x, w, table, index], [add(contract(x, w, "k"), expand(rows, { m: 23, n: 12 }))]),
  };
}

/** Sums of rows need other elements than an invocation's own: they stay a kernel of their own. */
function summed(): Example {
  const x = variable({ m: 19, k: 6 }), w = variable({ k: 6, n: 33 });
  return { name: "sums of rows", joined: 0, ...drawn([x, w], [sum(tanh(contract(x, w, "k")), ["n"])]) };
}

/** Sums of rows and of columns of a product that others read, too: its tiles add them up, and what follows goes on. */
function keptAndSummed([m, k, n]: readonly number[]): Example {
  const x = variable({ m, k }), w = variable({ k, n }), old = variable({ m }), scales = variable({ n });
  const h = contract(x, w, "k"), squares = mul(h, h);
  const rows = add(mul(old, old), scale(sum(squares, ["n"]), 0.5));
  const columns = node("max", [mul(h, expand(scales, { m, n }))], { over: ["m"] });
  return {
    name: `kept and summed, ${m}·${k}·${n}`,
    joined: 0,
    summed: 2,
    ...drawn([x, w, old, scales], [h, rows, columns]),
  };
}

/** The same of each expert's gradient, and of a batch of products. */
function expertsSummed(): Example {
  const w = variable({ x: 5, h: 21, e: 70 }), x = variable({ t: 37, e: 70 }), index = variable({ t: 37, s: 2 }, "i32");
  const y = node("contractAt", [x, w, index], { axis: "x", over: ["e"] }), dy = variable(y.shape);
  const [slope] = backward([y], [dy], [w]), squares = mul(slope, slope);
  return {
    name: "gradient of experts, summed",
    joined: 0,
    summed: 2,
    ...drawn([w, x, index, dy], [slope, sum(squares, ["e"]), sum(squares, ["h"])]),
  };
}

function batchSummed(): Example {
  const x = variable({ b: 3, m: 19, k: 6 }), w = variable({ b: 3, k: 6, n: 33 });
  const h = node("contract", [x, w], { over: ["k"] }), slope = tanh(h);
  return {
    name: "batch, summed",
    joined: 0,
    summed: 2,
    ...drawn([x, w], [h, sum(slope, ["n"]), sum(slope, ["m"])]),
  };
}

/** Programs with a product and what goes on with it. */
export const examples: readonly Example[] = [
  ...[[41, 19, 33], [1, 16, 24], [3, 40, 70], [128, 20, 128], [65, 7, 2]].map(manyOutputs),
  keptInHeads(),
  ...[[13, 41, 19], [5, 8, 3], [20, 130, 66]].map(updated),
  halves("bf16", [37, 22], false, 1),
  halves("f16", [37, 22], false, 1),
  halves("bf16", [38, 21], true, 1),
  halves("f16", [3, 130], false, 1),
  halves("bf16", [37, 21], false, 0),
  ...[[37, 2, 9, 21], [130, 3, 40, 64]].map(experts),
  updatedExperts(),
  lookedUp(),
  summed(),
  ...[[41, 19, 33], [128, 20, 128], [7, 5, 200], [300, 4, 9]].map(keptAndSummed),
  expertsSummed(),
  batchSummed(),
];
