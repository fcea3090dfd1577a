/** @file What a program compiled to, as data and in words: kernels, their lines, why they were fused, bytes, FLOPs. */
import { isOp, type Node, sourceOf } from "../../../dsl/node.ts";
import { axesOf, showShape, without } from "../../../dsl/shape.ts";
import type { Group, Merge } from "../group.ts";
import type { Kernel } from "../kernel.ts";
import type { CompiledProgram } from "../emit.ts";
import { bytesOf } from "../place.ts";
import type { Step } from "../step.ts";

const product = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1);

/** Loops that go on with a product in its kernel. */
function loopsBehind(kernel: Kernel): readonly Kernel[] {
  const sums = "sums" in kernel && kernel.sums ? kernel.sums : [];
  return [...("then" in kernel && kernel.then ? [kernel.then] : []), ...sums].map(({ loop }) => loop);
}

/** Floating-point operations of a kernel (a grouped product counts every position once). */
function flopsOf(kernel: Kernel): number {
  const behind = loopsBehind(kernel).reduce((total, loop) => total + flopsOf(loop), 0);
  switch (kernel.kind) {
    case "contract": {
      const more = product([...kernel.batch, ...kernel.k].map(({ size }) => size));
      return 2 * kernel.m.size * kernel.n.size * more + behind;
    }
    case "grouped":
      return 2 * product(kernel.positions.map(({ size }) => size)) * kernel.k.size * kernel.n.size + behind;
    case "groupedInto":
      return 2 * product(kernel.positions.map(({ size }) => size)) * kernel.m.size * kernel.n.size + behind;
    case "loop": {
      const costs = new Set(["load", "store", "index", "const", "cast"]);
      const work = kernel.stages.flatMap(({ level, registers }) =>
        registers.filter((register) => !costs.has(kernel.body[register].op)).map(() => level)
      );
      const rows = product(kernel.sizes.slice(0, kernel.outer)), all = product(kernel.sizes);
      return work.reduce((total, level) => total + (level === "inner" ? all : rows), 0);
    }
    case "scatter":
    case "topk":
    case "order":
    case "copy":
      return 0;
  }
}

const sizesOf = (kernel: Kernel): string => {
  const [first, ...more] = loopsBehind(kernel).map(sizesOf);
  return extentOf(kernel) + (first ? `, then ${[first, ...more].join(" and ")}` : "");
};

const extentOf = (kernel: Kernel): string => {
  switch (kernel.kind) {
    case "contract":
      return `${product(kernel.batch.map(({ size }) => size))} × (${kernel.m.size} × ${
        product(kernel.k.map(({ size }) => size))
      } · ${kernel.n.size})`;
    case "grouped":
      return `${
        product(kernel.positions.map(({ size }) => size))
      } rows in ${kernel.groups} groups × ${kernel.k.size} · ${kernel.n.size}`;
    case "groupedInto":
      return `${kernel.groups} groups of ${
        product(kernel.positions.map(({ size }) => size))
      } rows: ${kernel.m.size} × ${kernel.n.size}`;
    case "loop":
      return `${kernel.sizes.slice(0, kernel.outer).join("·")}${
        kernel.outer < kernel.sizes.length ? ` rows of ${kernel.sizes.slice(kernel.outer).join("·")}` : ""
      }`;
    case "scatter":
      return `${product(kernel.positions.map(({ size }) => size))} rows into ${kernel.groups}`;
    case "topk":
      return `${kernel.slots.size} of ${kernel.axis.size}, ${product(kernel.rows.map(({ size }) => size))} rows`;
    case "order":
      return `${kernel.positions} into ${kernel.groups} groups`;
    case "copy":
      return `${kernel.words} words`;
  }
};

/** What a device was measured to reach: in products of matrices, and in copying (bytes read and written). */
export interface Roofs {
  /** Of a product of matrices. */
  readonly flopsPerSecond: number;
  /** Read and written by a copy. */
  readonly bytesPerSecond: number;
}

/** Where a kernel stands below the roof that bounds it. */
export interface RoofShare {
  /** `products`: its arithmetic would take longer than its bytes. */
  readonly bound: "products" | "bytes";
  /** FLOP/s or bytes/s, as it is bound. */
  readonly reached: number;
  /** That by the roof. */
  readonly share: number;
}

/** The same report with every measured kernel's share of the roof that bounds it. */
export function withRoofs(report: ProgramReport, roofs: Roofs): ProgramReport {
  const kernels = report.kernels.map((kernel): KernelReport => {
    const { flops, reads, writes, seconds } = kernel, moved = reads + writes;
    if (!seconds || flops + moved === 0) return kernel;
    const computing = flops / roofs.flopsPerSecond, moving = moved / roofs.bytesPerSecond;
    const roof: RoofShare = computing > moving
      ? { bound: "products", reached: flops / seconds, share: computing / seconds }
      : { bound: "bytes", reached: moved / seconds, share: moving / seconds };
    return { ...kernel, roof };
  });
  return { ...report, kernels, roofs };
}

