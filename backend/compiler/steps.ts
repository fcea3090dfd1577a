/**
 * @file Turns scheduled groups into the kernels of a plan, one after the other; loops over tiles are written out.
 * In: a lowered program. Out: kernels in order, and for each of their slots which memory it is.
 */
import { isOp, type Node } from "../../dsl/node.ts";
import { placementOf, placeOf, type Tile } from "../../dsl/primitives/tiled.ts";
import { sizeOf, stridesOf } from "../../dsl/shape.ts";
import { circleIn } from "./ordering/circles.ts";
import { isArgument } from "./kinds.ts";
import { group, type GroupLimits, type TiledGroup } from "./group.ts";
import type { Kernel, LoopKernel } from "./kernel.ts";
import { kernelsOf } from "./emission/kernels.ts";
import { lower, type LowerOptions } from "./lower.ts";
import { type HandingOn, panels } from "./panels.ts";
import { alignment, type Place, place } from "./place.ts";
import { schedule, type Unit } from "./schedule.ts";
import { bytesOf } from "./place.ts";
import { isNodeMemory, type Scratch, type Slot, type Step, type Steps } from "./step.ts";
import { stagesOf } from "./emission/body.ts";
import { type Stopwatch, timed } from "./explain/stopwatch.ts";
import { validateGrouping } from "./validate/group.ts";
import { validatePanels } from "./validate/panels.ts";
import { validateSchedule } from "./validate/schedule.ts";

/** What a device allows. */
export interface StepLimits extends GroupLimits, LowerOptions {
  readonly maxBufferBytes: number;
  /** What products hand on to the loops behind them; left out: nothing. */
  readonly handsOn?: HandingOn["unit"];
  /** Check the result of every pass. */
  readonly validate: boolean;
  /** Told how long each pass takes. */
  readonly watch?: Stopwatch;
}

/** A tile's body as kernels in order: the same for all loops with this body. */
interface Body {
  readonly roots: readonly Node[];
  readonly steps: readonly Step[];
  readonly refused: ReadonlyMap<string, number>;
  readonly own: OwnValues;
}

/** Values that a body makes for itself, and where they lie: in blocks of so many bytes. */
interface OwnValues {
  readonly nodes: readonly Node[];
  readonly places: readonly Place[];
  readonly blocks: readonly number[];
}

/** Groups, orders and emits a lowered program. `bodies` are those of tiles met before, by their results. */
export function stepsOf(
  results: readonly Node[],
  limits: StepLimits,
  donated: ReadonlySet<Node>,
  bodies = new Map<string, Body>(),
): Steps {
  const { watch } = limits,
    grouping = timed(watch, "group", () => {
      const quick = group(results, limits);
      return circleIn(quick) ? group(results, { ...limits, thorough: true }) : quick;
    });
  if (limits.validate) validateGrouping(grouping, limits.maxBindings);
  const writers = kernelsOf(grouping, limits),
    scheduled = timed(watch, "schedule", () => schedule(grouping, donated, writers)),
    { units, inPlace } = scheduled,
    refused = new Map(grouping.refused);
  if (limits.validate) validateSchedule(scheduled, { grouping, donated, maxBindings: limits.maxBindings });
  const steps = units.flatMap((unit): Step[] => {
    if (unit.group.kind === "tiled") return loop(unit, unit.group, limits, refused, bodies);
    const kernels = unit.group.kind === "loop"
      ? [unit.body!]
      : writers.template(unit.group.node, inPlace.has(unit.writes[0]));
    return kernels.map(({ kernel, slots }) => ({ unit, kernel, slots: slots.map(wholly) }));
  });
  const all = { steps: steps.filter(({ kernel }) => !isEmpty(kernel)), inPlace, refused };
  const { handsOn: unit, maxBindings } = limits;
  const joined = unit ? timed(watch, "panels", () => panels(all, results, { unit, maxBindings })) : all;
  if (limits.validate) validatePanels(joined, maxBindings);
  return joined;
}

const wholly = (node: Node): Slot => ({ memory: node, shift: 0, bytes: bytesOf(node), node });

const isEmpty = (kernel: Kernel): boolean =>
  kernel.kind === "loop" && kernel.sizes.slice(0, kernel.outer).some((size) => size === 0);

