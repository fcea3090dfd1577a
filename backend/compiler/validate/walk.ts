/** @file Which elements a kernel reads and writes, slot by slot: what the plan's validator goes by. */
import type { Access, Affine, Kernel, LoopKernel, OperandTypes } from "../kernel.ts";

/** One axis of a walk through memory. */
interface Axis {
  readonly size: number;
  readonly stride: number;
}

/** Elements of one slot: `offset + Σ stride · index` for every index, where the guards hold. */
export interface Walk {
  readonly slot: number;
  readonly writes: boolean;
  readonly bytesPerElement: number;
  readonly offset: number;
  readonly axes: readonly Axis[];
  readonly guards: readonly { readonly offset: number; readonly axes: readonly Axis[]; readonly size: number }[];
  /** The walk is where a run-time index says: anywhere within its reach, but at few places. */
  readonly gathers: boolean;
}

type Entry = Record<string, number>;

const axesOf = (key: string, ...groups: readonly (readonly object[])[]): Axis[] =>
  groups.flat().map((axis) => ({ size: (axis as Entry).size, stride: (axis as Entry)[key] ?? 0 }));

const plain = (
  slot: number,
  writes: boolean,
  offset: number,
  axes: readonly Axis[],
): Walk => ({
  slot,
  writes,
  bytesPerElement: 4,
  offset,
  axes,
  guards: [],
  gathers: false,
});

/** An operand of a product, which may be stored in two bytes. */
const operand = (
  { types, offsets }: { readonly types?: OperandTypes; readonly offsets: Readonly<Record<"a" | "b", number>> },
  name: "a" | "b",
  axes: readonly Axis[],
): Walk => ({
  ...plain(name === "a" ? 0 : 1, false, offsets[name], axes),
  bytesPerElement: types?.[name] ? 2 : 4,
});

const product = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1);

/** Every walk of a kernel, in the order of its phases: a product first, then the loop that goes on with its rows. */
export function phasesOf(kernel: Kernel): Walk[][] {
  if ((kernel.kind !== "contract" && kernel.kind !== "grouped") || !kernel.then) return [walksOf(kernel)];
  const { loop, slot, stored } = kernel.then, walks = walksOf(kernel), factors = walks.length - 1;
  const first = walks.filter(({ writes }) => stored || !writes);
  const second = loopWalks(loop).filter((walk) => stored || walk.slot !== slot);
  return [
    first.map((walk) => walk.writes ? { ...walk, slot: factors + slot } : walk),
    second.map((walk) => ({ ...walk, slot: factors + walk.slot })),
  ];
}

/** The walks of a kernel, without what may stand behind a product. */
function walksOf(kernel: Kernel): Walk[] {
  switch (kernel.kind) {
    case "loop":
      return loopWalks(kernel);
    case "contract": {
      const { batch, m, n, k, offsets } = kernel;
      return [
        operand(kernel, "a", axesOf("a", batch, [m], k)),
        operand(kernel, "b", axesOf("b", batch, [n], k)),
        plain(2, true, offsets.c, axesOf("c", batch, [m], [n])),
      ];
    }
    case "grouped": {
      const { positions, k, n, group, groups, offsets } = kernel;
      const count = product(positions.map(({ size }) => size));
      return [
        operand(kernel, "a", axesOf("a", positions, [k])),
        operand(kernel, "b", [...axesOf("b", [k], [n]), { size: groups, stride: group }]),
        plain(2, false, 0, [{ size: count + groups + 1, stride: 1 }]),
        plain(3, true, offsets.c, axesOf("c", positions, [n])),
      ];
    }
    case "groupedInto": {
      const { positions, m, n, group, groups, offsets } = kernel;
      const count = product(positions.map(({ size }) => size));
      return [
        operand(kernel, "a", axesOf("a", positions, [m])),
        operand(kernel, "b", axesOf("b", positions, [n])),
        plain(2, false, 0, [{ size: count + groups + 1, stride: 1 }]),
        plain(3, true, offsets.c, [...axesOf("c", [m], [n]), { size: groups, stride: group }]),
      ];
    }
    case "scatter": {
      const { positions, columns, group, groups, offsets } = kernel;
      return [
        plain(0, false, offsets.b, axesOf("b", positions, columns)),
        plain(1, false, 0, [{ size: product(positions.map(({ size }) => size)), stride: 1 }]),
        plain(2, true, offsets.c, [...axesOf("c", columns), { size: groups, stride: group }]),
      ];
    }
    case "topk": {
      const { rows, axis, slots, offsets } = kernel;
      return [
        plain(0, false, offsets.a, axesOf("a", rows, [axis])),
        plain(1, true, offsets.c, axesOf("c", rows, [slots])),
      ];
    }
    case "order":
      return [
        plain(0, false, 0, [{ size: kernel.positions, stride: 1 }]),
        plain(1, true, 0, [{ size: kernel.positions + kernel.groups + 1, stride: 1 }]),
      ];
    case "copy":
      return [false, true].map((writes, slot) => plain(slot, writes, 0, [{ size: kernel.words, stride: 1 }]));
  }
}

