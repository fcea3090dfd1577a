/**
 * @file What primitives mean, one element at a time, by looking axes up by name: the interpreter's independent
 * neighbour. Elementwise primitives need no entry: element by element, they are themselves on numbers.
 */
import { node } from "../../dsl/build.ts";
import { evaluate } from "../../dsl/interpret/interpret.ts";
import type { Attributes, Node, Op } from "../../dsl/node.ts";
import { type Shape, sizeOf } from "../../dsl/shape.ts";

/** An index by axis name; axes that a tensor lacks are ignored. */
type Index = Readonly<Record<string, number>>;
type Element = (index: Index) => number;

interface Given<O extends Op> {
  readonly attributes: Attributes[O];
  /** Elements of the inputs. */
  readonly inputs: readonly Element[];
  readonly shapes: readonly Shape[];
  readonly shape: Shape;
}

type Reference = { readonly [O in Op]?: (given: Given<O>) => Element };

/** Every index of a shape, row-major. */
function indicesOf(shape: Shape): Index[] {
  return Object.entries(shape).reduce<Index[]>(
    (all, [axis, size]) => all.flatMap((index) => Array.from({ length: size }, (_, i) => ({ ...index, [axis]: i }))),
    [{}],
  );
}

/** The position that an index has among those of its axes, row-major. */
const positionIn = (shape: Shape, index: Index): number =>
  Object.entries(shape).reduce((position, [axis, size]) => position * size + index[axis], 0);

/** The index at a position, row-major. */
const indexAt = (shape: Shape, position: number): Index => indicesOf(shape)[position];

const only = (axes: readonly string[], ...shapes: readonly Shape[]): Shape =>
  Object.fromEntries(axes.map((axis) => [axis, shapes.find((shape) => axis in shape)![axis]]));

const total = (numbers: readonly number[]): number => numbers.reduce((sum, each) => sum + each, 0);

