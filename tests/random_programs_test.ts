/** @file Random well-typed programs: fused = unfused = interpreter on every device, values and gradients. */
import fc from "fast-check";
import { add, constant, expand, mul, neg, node, recip, scale, shift, sum } from "../dsl/build.ts";
import { backward } from "../dsl/transforms/reverse.ts";
import type { Node } from "../dsl/node.ts";
import { axesOf, missing, sizeOf } from "../dsl/shape.ts";
import { show } from "../dsl/show.ts";
import { assertAgree, assertSameBits, type Case, drawValues, expected, onDevice, randomNumbers } from "./agreement.ts";
import { allDevices, withDevice } from "./devices.ts";

const sizes: Readonly<Record<string, number>> = { a: 3, b: 5, c: 2, d: 8 };

/** Reads choices from a list of numbers, so that a failing program shrinks with its list. */
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

/** Both in the space of the union of their axes. */
function together(x: Node, y: Node): [Node, Node] {
  const space = { ...x.shape, ...y.shape };
  return [expand(x, space), expand(y, space)];
}

/** Kept small: values stay near 1, so that errors stay errors of rounding. */
const tame = (x: Node): Node => node("tanh", [x], {});

type Step = (choose: Choices, pool: readonly Node[]) => Node | undefined;

const pickAxis = (choose: Choices, x: Node): string | undefined => choose.of(axesOf(x.shape));

const steps: readonly Step[] = [
  (choose, pool) => add(...together(choose.of(pool), choose.of(pool))),
  (choose, pool) => mul(...together(choose.of(pool), choose.of(pool))),
  (choose, pool) => tame(choose.of(pool)),
  (choose, pool) => neg(choose.of(pool)),
  (choose, pool) => node("sin", [choose.of(pool)], {}),
  (choose, pool) => {
    const x = choose.of(pool);
    return recip(shift(mul(x, x), 1));
  },
  (choose, pool) => {
    const x = choose.of(pool);
    return node("sqrt", [shift(mul(x, x), 0.5)], {});
  },
  (choose, pool) => {
    const x = choose.of(pool), axis = pickAxis(choose, x);
    return axis ? scale(sum(x, [axis]), 1 / x.shape[axis]) : undefined;
  },
  (choose, pool) => {
    const x = choose.of(pool), axis = pickAxis(choose, x);
    return axis ? node("logSumExp", [x], { over: [axis] }) : undefined;
  },
  (choose, pool) => {
    const x = choose.of(pool), axis = pickAxis(choose, x);
    return axis ? node("exp", [add(x, neg(expand(node("logSumExp", [x], { over: [axis] }), x.shape)))], {}) : undefined;
  },
  (choose, pool) => {
    const x = choose.of(pool), y = choose.of(pool), shared = axesOf(x.shape).filter((axis) => axis in y.shape);
    if (shared.length === 0) return undefined;
    const axis = choose.of(shared);
    return scale(node("contract", [x, y], { over: [axis] }), 1 / x.shape[axis]);
  },
  (choose, pool) => {
    const x = choose.of(pool), axis = pickAxis(choose, x);
    if (!axis || x.shape[axis] !== sizes[axis]) return undefined;
    const half = Math.floor(x.shape[axis] / 2);
    const pieces = [
      node("slice", [x], { axis, start: half, stop: x.shape[axis] }),
      node("slice", [x], { axis, start: 0, stop: half }),
    ];
    return node("concat", pieces, { axis });
  },
  (choose, pool) => {
    const x = choose.of(pool), axis = pickAxis(choose, x);
    if (!axis || x.shape[axis] < 2) return undefined;
    return node("pad", [node("slice", [x], { axis, start: 1, stop: x.shape[axis] })], { axis, before: 1, after: 0 });
  },
  (choose, pool) => {
    const x = choose.of(pool), axis = pickAxis(choose, x);
    if (!axis || axis !== "d") return undefined;
    const split = node("unflatten", [x], { axis, sizes: { p: 2, q: 4 } });
    return expand(node("flatten", [tame(split)], { axes: ["q", "p"], axis }), x.shape);
  },
  (choose, pool) => {
    const x = choose.of(pool), axis = pickAxis(choose, x);
    if (!axis) return undefined;
    const place = expand(node("iota", [], { axis, size: x.shape[axis] }), x.shape);
    const keep = node("less", [place, expand(constant(choose.below(x.shape[axis] + 1), "i32"), x.shape)], {});
    return node("where", [keep, x, expand(constant(0.25), x.shape)], {});
  },
];

/** A program of the choices; the index of `contractAt` and `take` is drawn, so that no rounding can flip it. */
function programOf(list: readonly number[]): Case {
  const choose = new Choices(list), random = randomNumbers(list.length * 7 + 1);
  const variable = (shape: Readonly<Record<string, number>>, dtype: "f32" | "i32" = "f32"): Node =>
    node("variable", [], { shape, dtype, name: "x" });
  const parameters = [
    variable({ a: 3, b: 5 }),
    variable({ d: 8, b: 5 }),
    variable({ c: 2, a: 3, d: 8 }),
    variable({ b: 5 }),
    variable({ e: 4, d: 8, f: 3 }),
    variable({ a: 3, s: 2 }, "i32"),
  ];
  const values = parameters.map((x) =>
    drawValues({ shape: x.shape, dtype: x.dtype, range: x.dtype === "i32" ? [-1, 3] : [-1, 1] }, random)
  );
  const [, , wide, , weights, index] = parameters;
  const pool: Node[] = parameters.slice(0, 4);
  for (let count = 0; count < 24 && !choose.done; count++) {
    const grouped = choose.below(12) === 0;
    const made = grouped
      ? scale(node("contractAt", [choose.of([wide, tame(wide)]), weights, index], { axis: "e", over: ["d"] }), 0.125)
      : steps[choose.below(steps.length)](choose, pool);
    if (made && sizeOf(made.shape) <= 4096 && missing({ ...sizes, s: 2, f: 3 }, made.shape).length === 0) {
      pool.push(made);
    }
  }
  const last = pool.slice(-3).map(tame);
  const loss = last.map((x) => sum(mul(x, x), axesOf(x.shape))).reduce(add);
  return { parameters, results: [...last, ...backward([loss], [constant(1)], parameters.slice(0, 5))], values };
}

const lists = fc.array(fc.nat(10_000), { minLength: 4, maxLength: 60 });
const runs = Number(Deno.env.get("XFT_RANDOM_PROGRAMS") ?? 120);

for (const name of allDevices().filter((each) => each !== "interpreter")) {
  Deno.test(`random programs on ${name}: fused = unfused = interpreter, and reruns are the same bits`, () =>
    withDevice(name, async (device) => {
      await fc.assert(
        fc.asyncProperty(lists, async (list) => {
          const each = programOf(list), want = expected(each);
          const fused = await onDevice(each, device), again = await onDevice(each, device);
          const printed = show(each.results);
          assertAgree(fused, want, `fused\n${printed}\n`);
          assertAgree(await onDevice(each, device, { fuse: "off" }), want, `unfused\n${printed}\n`);
          assertAgree(await onDevice(each, device, { donate: true }), want, `donated\n${printed}\n`);
          assertSameBits(
            again,
            fused,
            `another run
${printed}
`,
          );
        }),
        { numRuns: name === "cpu" ? runs : Math.ceil(runs / 4), seed: 20261122 },
      );
    }));
}
