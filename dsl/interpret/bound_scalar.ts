/** @file How far scalar instructions in f32 may be off, given how far their operands are: one rule per instruction. */
import { primitiveOf } from "../build.ts";
import { isHalf, roundTo } from "../half.ts";
import { isOp, type Node } from "../node.ts";
import {
  type BinaryOp,
  type Builder,
  type RegisterType,
  registerType,
  type UnaryOp,
  type Values,
} from "../primitive.ts";
import { along, fresh, loop } from "../primitives/loop.ts";
import { sameOrder, type Shape } from "../shape.ts";
import type { DType } from "../tensor.ts";

/** Values in f64, and for each how far a device may be from it. */
export interface Bounded extends Values {
  readonly error: Float64Array;
}

/** Relative error of one rounding in f32. */
export const unit = 2 ** -24;

// Smaller results may be flushed to zero, larger ones are infinite.
const smallest = 2 ** -126, largest = (2 - 2 ** -23) * 2 ** 127;
/** Devices' stated accuracy of exp, log, sin, …, in units of 2⁻²³. */
const ulp = 2 ** -23;

/**
 * By how many units a result of `roundings` roundings may be off: no more than their number, and for long sums (whose
 * roundings are as often up as down) a multiple of its root (Higham and Mary, 2019, doi 10.1137/18M1226312).
 */
export const accumulated = (roundings: number): number => Math.min(roundings, 4 * Math.sqrt(roundings));

/** The error of a value that is `error` off, once it is rounded to f32. A number that is exact and fits stays exact. */
function roundedError(value: number, error: number): number {
  if (error === 0 && Math.fround(value) === value) return 0;
  const most = Math.abs(value) + error;
  if (!(most <= largest)) return Infinity;
  return error + unit * most + (Math.abs(value) - error < smallest ? smallest : 0);
}

/** Errors of values from the host: f32 rounds them, everything else holds them as they are. */
export const hostError = (data: Float64Array, dtype: DType): Float64Array =>
  dtype === "f32" ? data.map((value) => roundedError(value, 0)) : new Float64Array(data.length);

/** Values and errors once they are stored: 16 bits hold a value of 16 bits, which may be a step off. */
export function stored({ shape, data, error }: Bounded, dtype: DType): Bounded {
  if (!isHalf(dtype)) return { shape, data, error };
  const step = monotone((x) => roundTo(dtype, x));
  return { shape, data: data.map((x) => roundTo(dtype, x)), error: data.map((x, i) => step(x, error[i])) };
}

interface UnaryRule {
  readonly value: (x: number) => number;
  /** How much the value changes where x is off by up to `error`. */
  readonly spread: (x: number, error: number) => number;
  /** What computing it adds. */
  readonly accuracy: (x: number, value: number) => number;
}

const same = (_: number, error: number): number => error;
const exact = (): number => 0;
const ulps = (count: number) => (_: number, value: number): number => count * ulp * Math.abs(value);
/** How far two values are apart; equal infinities are not apart at all. */
const apart = (a: number, b: number): number => a === b ? 0 : Math.abs(a - b);
/** A function that only grows or only falls: its ends are its extremes. NaN (outside of its domain) is boundless. */
const monotone = (value: (x: number) => number) => (x: number, error: number): number => {
  if (error === 0) return 0;
  const at = value(x), most = Math.max(apart(value(x + error), at), apart(value(x - error), at));
  return Number.isNaN(most) ? Infinity : most;
};
const rule = (value: (x: number) => number, count: number): UnaryRule => ({
  value,
  spread: monotone(value),
  accuracy: ulps(count),
});

/** A function in steps: exact, but what is off may be a step further off. */
const stepwise = (value: (x: number) => number): UnaryRule => ({ value, spread: monotone(value), accuracy: exact });

const unaryRules: Readonly<Record<UnaryOp, UnaryRule>> = {
  neg: { value: (x) => -x, spread: same, accuracy: exact },
  abs: { value: Math.abs, spread: same, accuracy: exact },
  not: { value: (x) => (x ? 0 : 1), spread: same, accuracy: exact },
  floor: stepwise(Math.floor),
  roundF16: stepwise((x) => roundTo("f16", x)),
  roundBf16: stepwise((x) => roundTo("bf16", x)),
  exp: rule(Math.exp, 2),
  log: rule(Math.log, 2),
  sqrt: rule(Math.sqrt, 1),
  tanh: rule(Math.tanh, 2),
  recip: {
    value: (x) => 1 / x,
    spread: (x, error) => error < Math.abs(x) ? monotone((each) => 1 / each)(x, error) : error === 0 ? 0 : Infinity,
    accuracy: ulps(1),
  },
  // Near a zero far from 0, what range reduction leaves is good to an absolute error only.
  sin: {
    value: Math.sin,
    spread: (_, error) => Math.min(2, error),
    accuracy: (x) => 2 * ulp * Math.min(1, Math.abs(x)),
  },
  cos: { value: Math.cos, spread: (_, error) => Math.min(2, error), accuracy: () => 2 * ulp },
};

