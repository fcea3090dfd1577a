/**
 * @file Writes the body of a loop kernel: scalar SSA for everything a group stores, cut into stages at reductions.
 */
import type { BinaryOp, Builder, RegisterType, UnaryOp } from "../../../dsl/primitive.ts";
import { registerType } from "../../../dsl/primitive.ts";
import { primitiveOf } from "../../../dsl/build.ts";
import { isHalf } from "../../../dsl/half.ts";
import { placementOf } from "../../../dsl/primitives/tiled.ts";
import { isOp, type Node } from "../../../dsl/node.ts";
import { axesOf, sizeOf, stridesOf } from "../../../dsl/shape.ts";
import { isReduction } from "../kinds.ts";
import type { LoopGroup, Resolver } from "../group.ts";
import type { Affine, Guard, Instruction, LoopKernel, Stage, StorageType } from "../kernel.ts";
import {
  address,
  eachInput,
  identity,
  type Index,
  type IndexMap,
  isAffineView,
  sameIndex,
  sameMap,
  throughView,
} from "../views.ts";

/** A kernel and the nodes behind its slots. */
export interface LoopBody {
  readonly kernel: LoopKernel;
  readonly slots: readonly Node[];
  /** Which of them it writes. */
  readonly writes: readonly Node[];
}

/** A condition on the loop's indices under which a value is needed. */
interface Bound {
  readonly index: Index;
  readonly size: number;
}

/** A value that a kernel has computed already: a node's, at an index, under conditions. */
interface Known {
  readonly map: IndexMap;
  readonly bounds: readonly Bound[];
  readonly register: number;
}

const sameBounds = (a: readonly Bound[], b: readonly Bound[]): boolean =>
  a === b ||
  (a.length === b.length && a.every(({ index, size }, i) => size === b[i].size && sameIndex(index, b[i].index)));

const unbounded: readonly Bound[] = [];

/** Operations whose result is one of their operands, or its opposite: it needs no rounding. */
const selecting = new Set<Node["op"]>(["copy", "neg", "maximum", "where"]);

const bits = new DataView(new ArrayBuffer(4));
const bitsOf = (value: number, type: RegisterType): number => {
  if (type === "f32") bits.setFloat32(0, value);
  else bits.setInt32(0, value);
  return bits.getUint32(0);
};