const reference: Reference = {
  iota: ({ attributes: { axis } }) => (i) => i[axis],
  constant: ({ attributes: { value } }) => () => value,
  expand: ({ inputs: [x] }) => x,
  stop: ({ inputs: [x] }) => x,
  copy: ({ inputs: [x] }) => x,
  barrier: ({ inputs: [x] }) => x,
  rename: ({ attributes: { names }, inputs: [x], shapes: [from] }) => (i) =>
    x(Object.fromEntries(Object.keys(from).map((axis) => [axis, i[names[axis] ?? axis]]))),
  unflatten: ({ attributes: { axis, sizes }, inputs: [x] }) => (i) => x({ ...i, [axis]: positionIn(sizes, i) }),
  flatten: ({ attributes: { axes, axis }, inputs: [x], shapes: [from] }) => (i) =>
    x({ ...i, ...indexAt(only(axes, from), i[axis]) }),
  slice: ({ attributes: { axis, start }, inputs: [x] }) => (i) => x({ ...i, [axis]: i[axis] + start }),
  pad: ({ attributes: { axis, before }, inputs: [x], shapes: [from] }) => (i) => {
    const at = i[axis] - before;
    return at >= 0 && at < from[axis] ? x({ ...i, [axis]: at }) : 0;
  },
  concat: ({ attributes: { axis }, inputs, shapes }) => (i) => {
    let at = i[axis], piece = 0;
    while (at >= shapes[piece][axis]) at -= shapes[piece++][axis];
    return inputs[piece]({ ...i, [axis]: at });
  },
  write: ({ attributes: { axis }, inputs: [x, start, value], shapes: [, , written] }) => (i) => {
    const at = i[axis] - start(i);
    return at >= 0 && at < written[axis] ? value({ ...i, [axis]: at }) : x(i);
  },
  sum: ({ attributes: { over }, inputs: [x], shapes: [from] }) => (i) =>
    total(indicesOf(only(over, from)).map((inner) => x({ ...i, ...inner }))),
  max: ({ attributes: { over }, inputs: [x], shapes: [from] }) => (i) =>
    Math.max(...indicesOf(only(over, from)).map((inner) => x({ ...i, ...inner }))),
  logSumExp: ({ attributes: { over, floor = -Infinity }, inputs: [x], shapes: [from] }) => (i) =>
    Math.max(floor, Math.log(total(indicesOf(only(over, from)).map((inner) => Math.exp(x({ ...i, ...inner })))))),
  contract: ({ attributes: { over }, inputs: [x, y], shapes: [from] }) => (i) =>
    total(indicesOf(only(over, from)).map((inner) => x({ ...i, ...inner }) * y({ ...i, ...inner }))),
  contractAt: ({ attributes: { axis, over }, inputs: [x, w, index], shapes }) => (i) =>
    total(
      indicesOf(only(over, ...shapes)).map((inner) => {
        const at = { ...i, ...inner }, chosen = index(at);
        return chosen >= 0 && chosen < shapes[1][axis] ? x(at) * w({ ...at, [axis]: chosen }) : 0;
      }),
    ),
  contractInto: ({ attributes: { axis, over }, inputs: [x, y, index], shapes }) => (i) =>
    total(
      indicesOf(only(over, ...shapes)).map((inner) => {
        const at = { ...i, ...inner };
        return index(at) === i[axis] ? x(at) * y(at) : 0;
      }),
    ),
  take: ({ attributes: { axis }, inputs: [x, index], shapes: [from] }) => (i) => {
    const chosen = index(i);
    return chosen >= 0 && chosen < from[axis] ? x({ ...i, [axis]: chosen }) : 0;
  },
  scatter: ({ attributes: { axis, over }, inputs: [x, index], shapes: [from] }) => (i) =>
    total(
      indicesOf(only(over, from)).map((inner) => index({ ...i, ...inner }) === i[axis] ? x({ ...i, ...inner }) : 0),
    ),
  topk: ({ attributes: { axis, slot }, inputs: [x], shapes: [from] }) => (i) => {
    // How many come before a candidate: the larger ones, equal ones with a lower index, and all others before a NaN.
    const values = Array.from({ length: from[axis] }, (_, at) => x({ ...i, [axis]: at }));
    const before = (a: number, b: number): boolean =>
      Number.isNaN(values[a]) !== Number.isNaN(values[b])
        ? Number.isNaN(values[b])
        : values[a] > values[b] || (!(values[a] < values[b]) && a < b);
    return values.findIndex((_, at) => values.filter((_, other) => before(other, at)).length === i[slot]);
  },
  order: ({ attributes: { groups }, inputs: [index], shapes: [from] }) => {
    const chosen = indicesOf(from).map(index).map((group) => group >= 0 && group < groups ? group : Infinity);
    const offsets = Array.from({ length: groups + 1 }, (_, group) => chosen.filter((each) => each < group).length);
    const sorted = chosen.map((_, at) => at).sort((a, b) => chosen[a] === chosen[b] ? a - b : chosen[a] - chosen[b]);
    return (i) => [...sorted, ...offsets][i.order];
  },
};

/** Does the primitive need no entry: is each element of the result itself, on numbers? */
const isElementwise = ({ op, inputs, shape }: Node): boolean =>
  !(op in reference) && inputs.length > 0 &&
  inputs.every((x) => Object.keys(x.shape).length === Object.keys(shape).length);

/** A node's value by plain loops. @throws Error for a primitive that is not elementwise and has no entry here */
export function straightforward(self: Node, values: readonly Float64Array[]): number[] {
  const element = (shape: Shape, data: Float64Array): Element => (index) => data[positionIn(shape, index)];
  const inputs = self.inputs.map((x, i) => element(x.shape, values[i]));
  const shapes = self.inputs.map(({ shape }) => shape);
  const meaning = reference[self.op] as ((given: Given<Op>) => Element) | undefined;
  if (meaning) {
    const at = meaning({ attributes: self.attributes, inputs, shapes, shape: self.shape });
    return indicesOf(self.shape).map(at);
  }
  if (!isElementwise(self)) {
    throw new Error(`${self.op} needs an entry in tests/primitives/reference.ts: it is not elementwise`);
  }
  const numbers = self.inputs.map(({ dtype }) => node("variable", [], { shape: {}, dtype, name: "element" }));
  const one = node(self.op, numbers, self.attributes);
  if (sizeOf(one.shape) !== 1) throw new Error(`${self.op} of numbers is no number`);
  return indicesOf(self.shape).map((index) => {
    const given = numbers.map((x, i) => [x, { shape: {}, data: Float64Array.of(inputs[i](index)) }] as const);
    return evaluate([one], new Map(given))[0].data[0];
  });
}