/** A loop's kernels, tile by tile. */
function loop(
  unit: Unit,
  group: TiledGroup,
  limits: StepLimits,
  refused: Map<string, number>,
  bodies: Map<string, Body>,
): Step[] {
  const { body, inputs } = group;
  const outer = group.nodes.filter((node) => isOp(node, "tiled")) as unknown as Node<"tiled">[];
  const result = (index: number): Node | undefined => outer.find(({ attributes }) => attributes.result === index);
  const cleared = outer.filter(({ attributes }) => body.results[attributes.result].accumulate);
  return [
    ...cleared.map((node) => ({ unit, kernel: zeros(sizeOf(node.shape)), slots: [wholly(node)] })),
    ...body.tiles.flatMap((tile) => tileSteps(unit, tile, body.axis, inputs, result, limits, refused, bodies)),
  ];
}

function tileSteps(
  unit: Unit,
  tile: Tile,
  axis: string,
  inputs: readonly Node[],
  result: (index: number) => Node | undefined,
  limits: StepLimits,
  refused: Map<string, number>,
  bodies: Map<string, Body>,
): Step[] {
  const wanted = tile.results.map((_, i) => i).filter((i) => result(i) !== undefined);
  const { roots, steps, refused: more, own } = bodyOf(wanted.map((i) => tile.results[i]), limits, bodies);
  for (const [reason, count] of more) refused.set(reason, (refused.get(reason) ?? 0) + count);
  const scratch = scratchOf(own);
  const slot = (node: Node, start: number): Slot => {
    const shifted = (memory: Node, elements: number): Slot => {
      const shift = elements * (bytesOf(memory) / Math.max(1, sizeOf(memory.shape)));
      return { memory, shift, bytes: bytesOf(memory) - shift, node };
    };
    if (isOp(node, "window")) {
      const memory = inputs[tile.windows.indexOf(node)], { along } = node.attributes;
      return shifted(memory, along === undefined ? 0 : stridesOf(memory.shape)[along] * start);
    }
    const root = roots.indexOf(node);
    if (root >= 0) return shifted(result(wanted[root])!, placeOf(placementOf(node)!, axis, start));
    if (isArgument(node)) return wholly(node);
    return scratch.get(node)!;
  };
  return tile.starts.flatMap((start) =>
    steps.map(({ unit: { body, group, reads, writes }, behind, kernel, slots }) => ({
      unit: { body, group, reads, writes, loop: unit },
      ...(behind && { behind }),
      kernel,
      slots: slots.map((each) => isNodeMemory(each.memory) ? slot(each.memory, start) : each),
    }))
  );
}

/** The kernels of a tile's results. Loops of equal layers have the same nodes as results: they are compiled once. */
function bodyOf(results: readonly Node[], limits: StepLimits, bodies: Map<string, Body>): Body {
  const name = results.map(({ id }) => id).join(), known = bodies.get(name);
  if (known) return known;
  const roots = timed(limits.watch, "lower", () => lower(results, limits));
  if (!roots.every((root) => placementOf(root))) throw new Error("a loop's result has lost its place");
  const { steps, refused } = stepsOf(roots, limits, new Set(), bodies);
  const body = { roots, steps, refused, own: ownValues(steps, limits.maxBufferBytes) };
  bodies.set(name, body);
  return body;
}

/** The values that steps of a body make for themselves. */
function ownValues(steps: readonly Step[], maxBufferBytes: number): OwnValues {
  const lifetimes = new Map<Node, { from: number; until: number }>();
  steps.forEach(({ slots }, at) => {
    for (const { memory } of slots) {
      if (!isNodeMemory(memory) || isArgument(memory) || placementOf(memory)) continue;
      const known = lifetimes.get(memory);
      if (known) known.until = at;
      else lifetimes.set(memory, { from: at, until: at });
    }
  });
  const values = [...lifetimes].map(([node, { from, until }]) => ({ bytes: bytesOf(node), from, until }));
  const { places, chunks } = place(values, maxBufferBytes);
  return {
    nodes: [...lifetimes.keys()],
    places,
    blocks: chunks.map((bytes) => Math.ceil(bytes / alignment) * alignment),
  };
}

/** Memory for a body's own values, used again by all tiles of one size. */
function scratchOf({ nodes, places, blocks }: OwnValues): Map<Node, Slot> {
  const memory = blocks.map((bytes): Scratch => ({ bytes }));
  return new Map(nodes.map((node, i) => {
    const { chunk, offset } = places[i];
    return [node, { memory: memory[chunk], shift: offset, bytes: bytesOf(node), node }];
  }));
}

/** Writes zeros. */
function zeros(count: number): LoopKernel {
  const body: LoopKernel["body"] = [
    { op: "const", type: "f32", bits: 0 },
    { op: "store", type: "f32", access: { slot: 0, dtype: "f32", offset: 0, strides: [1] }, a: 0 },
  ];
  return { kind: "loop", sizes: [count], outer: 1, lanes: "outer", body, stages: stagesOf(body, 1) };
}