/** The loop kernel of a group that stores `writes`. `steady`: no choice depends on the number of its rows. */
export function loopBody(
  group: LoopGroup,
  writes: readonly Node[],
  resolve: Resolver,
  steady = false,
): LoopBody {
  const axes = orderAxes(group, writes);
  const sizes = [...axes.outer, ...axes.inner].map((axis) => group.space[axis]);
  const names = [...axes.outer, ...axes.inner], slots: Node[] = [];
  const body: Instruction[] = [], known = new Map<string, number>(), values = new Map<Node, Known[]>();

  const emit = (instruction: Instruction): number => {
    const key = nameOf(instruction), old = known.get(key);
    if (old !== undefined) return old;
    known.set(key, body.length);
    return body.push(instruction) - 1;
  };
  const affine = ({ offset, terms }: Index): Affine => ({ offset, strides: names.map((axis) => terms[axis] ?? 0) });
  const slotOf = (node: Node): number => slots.includes(node) ? slots.indexOf(node) : slots.push(node) - 1;
  const typeOf = (register: number): RegisterType => body[register].type;
  const build: Builder = {
    unary: (op: UnaryOp, a) => emit({ op, type: typeOf(a), a }),
    binary: (op: BinaryOp, a, b) => emit({ op, type: op === "less" || op === "equal" ? "bool" : typeOf(a), a, b }),
    select: (c, a, b) => emit({ op: "select", type: typeOf(a), c, a, b }),
    constant: (value, type) => emit({ op: "const", type, bits: bitsOf(value, type) }),
    cast: (a, type) => typeOf(a) === type ? a : emit({ op: "cast", type, a }),
    reduce: (by, a) => emit({ op: "reduce", type: typeOf(a), by, a }),
  };
  const counter = (index: Index): number => emit({ op: "index", type: "i32", index: affine(index) });

  const load = (
    node: Node,
    map: IndexMap,
    bounds: readonly Bound[],
    gather?: { register: number; stride: number; size: number },
  ): number => {
    const guards = bounds.map(({ index, size }): Guard => ({ ...affine(index), size }));
    return emit({
      op: "load",
      type: registerType(node.dtype),
      access: {
        slot: slotOf(node),
        dtype: node.dtype as StorageType,
        ...affine(address(node, map)),
        ...(guards.length > 0 && { guards }),
        ...(gather && { gather }),
      },
    });
  };

  const compute = (node: Node, map: IndexMap, bounds: readonly Bound[]): number => {
    if (isAffineView(node)) return value(node.inputs[0], throughView(node, map), bounds);
    if (isOp(node, "flatten")) return load(node.inputs[0], unflattened(node, map), bounds);
    const inputs: [Node, IndexMap][] = [];
    eachInput(node, map, (input, inner) => inputs.push([input, inner]));
    if (isOp(node, "pad")) {
      const [[x, inner]] = inputs, { axis } = node.attributes;
      const bound = { index: inner[axis], size: x.shape[axis] };
      const padded = value(x, inner, [...bounds, bound]);
      // A load outside its guard is 0 already.
      return body[padded].op === "load" ? padded : build.select(within(bound), padded, zero(node));
    }
    if (isOp(node, "concat")) {
      const { axis } = node.attributes;
      const pieces = inputs.map(([x, inner]) => {
        const bound = { index: inner[axis], size: x.shape[axis] };
        return { bound, register: value(x, inner, [...bounds, bound]) };
      });
      return pieces.reduceRight(
        (rest, { bound, register }, i) =>
          i === pieces.length - 1 ? register : build.select(below(bound), register, rest),
        -1,
      );
    }
    if (isOp(node, "take")) {
      const [x] = node.inputs, { axis } = node.attributes;
      const register = value(node.inputs[1], map, bounds);
      const rest = { ...map, [axis]: { offset: 0, terms: {} } };
      return load(x, rest, bounds, { register, stride: stridesOf(x.shape)[axis], size: x.shape[axis] });
    }
    if (isOp(node, "iota")) return counter(map[node.attributes.axis]);
    const lower = primitiveOf(node.op).lower;
    if (!lower) throw new Error(`${node.op} has no scalar lowering and no template`);
    const operands = inputs.map(([input, inner]) => value(input, inner, isReduction(node) ? unbounded : bounds));
    const register = lower(build, operands, node);
    // Fused or stored, a 16-bit value is one that 16 bits hold.
    if (!isHalf(node.dtype) || selecting.has(node.op)) return register;
    return build.unary(node.dtype === "f16" ? "roundF16" : "roundBf16", register);
  };

  const value = (node: Node, map: IndexMap, bounds: readonly Bound[]): number => {
    const before = values.get(node);
    const old = before?.find((each) => sameMap(node.shape, each.map, map) && sameBounds(each.bounds, bounds));
    if (old) return old.register;
    const register = resolve(group, node, map) === "load" ? load(node, map, bounds) : compute(node, map, bounds);
    const made = { map, bounds, register }, all = values.get(node);
    if (all) all.push(made);
    else values.set(node, [made]);
    return register;
  };

  const below = ({ index, size }: Bound): number => build.binary("less", counter(index), build.constant(size, "i32"));
  const within = (bound: Bound): number =>
    build.binary("and", build.binary("less", build.constant(-1, "i32"), counter(bound.index)), below(bound));
  const zero = (node: Node): number => build.constant(0, registerType(node.dtype));

  for (const node of writes) {
    const here = identity(node.shape), computed = compute(node, here, unbounded);
    const register = placementOf(node)?.accumulate
      ? build.binary("add", load(node, here, unbounded), computed)
      : computed;
    emit({
      op: "store",
      type: typeOf(register),
      access: {
        slot: slotOf(node),
        dtype: node.dtype as StorageType,
        ...affine(address(node, here)),
      },
      a: register,
    });
  }
  const outer = axes.outer.length;
  const kernel = coalesce({
    kind: "loop",
    sizes,
    outer,
    lanes: lanesOf(body, sizes, outer, steady),
    body,
    stages: stagesOf(body, outer),
  });
  return { kernel, slots, writes };
}

