/**
 * @file Writes the body of a loop kernel: scalar SSA for everything a group stores, cut into stages at reductions.
 */
import { registerType } from "../../../dsl/primitive.ts";
import { primitiveOf } from "../../../dsl/build.ts";
import { isHalf } from "../../../dsl/half.ts";
import { placementOf } from "../../../dsl/primitives/tiled.ts";
import { isOp, type Node } from "../../../dsl/node.ts";
import { axesOf, sizeOf, stridesOf } from "../../../dsl/shape.ts";
import { isReduction } from "../kinds.ts";
import type { LoopGroup, Resolver } from "../group.ts";
import { type Affine, type Instruction, type LoopKernel, operandsOf, type Stage } from "../kernel.ts";
import { eachInput, identity, type IndexMap, isAffineView, sameIndex, sameMap, throughView } from "../views.ts";
import { type Bound, type Writer, writerOver } from "./writer.ts";

/** A kernel and the nodes behind its slots. */
export interface LoopBody {
  readonly kernel: LoopKernel;
  readonly slots: readonly Node[];
  /** Which of them it writes. */
  readonly writes: readonly Node[];
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

/** The loop kernel of a group that stores `writes`. `steady`: no choice depends on the number of its rows. */
export function loopBody(
  group: LoopGroup,
  writes: readonly Node[],
  resolve: Resolver,
  steady = false,
): LoopBody {
  const axes = orderAxes(group, writes), names = [...axes.outer, ...axes.inner];
  const sizes = names.map((axis) => group.space[axis]), outer = axes.outer.length;
  const writer = writerOver(names, !steady), { body, slots, build } = writer;
  const compute = computing(writer, (node, map) => resolve(group, node, map) === "load");
  for (const node of writes) {
    const here = identity(node.shape), computed = compute(node, here, unbounded);
    const adds = placementOf(node)?.accumulate;
    writer.store(node, adds ? build.binary("add", writer.load(node, here, unbounded), computed) : computed);
  }
  const lanes = lanesOf(body, sizes, outer, steady), stages = stagesOf(body, outer);
  return { kernel: coalesce({ kind: "loop", sizes, outer, lanes, body, stages }), slots, writes };
}

/** Writes the computation of a node at an index, under conditions; gives the register of its value. */
type Compute = (node: Node, map: IndexMap, bounds: readonly Bound[]) => number;

/** A node's computation, as deep as what it is made of is not loaded. */
function computing(writer: Writer, isLoaded: (node: Node, map: IndexMap) => boolean): Compute {
  const { build, load, counter } = writer, values = new Map<Node, Known[]>();

  const value: Compute = (node, map, bounds) => {
    const before = values.get(node);
    const old = before?.find((each) => sameMap(node.shape, each.map, map) && sameBounds(each.bounds, bounds));
    if (old) return old.register;
    const register = isLoaded(node, map) ? load(node, map, bounds) : compute(node, map, bounds);
    const made = { map, bounds, register }, all = values.get(node);
    if (all) all.push(made);
    else values.set(node, [made]);
    return register;
  };

  const compute: Compute = (node, map, bounds) => {
    if (isAffineView(node)) return value(node.inputs[0], throughView(node, map), bounds);
    if (isOp(node, "flatten")) return load(node.inputs[0], unflattened(node, map), bounds);
    if (isOp(node, "pad") || isOp(node, "concat")) return pieces(node, map, bounds);
    if (isOp(node, "take")) {
      const [x, index] = node.inputs, { axis } = node.attributes, register = value(index, map, bounds);
      const rest = { ...map, [axis]: { offset: 0, terms: {} } };
      return load(x, rest, bounds, { register, stride: stridesOf(x.shape)[axis], size: x.shape[axis] });
    }
    if (isOp(node, "iota")) return counter(map[node.attributes.axis]);
    const lower = primitiveOf(node.op).lower;
    if (!lower) throw new Error(`${node.op} has no scalar lowering and no template`);
    const operands: number[] = [], within = isReduction(node) ? unbounded : bounds;
    eachInput(node, map, (input, inner) => operands.push(value(input, inner, within)));
    const register = lower(build, operands, node);
    // Fused or stored, a 16-bit value is one that 16 bits hold.
    if (!isHalf(node.dtype) || selecting.has(node.op)) return register;
    return build.unary(node.dtype === "f16" ? "roundF16" : "roundBf16", register);
  };

  /** What is in its own part of an axis only: each piece is loaded where it is, and selected there. */
  const pieces = (node: Node<"pad"> | Node<"concat">, map: IndexMap, bounds: readonly Bound[]): number => {
    const { axis } = node.attributes, made: { readonly bound: Bound; readonly register: number }[] = [];
    eachInput(node, map, (x, inner) => {
      const bound = { index: inner[axis], size: x.shape[axis] };
      made.push({ bound, register: value(x, inner, [...bounds, bound]) });
    });
    const last = made[made.length - 1].register;
    if (node.op === "concat") {
      return made.slice(0, -1).reduceRight(
        (rest, { bound, register }) => build.select(below(bound), register, rest),
        last,
      );
    }
    // A load outside its guard is 0 already.
    if (writer.body[last].op === "load") return last;
    return build.select(within(made[0].bound), last, build.constant(0, registerType(node.dtype)));
  };

  const below = ({ index, size }: Bound): number => build.binary("less", counter(index), build.constant(size, "i32"));
  const within = (bound: Bound): number =>
    build.binary("and", build.binary("less", build.constant(-1, "i32"), counter(bound.index)), below(bound));
  return compute;
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
