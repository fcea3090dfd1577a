/**
 * @file Bounds of a value over a range of indices, by interval arithmetic on the scalar instructions of its primitives:
 * what a mask of counters allows there, and what stands where it allows nothing.
 */
import { primitiveOf } from "../../../dsl/build.ts";
import { isOp, type Node } from "../../../dsl/node.ts";
import { type BinaryOp, type Builder, type RegisterType, registerType, type UnaryOp } from "../../../dsl/primitive.ts";
import { axesOf, stridesOf } from "../../../dsl/shape.ts";
import { isReduction } from "../kinds.ts";

/** Least and largest number, both included; true is 1. A NaN is in no range: what is bounded here is not one. */
export type Range = readonly [low: number, high: number];

/** The range of each axis's index; an axis that is not named has all its indices. */
export type Indices = Readonly<Record<string, Range>>;

interface Register {
  readonly type: RegisterType;
  readonly range: Range;
}

const anything: Range = [-Infinity, Infinity];
const limits: Readonly<Record<RegisterType, Range>> = {
  f32: anything,
  i32: [-(2 ** 31), 2 ** 31 - 1],
  u32: [0, 2 ** 32 - 1],
  bool: [0, 1],
};
/** More than 16 bits of storage round a number by. */
const halfRounding = 2 ** -7;
/** More than an f32 operation, or the body of exp, rounds its result by. */
const rounding = 2 ** -20;

/**
 * A range that surely holds all elements of a node at some indices. What 0 is multiplied with counts as finite.
 *
 * @param most nodes to look at: what is made of more may be anything
 */
export function rangeOf(node: Node, indices: Indices, most = 256): Range {
  let left = most;
  const visit = (x: Node, at: Indices, known: Map<Node, Range>): Range => {
    const old = known.get(x);
    if (old) return old;
    const found = left-- > 0 ? compute(x, at, known) : limits[registerType(x.dtype)];
    known.set(x, found);
    return found;
  };
  const compute = (x: Node, at: Indices, known: Map<Node, Range>): Range => {
    const [first] = x.inputs;
    if (isOp(x, "iota")) return at[x.attributes.axis] ?? [0, x.attributes.size - 1];
    if (isOp(x, "logSumExp")) return [x.attributes.floor ?? -Infinity, Infinity];
    if (isOp(x, "expand") || isOp(x, "barrier") || isOp(x, "stop")) return visit(first, at, known);
    if (isOp(x, "rename")) {
      const { names } = x.attributes;
      return visit(first, mapped(first, (axis) => at[names[axis] ?? axis]), new Map());
    }
    if (isOp(x, "slice")) {
      const { axis, start, stop } = x.attributes, [low, high] = at[axis] ?? [0, stop - start - 1];
      return visit(first, { ...at, [axis]: [low + start, high + start] }, new Map());
    }
    if (isOp(x, "unflatten")) {
      const { axis, sizes } = x.attributes, strides = stridesOf(sizes);
      const part = (side: 0 | 1): number =>
        axesOf(sizes).reduce((sum, name) => sum + strides[name] * (at[name] ?? [0, sizes[name] - 1])[side], 0);
      return visit(first, { ...at, [axis]: [part(0), part(1)] }, new Map());
    }
    const { lower } = primitiveOf(x.op);
    if (!lower || isReduction(x) || isOp(x, "concat") || isOp(x, "pad") || isOp(x, "take")) {
      return limits[registerType(x.dtype)];
    }
    const registers: Register[] = x.inputs.map((input) => ({
      type: registerType(input.dtype),
      range: visit(input, at, known),
    }));
    const result = lower(builderOver(registers), x.inputs.map((_, i) => i), x), { range } = registers[result];
    return x.dtype === "f16" || x.dtype === "bf16" ? roundedHalf(range) : range;
  };
  return visit(node, indices, new Map());
}

/** The indices of a node's axes, by name. */
function mapped({ shape }: Node, at: (axis: string) => Range | undefined): Indices {
  return Object.fromEntries(
    axesOf(shape).flatMap((axis) => {
      const range = at(axis);
      return range ? [[axis, range]] : [];
    }),
  );
}