/** An instruction as text: equal texts are equal instructions. */
function nameOf(instruction: Instruction): string {
  const { op, type } = instruction;
  if ("access" in instruction || "index" in instruction) return JSON.stringify(instruction);
  if ("bits" in instruction) return `${op} ${type} ${instruction.bits}`;
  if ("by" in instruction) return `${op} ${type} ${instruction.by} ${instruction.a}`;
  if ("c" in instruction) return `${op} ${type} ${instruction.c} ${instruction.a} ${instruction.b}`;
  return "b" in instruction ? `${op} ${type} ${instruction.a} ${instruction.b}` : `${op} ${type} ${instruction.a}`;
}

/** Memory of a flatten's input is that of the flatten itself: its axes end with the flattened ones. */
function unflattened(view: Node<"flatten">, map: IndexMap): IndexMap {
  const { axes, axis } = view.attributes, [x] = view.inputs;
  // An axis of one element has no index of its own.
  const last = axes.findLast((name) => x.shape[name] !== 1) ?? axes[axes.length - 1];
  return Object.fromEntries(
    axesOf(x.shape).map((name) => [
      name,
      name === last ? map[axis] : axes.includes(name) ? { offset: 0, terms: {} } : map[name],
    ]),
  );
}

/** Outer and inner loop axes, slowest first, in the order of what is stored and read. Axes of one element are dropped. */
function orderAxes(group: LoopGroup, writes: readonly Node[]): { outer: string[]; inner: string[] } {
  const widest = writes.reduce((a, b) => (sizeOf(b.shape) > sizeOf(a.shape) ? b : a));
  const isInner = (axis: string): boolean => group.reduced.includes(axis);
  const order = [...new Set([...axesOf(widest.shape), ...axesOf(group.space)])].filter((axis) => axis in group.space);
  const outer = order.filter((axis) => !isInner(axis) && group.space[axis] !== 1);
  // Inner axes run as the reductions' operands lie in memory.
  const operand = group.nodes.find(isReduction)?.inputs[0].shape ?? group.space;
  const inner = axesOf(operand).filter((axis) => isInner(axis) && group.space[axis] !== 1);
  const spare = group.reduced[0];
  return { outer, inner: group.reduced.length > 0 && inner.length === 0 ? [spare] : inner };
}

/** Which registers change from one inner index to the next, and after how many reductions each is known. */
function analyse(body: readonly Instruction[], outer: number): { inner: boolean; time: number }[] {
  const facts: { inner: boolean; time: number }[] = [];
  const moves = ({ strides }: Affine): boolean => strides.some((stride, axis) => axis >= outer && stride !== 0);
  for (const instruction of body) {
    const inputs = operandsOf(instruction).map((register) => facts[register]);
    const time = Math.max(0, ...inputs.map((fact) => fact.time));
    if (instruction.op === "reduce") facts.push({ inner: false, time: time + 1 });
    else {
      const own = instruction.op === "index"
        ? moves(instruction.index)
        : (instruction.op === "load" || instruction.op === "store") &&
          (moves(instruction.access) || (instruction.access.guards ?? []).some(moves));
      facts.push({ inner: own || inputs.some((fact) => fact.inner), time });
    }
  }
  return facts;
}

/** Registers that an instruction reads. */
export const operandsOf = (instruction: Instruction): number[] => {
  const { op } = instruction;
  if (op === "load") return instruction.access.gather ? [instruction.access.gather.register] : [];
  if (op === "index" || op === "const") return [];
  if (op === "select") return [instruction.c, instruction.a, instruction.b];
  if (op === "store") {
    return [instruction.a, ...(instruction.access.gather ? [instruction.access.gather.register] : [])];
  }
  return "b" in instruction ? [instruction.a, instruction.b] : [instruction.a];
};