/** A number and how far off it may be. */
interface Point {
  value: number;
  error: number;
}

const integerOf = (value: number, type: RegisterType): number =>
  type === "i32" ? value | 0 : type === "u32" ? value >>> 0 : value;
/** Bits of an uncertain number are anything. */
const anything = (a: Point, b: Point): number => a.error + b.error > 0 ? Infinity : 0;
/** Could rounding change how two numbers compare? */
const undecided = (a: Point, b: Point): number => {
  const reach = a.error + b.error;
  return reach > 0 && !(Math.abs(a.value - b.value) > reach) ? 1 : 0;
};
const extreme = (pick: (...xs: number[]) => number, a: Point, b: Point): number => {
  const value = pick(a.value, b.value);
  return Math.max(
    Math.abs(pick(a.value + a.error, b.value + b.error) - value),
    Math.abs(pick(a.value - a.error, b.value - b.error) - value),
  );
};
/** Of bools, one that is sure decides alone. */
const logical = (a: Point, b: Point, decides: number): number =>
  (a.error === 0 && a.value === decides) || (b.error === 0 && b.value === decides) ? 0 : Math.max(a.error, b.error);

interface BinaryRule {
  readonly value: (a: number, b: number, type: RegisterType) => number;
  readonly spread: (a: Point, b: Point, type: RegisterType) => number;
  readonly rounds?: boolean;
}

const sumOf = (sign: 1 | -1): BinaryRule => ({
  value: (a, b) => a + sign * b,
  spread: (a, b) => a.error + b.error,
  rounds: true,
});

const binaryRules: Readonly<Record<BinaryOp, BinaryRule>> = {
  add: sumOf(1),
  sub: sumOf(-1),
  mul: {
    value: (a, b, type) => type === "f32" ? a * b : Math.imul(a, b),
    spread: (a, b) => Math.abs(a.value) * b.error + a.error * (Math.abs(b.value) + b.error),
    rounds: true,
  },
  max: { value: (a, b) => Math.max(a, b), spread: (a, b) => extreme(Math.max, a, b) },
  min: { value: (a, b) => Math.min(a, b), spread: (a, b) => extreme(Math.min, a, b) },
  less: { value: (a, b) => Number(a < b), spread: undecided },
  equal: { value: (a, b) => Number(a === b), spread: undecided },
  and: { value: (a, b) => a & b, spread: (a, b, type) => type === "bool" ? logical(a, b, 0) : anything(a, b) },
  or: { value: (a, b) => a | b, spread: (a, b, type) => type === "bool" ? logical(a, b, 1) : anything(a, b) },
  xor: { value: (a, b) => a ^ b, spread: anything },
  shl: { value: (a, b) => a << b, spread: anything },
  shr: { value: (a, b) => a >>> b, spread: anything },
};

const whole: Readonly<Record<"i32" | "u32", readonly [number, number]>> = {
  i32: [-(2 ** 31), 2 ** 31 - 1],
  u32: [0, 2 ** 32 - 1],
};
const truncated = (type: "i32" | "u32") => (x: number): number =>
  Math.min(whole[type][1], Math.max(whole[type][0], Math.trunc(x))) || 0;

/** A register of a scalar body, for every element of the loop at once. */
interface Register extends Bounded {
  readonly type: RegisterType;
}

/** Instructions as operations on whole arrays; `space` is what a reduction goes over, `result` what it leaves. */
class BoundingBuilder implements Builder {
  readonly registers: Register[] = [];
  constructor(private readonly space: Shape, private readonly result: Shape) {}

  add(register: Register): number {
    return this.registers.push(register) - 1;
  }