/** One kernel of a program, or one that a loop runs for every tile. */
export interface KernelReport {
  /** Its number, in the order of running. */
  readonly number: number;
  /** Its template: loop, contract, grouped, … */
  readonly kind: string;
  /** How often it runs. */
  readonly runs: number;
  /** Axes and sizes of what it computes over; those that it reduces stand behind a bar. */
  readonly axes: string;
  /** Its extents, as the template sees them. */
  readonly extent: string;
  /** What it does: operations and how many of each. */
  readonly operations: string;
  /** The lines of the user's program that it computes. */
  readonly sources: readonly string[];
  /** Why operations came together in it. */
  readonly fused: readonly string[];
  /** Why others did not: the operation and the reason. */
  readonly apart: readonly string[];
  /** Floating-point operations, all runs together. */
  readonly flops: number;
  /** Bytes read, all runs together. */
  readonly reads: number;
  /** Bytes written, all runs together. */
  readonly writes: number;
  /** Seconds that it took in one call (mean of those so far), where the device measures them. */
  readonly seconds?: number;
  /** Share of the step's time: measured, or predicted from what takes longer, computing or moving. */
  readonly share: number;
  /** What it reached of the device's roofs; what lies in caches is moved faster than the roof, which is memory's. */
  readonly roof?: RoofShare;
  /** Numbers of the kernels whose results it reads. */
  readonly after: readonly number[];
}

/** What a program compiled to. */
export interface ProgramReport {
  /** Its kernels, in the order in which they first run. */
  readonly kernels: readonly KernelReport[];
  /** Kernels run per call. */
  readonly steps: number;
  /** Different ones among them. */
  readonly distinct: number;
  /** Floating-point operations. */
  readonly flops: number;
  /** Bytes read and written. */
  readonly moved: number;
  /** Bytes of intermediate memory. */
  readonly arena: number;
  /** How many results it has. */
  readonly results: number;
  /** How many of them overwrite donated memory. */
  readonly overwriting: number;
  /** Were the shares measured? */
  readonly timed: boolean;
  /** Why they were not, although that was asked for. */
  readonly untimed?: string;
  /** The roofs that shares of them refer to. */
  readonly roofs?: Roofs;
  /** How often a fusion was refused, by reason. */
  readonly refused: Readonly<Record<string, number>>;
}

/** Floating-point operations that take as long as moving a byte: between a laptop's processor and a graphics card. */
const operationsPerByte = 10;

const counted = (words: Iterable<string>): Map<string, number> => {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return counts;
};

const times = (counts: ReadonlyMap<string, number>): string[] =>
  [...counts].map(([word, count]) => count > 1 ? `${word}×${count}` : word);

function axesIn(group: Group): string {
  if (group.kind === "tiled") return `${group.body.axis}, tile by tile`;
  if (group.kind === "template") return showShape(group.node.shape).slice(1, -1);
  const outer = showShape(without(group.space, group.reduced)).slice(1, -1);
  return group.reduced.length > 0
    ? `${outer} | ${group.reduced.map((axis) => `${axis}:${group.space[axis]}`).join(" ")}`
    : outer;
}

const apartIn = (group: Group): string[] => {
  if (group.kind === "tiled") return [];
  if (group.kind === "template") return [`${group.node.op} has a kernel of its own`];
  const last = new Map(
    group.refusals.filter(({ source }) => !group.nodes.includes(source)).map((each) => [each.source, each]),
  );
  return times(counted([...last.values()].map(({ source, reason }) => `${source.op}: ${reason}`)));
};

/** The report of a program that runs without kernels. */
export const emptyReport: ProgramReport = {
  kernels: [],
  steps: 0,
  distinct: 0,
  flops: 0,
  moved: 0,
  arena: 0,
  results: 0,
  overwriting: 0,
  timed: false,
  refused: {},
};

/** Bytes that a step moves. */
interface Traffic {
  readonly reads: number;
  readonly writes: number;
}

function trafficOf({ unit, behind = [], slots }: Step): Traffic {
  const isWritten = (node: Node): boolean => [unit, ...behind].some((each) => each.writes.includes(node));
  let reads = 0, writes = 0;
  for (const { node } of slots) {
    if (isWritten(node)) writes += bytesOf(node);
    else reads += bytesOf(node);
  }
  return { reads, writes };
}

/**
 * The report of a program. Lines of source are in it if it was traced within `withSources`.
 *
 * @param seconds what each step of the plan took in all runs so far, where the device measures it
 */