/** An outer stage, then an inner one, for every depth of reductions. */
export function stagesOf(body: readonly Instruction[], outer: number): Stage[] {
  const facts = analyse(body, outer), stages: Stage[] = [];
  const last = Math.max(0, ...facts.map(({ time }) => time));
  for (let time = 0; time <= last; time++) {
    const rows = body.map((_, i) => i).filter((i) =>
      facts[i].time === time && !facts[i].inner && body[i].op !== "reduce"
    );
    // A store may replace what other instructions of this index still load.
    const storesLast = (a: number, b: number): number =>
      Number(body[a].op === "store") - Number(body[b].op === "store") || a - b;
    if (rows.length > 0) stages.push({ level: "outer", registers: rows.sort(storesLast) });
    const wanted = body.map((_, i) => i).filter((i) =>
      body[i].op === "reduce"
        ? facts[i].time === time + 1
        : body[i].op === "store" && facts[i].inner && facts[i].time === time
    );
    if (wanted.length === 0) continue;
    const needed = new Set<number>(), stack = [...wanted];
    while (stack.length > 0) {
      const register = stack.pop()!;
      if (needed.has(register)) continue;
      needed.add(register);
      for (const input of operandsOf(body[register])) if (facts[input].inner) stack.push(input);
    }
    stages.push({ level: "inner", registers: [...needed].sort(storesLast) });
  }
  return stages;
}

/** Vectors run along rows, unless the rows are short or memory runs across them. */
function lanesOf(
  body: readonly Instruction[],
  sizes: readonly number[],
  outer: number,
  steady: boolean,
): "inner" | "outer" {
  if (outer === sizes.length) return outer === 0 ? "inner" : "outer";
  const inner = sizes.slice(outer).reduce((a, b) => a * b, 1), rows = sizes.slice(0, outer).reduce((a, b) => a * b, 1);
  if (steady) return inner < 24 ? "outer" : "inner";
  if (outer === 0) return "inner";
  let along = 0, across = 0;
  for (const { op, ...rest } of body) {
    if (op !== "load") continue;
    const { strides } = (rest as { access: Affine }).access;
    if (strides[sizes.length - 1] === 1) along++;
    else if (strides[outer - 1] === 1 && strides.slice(outer).some((stride) => stride !== 0)) across++;
  }
  if (inner < 24 && rows >= 8) return "outer";
  return across > along && rows >= 16 ? "outer" : "inner";
}

/** Joins neighbouring axes that every access walks as one. */
function coalesce(kernel: LoopKernel): LoopKernel {
  const affines: Affine[] = kernel.body.flatMap((instruction): Affine[] =>
    instruction.op === "index"
      ? [instruction.index]
      : instruction.op === "load" || instruction.op === "store"
      ? [instruction.access, ...(instruction.access.guards ?? [])]
      : []
  );
  const keep: number[] = [];
  for (let axis = 0; axis < kernel.sizes.length; axis++) {
    const next = axis + 1;
    const joins = next < kernel.sizes.length && next !== kernel.outer &&
      affines.every(({ strides }) => strides[axis] === strides[next] * kernel.sizes[next]);
    if (!joins) keep.push(axis);
  }
  const sizes: number[] = [];
  let size = 1, outer = 0;
  kernel.sizes.forEach((each, axis) => {
    size *= each;
    if (!keep.includes(axis)) return;
    sizes.push(size);
    if (axis < kernel.outer) outer++;
    size = 1;
  });
  const pick = <T extends Affine>(affine: T): T => ({ ...affine, strides: keep.map((axis) => affine.strides[axis]) });
  const body = kernel.body.map((instruction): Instruction => {
    if (instruction.op === "index") return { ...instruction, index: pick(instruction.index) };
    if (instruction.op !== "load" && instruction.op !== "store") return instruction;
    const { guards } = instruction.access;
    return { ...instruction, access: { ...pick(instruction.access), ...(guards && { guards: guards.map(pick) }) } };
  });
  // A kernel without axes still runs once.
  if (outer === 0) {
    const shift = <T extends Affine>(affine: T): T => ({ ...affine, strides: [0, ...affine.strides] });
    return {
      ...kernel,
      sizes: [1, ...sizes],
      outer: 1,
      body: body.map((instruction): Instruction => {
        if (instruction.op === "index") return { ...instruction, index: shift(instruction.index) };
        if (instruction.op !== "load" && instruction.op !== "store") return instruction;
        const { guards } = instruction.access;
        return {
          ...instruction,
          access: { ...shift(instruction.access), ...(guards && { guards: guards.map(shift) }) },
        };
      }),
    };
  }
  return { ...kernel, sizes, outer, body };
}