function loopWalks({ body, sizes, stages, outer }: LoopKernel): Walk[] {
  return stages.flatMap(({ level, registers }) =>
    registers.flatMap((register): Walk[] => {
      const instruction = body[register];
      if (instruction.op !== "load" && instruction.op !== "store") return [];
      const { access } = instruction, reach = level === "outer" ? outer : sizes.length;
      return [{ ...walkOf(access, sizes.slice(0, reach)), writes: instruction.op === "store" }];
    })
  );
}

function walkOf({ slot, dtype, guards = [], gather, ...affine }: Access, sizes: readonly number[]): Walk {
  const along = ({ strides }: Affine): Axis[] => sizes.map((size, i) => ({ size, stride: strides[i] }));
  return {
    slot,
    writes: false,
    bytesPerElement: dtype === "f16" || dtype === "bf16" ? 2 : 4,
    offset: affine.offset,
    axes: [...along(affine), ...(gather ? [{ size: gather.size, stride: gather.stride }] : [])],
    guards: guards.map((guard) => ({ offset: guard.offset, axes: along(guard), size: guard.size })),
    gathers: gather !== undefined,
  };
}

/** The lowest and the highest element of a walk without guards; undefined where there is none. */
export function hullOf({ offset, axes }: Pick<Walk, "offset" | "axes">): readonly [number, number] | undefined {
  let low = offset, high = offset;
  for (const { size, stride } of axes) {
    if (size === 0) return undefined;
    low += Math.min(0, stride * (size - 1));
    high += Math.max(0, stride * (size - 1));
  }
  return [low, high];
}

/** Does a walk touch everything between its ends, each element once? */
export function isDense({ axes, guards }: Walk): boolean {
  const moving = axes.filter(({ size, stride }) => size > 1 && stride !== 0).sort((a, b) =>
    Math.abs(a.stride) - Math.abs(b.stride)
  );
  let next = 1;
  for (const { size, stride } of moving) {
    if (Math.abs(stride) !== next) return false;
    next *= size;
  }
  return guards.length === 0;
}

/** Every element of a walk, where there are few enough to be listed (`most` indices); else undefined. */
export function elementsOf({ offset, axes, guards }: Walk, most: number): Set<number> | undefined {
  // Axes along which nothing moves say nothing new, unless a guard looks at them.
  const moving = axes.map((_, i) => i).filter((i) =>
    [axes, ...guards.map((guard) => guard.axes)].some((each) => (each[i]?.stride ?? 0) !== 0) || axes[i].size === 0
  );
  if (product(moving.map((i) => axes[i].size)) > most) return undefined;
  let points: { at: number; guards: readonly number[] }[] = [{ at: offset, guards: guards.map((each) => each.offset) }];
  for (const i of moving) {
    points = points.flatMap(({ at, guards: values }) =>
      Array.from({ length: axes[i].size }, (_, index) => ({
        at: at + index * axes[i].stride,
        guards: values.map((value, k) => value + index * (guards[k].axes[i]?.stride ?? 0)),
      }))
    );
  }
  const inside = points.filter(({ guards: values }) =>
    values.every((value, k) => value >= 0 && value < guards[k].size)
  );
  return new Set(inside.map(({ at }) => at));
}