export function reportOf(
  { plan, steps, origins, refused, arguments: sources, results }: CompiledProgram,
  seconds: readonly number[] = [],
): ProgramReport {
  const timed = seconds.some((each) => each > 0), took = new Map<Step, number>();
  seconds.forEach((each, i) => took.set(steps[origins[i]], (took.get(steps[origins[i]]) ?? 0) + each));
  const traffic = new Map(steps.map((step) => [step, trafficOf(step)]));
  const trafficBy = (step: Step): Traffic => traffic.get(step)!;
  const movedBy = (step: Step): number => trafficBy(step).reads + trafficBy(step).writes;
  const sum = (of: readonly Step[], f: (step: Step) => number): number =>
    of.reduce((total, step) => total + f(step), 0);
  const cost = (step: Step): number =>
    timed ? took.get(step) ?? 0 : Math.max(flopsOf(step.kernel) / operationsPerByte, movedBy(step));
  const writer = new Map<Node, number>(), whole = sum(steps, cost);
  const kernels = entriesOf(steps).map((same, number): KernelReport => {
    const [{ unit, behind = [], kernel }] = same, { group } = unit, units = [unit, ...behind];
    const nodes = units.flatMap((each) => each.group.nodes), reads = units.flatMap((each) => each.reads);
    const outside = reads.some(({ op }) => op === "window") ? unit.loop?.reads ?? [] : [];
    const after = new Set([...reads, ...outside].flatMap((node) => writer.get(node) ?? []));
    for (const node of [...units.flatMap(({ writes }) => writes), ...(unit.loop?.writes ?? [])]) {
      writer.set(node, number);
    }
    after.delete(number);
    return {
      number,
      kind: kernel.kind,
      runs: same.length,
      axes: axesIn(group),
      extent: sizesOf(kernel),
      operations: times(counted(nodes.map(({ op }) => op))).join(" "),
      sources: [...new Set(nodes.flatMap((node) => sourceOf(node) ?? []))],
      fused: [
        ...units.flatMap((each) => each.group.kind === "loop" ? times(counted(each.group.merges.map(reasonOf))) : []),
        ...behind.map(() => `${nodes[0].op} hands its results on before they are in memory`),
      ],
      apart: apartIn((behind.at(-1) ?? unit).group),
      flops: sum(same, (step) => flopsOf(step.kernel)),
      reads: sum(same, (step) => trafficBy(step).reads),
      writes: sum(same, (step) => trafficBy(step).writes),
      ...(timed && { seconds: sum(same, cost) }),
      share: whole > 0 ? sum(same, cost) / whole : 0,
      after: [...after].sort((a, b) => a - b),
    };
  });
  return {
    kernels,
    steps: steps.length,
    distinct: plan.kernels.length,
    flops: sum(steps, ({ kernel }) => flopsOf(kernel)),
    moved: sum(steps, movedBy),
    arena: plan.arena.reduce((a, b) => a + b, 0),
    results: results.length,
    overwriting: results.filter((argument) => sources[argument].kind === "parameter").length,
    timed,
    refused: Object.fromEntries(refused),
  };
}

/** Steps in the order of the plan; a loop's kernels run once for every tile: they are one entry. */
function entriesOf(steps: readonly Step[]): Step[][] {
  const entries = new Map<string, Step[]>(), groups = new Map<Group, number>();
  for (const step of steps) {
    const { group, loop } = step.unit;
    for (const each of loop ? [loop.group, group] : [group]) if (!groups.has(each)) groups.set(each, groups.size);
    const key = `${groups.get(group)} ${loop ? groups.get(loop.group) : ""} ${step.kernel.kind} ${
      sizesOf(step.kernel)
    }`;
    (entries.get(key) ?? entries.set(key, []).get(key)!).push(step);
  }
  return [...entries.values()];
}

/** Why two loops became one, in words. */
const reasonOf = ({ via, space }: Merge): string => `${via.op} feeds the same ${axesOf(space).join(" ")} loop`;

/** Which operations of a step look up or place elements by an index, and along which axis, for an error's message. */
export function indexedBy({ unit, behind = [] }: Step): string {
  const nodes = [unit, ...behind].flatMap(({ group }) => group.nodes);
  const found = nodes.flatMap((node) => {
    if (isOp(node, "order")) return [`contractAt (or its gradient) into ${node.attributes.groups} groups`];
    if (isOp(node, "take")) return [`take along axis "${node.attributes.axis}" of ${showShape(node.inputs[0].shape)}`];
    if (isOp(node, "scatter")) return [`the gradient of take along axis "${node.attributes.axis}"`];
    return isOp(node, "write") ? [`write along axis "${node.attributes.axis}" of ${showShape(node.shape)}`] : [];
  });
  return [...new Set(found)].join(", or ");
}