/** Writes instructions by computing their ranges at once. */
function builderOver(registers: Register[]): Builder {
  const add = (type: RegisterType, range: Range): number => {
    const [least, most] = limits[type], [low, high] = range;
    // Integers that leave their type wrap around; ∞ − ∞ is nothing that could be told.
    const holds = low >= least && high <= most;
    return registers.push({ type, range: holds ? range : limits[type] }) - 1;
  };
  const of = (register: number): Range => registers[register].range;
  return {
    constant: (value, type) => add(type, [value, value]),
    cast: (a, type) => add(type, castTo(of(a), registers[a].type, type)),
    unary: (op, a) => add(registers[a].type, unary(op, of(a), registers[a].type)),
    binary: (op, a, b) => {
      const { type } = registers[a], compares = op === "less" || op === "equal";
      const range = binary(op, of(a), of(b), type);
      const rounds = type === "f32" && (op === "add" || op === "sub" || op === "mul");
      return add(compares ? "bool" : type, rounds ? widened(range, rounding) : range);
    },
    select: (c, a, b) => {
      const [low, high] = of(c);
      return add(registers[a].type, low === 1 ? of(a) : high === 0 ? of(b) : union(of(a), of(b)));
    },
    reduce: (_, a) => add(registers[a].type, limits[registers[a].type]),
  };
}

const union = (a: Range, b: Range): Range => [Math.min(a[0], b[0]), Math.max(a[1], b[1])];

/** A range with room for rounding by a share of its ends. */
const widened = (
  [low, high]: Range,
  share: number,
): Range => [low - Math.abs(low) * share, high + Math.abs(high) * share];

/** What 16 bits make of a range; beyond IEEE's halfs is infinity. */
function roundedHalf(range: Range): Range {
  const [low, high] = widened(range, halfRounding);
  return [low < -65_000 ? -Infinity : low, high > 65_000 ? Infinity : high];
}

function castTo(range: Range, from: RegisterType, to: RegisterType): Range {
  const [low, high] = range;
  if (to === "bool") return low > 0 || high < 0 ? [1, 1] : low === 0 && high === 0 ? [0, 0] : [0, 1];
  if (from === "f32" && to !== "f32") return low < limits[to][0] ? limits[to] : [Math.trunc(low), Math.trunc(high)];
  return to === "f32" && from !== "f32" ? widened(range, rounding) : range;
}

function unary(op: UnaryOp, range: Range, type: RegisterType): Range {
  const [low, high] = range;
  switch (op) {
    case "neg":
      // Of unsigned numbers it wraps around.
      return type === "u32" ? limits.u32 : [0 - high, 0 - low];
    case "abs":
      return low >= 0 ? range : high <= 0 ? [0 - high, 0 - low] : [0, Math.max(-low, high)];
    case "exp":
      return widened([Math.exp(low), Math.exp(high)], rounding);
    case "floor":
      return [Math.floor(low), Math.floor(high)];
    case "not":
      return type === "bool" ? [1 - high, 1 - low] : limits[type];
    case "roundF16":
    case "roundBf16":
      return roundedHalf(range);
    case "log":
    case "recip":
    case "sqrt":
    case "sin":
    case "cos":
    case "tanh":
      return anything;
  }
}

function binary(op: BinaryOp, a: Range, b: Range, type: RegisterType): Range {
  const one = a[0] === a[1] && b[0] === b[1];
  switch (op) {
    case "add":
      return [a[0] + b[0], a[1] + b[1]];
    case "sub":
      return [a[0] - b[1], a[1] - b[0]];
    case "mul": {
      if ((a[0] === 0 && a[1] === 0) || (b[0] === 0 && b[1] === 0)) return [0, 0];
      const corners = [a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1]];
      return [Math.min(...corners), Math.max(...corners)];
    }
    case "max":
      return [Math.max(a[0], b[0]), Math.max(a[1], b[1])];
    case "min":
      return [Math.min(a[0], b[0]), Math.min(a[1], b[1])];
    case "less":
      return a[1] < b[0] ? [1, 1] : a[0] >= b[1] ? [0, 0] : [0, 1];
    case "equal":
      return one && a[0] === b[0] ? [1, 1] : a[1] < b[0] || b[1] < a[0] ? [0, 0] : [0, 1];
    case "and":
      return type === "bool" ? [a[0] * b[0], a[1] * b[1]] : limits[type];
    case "or":
      return type === "bool" ? [Math.max(a[0], b[0]), Math.max(a[1], b[1])] : limits[type];
    case "xor":
      return type !== "bool" ? limits[type] : one ? [Number(a[0] !== b[0]), Number(a[0] !== b[0])] : [0, 1];
    case "shr":
      return a[0] >= 0 && b[0] === b[1] && b[0] >= 0 && b[0] < 32
        ? [Math.floor(a[0] / 2 ** b[0]), Math.floor(a[1] / 2 ** b[0])]
        : limits[type];
    case "shl":
      return limits[type];
  }
}