  #map(type: RegisterType, operands: readonly number[], f: (xs: readonly Point[], out: Point) => void): number {
    const inputs = operands.map((operand) => this.registers[operand]);
    const [first] = inputs, alike = inputs.every(({ shape }) => sameOrder(shape, first.shape));
    const shape: Shape = alike ? first.shape : Object.assign({}, ...inputs.map((input) => input.shape));
    const data = fresh(shape), error = fresh(shape), out = { value: 0, error: 0 };
    const points = inputs.map((): Point => ({ value: 0, error: 0 }));
    const one = (to: number, at: (input: number) => number): void => {
      for (let k = 0; k < inputs.length; k++) {
        points[k].value = inputs[k].data[at(k)];
        points[k].error = inputs[k].error[at(k)];
      }
      f(points, out);
      data[to] = out.value;
      error[to] = Number.isNaN(out.error) ? Infinity : out.error;
    };
    if (alike) { for (let i = 0; i < data.length; i++) one(i, () => i); }
    else {
      const strides = [along(shape, shape), ...inputs.map((input) => along(shape, input.shape))];
      loop(shape, strides, (at) => one(at[0], (k) => at[k + 1]));
    }
    return this.add({ shape, data, error, type });
  }

  unary(op: UnaryOp, a: number): number {
    const { value, spread, accuracy } = unaryRules[op], { type } = this.registers[a];
    return this.#map(type, [a], ([x], out) => {
      out.value = integerOf(value(x.value), type);
      const added = accuracy(x.value, out.value), error = spread(x.value, x.error) + added;
      out.error = added === 0 ? error : roundedError(out.value, error);
    });
  }

  binary(op: BinaryOp, a: number, b: number): number {
    const { value, spread, rounds } = binaryRules[op], { type } = this.registers[a];
    const made = op === "less" || op === "equal" ? "bool" : type;
    return this.#map(made, [a, b], ([x, y], out) => {
      out.value = integerOf(value(x.value, y.value, type), made);
      const error = spread(x, y, type);
      out.error = rounds && type === "f32" ? roundedError(out.value, error) : error;
    });
  }

  select(condition: number, yes: number, no: number): number {
    return this.#map(this.registers[yes].type, [condition, yes, no], ([c, x, y], out) => {
      const { value, error } = c.value ? x : y;
      out.value = value;
      out.error = c.error === 0 ? error : Math.abs(x.value - y.value) + Math.max(x.error, y.error);
    });
  }

  constant(value: number, type: RegisterType): number {
    const data = Float64Array.of(value);
    return this.add({ shape: {}, data, error: hostError(data, type), type });
  }

  cast(a: number, type: RegisterType): number {
    const { type: from } = this.registers[a];
    return this.#map(type, [a], ([x], out) => {
      if (type === "bool") {
        out.value = x.value !== 0 ? 1 : 0;
        out.error = x.error > 0 && !(Math.abs(x.value) > x.error) ? 1 : 0;
      } else if (type === "f32") {
        out.value = x.value;
        out.error = from === "f32" ? x.error : roundedError(x.value, x.error);
      } else if (from === "f32") {
        const truncate = truncated(type);
        out.value = truncate(x.value);
        out.error = monotone(truncate)(x.value, x.error);
      } else {
        out.value = integerOf(x.value, type);
        out.error = x.error > 0 && out.value !== x.value ? Infinity : x.error;
      }
    });
  }

  reduce(by: "sum" | "max" | "min", a: number): number {
    const { shape: from, data: values, error: errors, type } = this.registers[a], { space, result: shape } = this;
    const data = fresh(shape, by === "sum" ? 0 : by === "max" ? -Infinity : Infinity), error = fresh(shape);
    const walk = [shape, from].map((each) => along(space, each));
    if (by === "sum") {
      const magnitude = fresh(shape), terms = fresh(shape);
      loop(space, walk, ([o, i]) => {
        data[o] = integerOf(data[o] + values[i], type);
        error[o] += errors[i];
        magnitude[o] += Math.abs(values[i]) + errors[i];
        terms[o]++;
      });
      if (type === "f32") {
        error.forEach((_, o) => error[o] += accumulated(Math.max(0, terms[o] - 1)) * unit * magnitude[o]);
      }
      return this.add({ shape, data, error, type });
    }
    const pick = by === "max" ? Math.max : Math.min, high = data.slice(), low = data.slice();
    loop(space, walk, ([o, i]) => {
      data[o] = pick(data[o], values[i]);
      high[o] = pick(high[o], values[i] + errors[i]);
      low[o] = pick(low[o], values[i] - errors[i]);
    });
    error.forEach((_, o) => {
      const most = Math.max(Math.abs(high[o] - data[o]), Math.abs(low[o] - data[o]));
      error[o] = Number.isNaN(most) ? (high[o] === low[o] ? 0 : Infinity) : most;
    });
    return this.add({ shape, data, error, type });
  }
}

/** The error of a primitive with a scalar body. */
export function scalarError(node: Node, inputs: readonly Bounded[]): Float64Array {
  const { data, shape, error } = scalarBound(node, inputs);
  if (sameOrder(shape, node.shape)) return error;
  const out = fresh(node.shape);
  loop(node.shape, [node.shape, shape].map((each) => along(node.shape, each)), ([o, i]) => out[o] = error[i]);
  return data.length === 0 ? new Float64Array() : out;
}

/** What the scalar body of a primitive computes, with bounds. @throws TypeError when it has none */
export function scalarBound(node: Node, inputs: readonly Bounded[]): Bounded {
  const { lower } = primitiveOf(node.op);
  if (!lower) throw new TypeError(`${node.op} has no scalar body`);
  const build = new BoundingBuilder(isOp(node, "constant") ? {} : node.inputs[0].shape, node.shape);
  const operands = inputs.map((input, i) => build.add({ ...input, type: registerType(node.inputs[i].dtype) }));
  return build.registers[lower(build, operands, node)];
}
