/**
 * @file Joins products with the loops that go on with them. A device that multiplies a panel of rows at a time runs the
 * loop on them while they are in the cache; one that sums each element in registers goes on with it there, and its tiles
 * add up what they hold of rows and columns.
 * In: steps in order. Out: the same work in fewer steps; a product that nobody else reads is never stored.
 */
import type { Node } from "../../dsl/node.ts";
import { behindElements, behindRows, behindSums, type ProductKernel } from "./emission/behind.ts";
import type { ContractKernel, LoopKernel } from "./kernel.ts";
import { isNodeMemory, type Scratch, type Slot, type Step, type Steps } from "./step.ts";
import { bindingCount } from "./wgsl/wgsl.ts";

/** What a device's products hand on to the loops behind them. */
export interface HandingOn {
  /** Whole rows, in any order of reading, or each element for itself. */
  readonly unit: "rows" | "elements";
  /** Buffers that one kernel may bind. */
  readonly maxBindings: number;
}

/** Joins what can be joined. `results` are the program's. */
export function panels({ steps, inPlace, refused }: Steps, results: readonly Node[], handing: HandingOn): Steps {
  const order: (Step | undefined)[] = [...steps], kept = new Set(results), overwriting = new Map(inPlace);
  const overwriter = new Map([...inPlace].map(([node, memory]) => [memory, node]));
  const owner: Owner = (memory) =>
    isNodeMemory(memory) && overwriting.has(memory) ? owner(overwriting.get(memory)!) : memory;
  /** Where each memory is touched: places in the order, ascending. */
  const places = new Map<Node | Scratch, number[]>(), kernels = joinerOf(handing);
  const touch = (step: Step, place: number): void => {
    for (const { memory } of step.slots) {
      const whole = owner(memory), all = places.get(whole);
      if (!all) places.set(whole, [place]);
      else {
        const next = firstAfter(all, place);
        if (all[next - 1] !== place) all.splice(next, 0, place);
      }
    }
  };
  const leave = (step: Step, place: number): void => {
    for (const { memory } of step.slots) {
      const all = places.get(owner(memory)) ?? [], next = firstAfter(all, place);
      if (all[next - 1] === place) all.splice(next - 1, 1);
    }
  };
  steps.forEach(touch);
  /** Joins a product with the loop that touches its result next. Returns where they stand, if more may follow them. */
  const joinNext = (step: Step, at: number): number | undefined => {
    if (!isProduct(step.kernel) || step.unit.loop) return;
    const result = step.unit.writes[0], touched = places.get(owner(result))!;
    const next = touched[firstAfter(touched, at)], loop = order[next];
    if (loop?.kernel.kind !== "loop" || loop.unit.loop) return;
    /** May a step change places with all that run between the two? Only who touches the same memory can mind. */
    const moves = (mover: Step): boolean =>
      mover.slots.every((slot) => {
        const memory = owner(slot.memory), written = writes(mover, slot);
        const all = places.get(memory)!;
        for (let i = firstAfter(all, at); all[i] < next; i++) {
          const other = order[all[i]];
          if (other && (written || other.slots.some((each) => owner(each.memory) === memory && writes(other, each)))) {
            return false;
          }
        }
        return true;
      });
    const early = moves(loop);
    if (!early && !moves(step)) return;
    // Whoever reads what overwrites the product does not read the product.
    const users = touched.filter((place) => order[place]?.slots.some(({ memory }) => memory === result)).length;
    // A value that is written into it keeps the rest of it.
    const written = overwriter.get(result)?.op === "write";
    const stored = users > 2 || written || kept.has(result) || owner(result) !== result || accumulates(step.kernel);
    const joined = join(step, loop, stored, owner, kernels), more = joined && addsUp(joined.kernel);
    // A product that waited for what its sums go on with would keep its factors in memory.
    if (!joined || (more && !early)) return;
    const [to, from] = early ? [at, next] : [next, at];
    leave(order[from]!, from);
    // What was to overwrite a product that is nowhere gets memory of its own.
    if (!stored && overwriter.has(result)) overwriting.delete(overwriter.get(result)!);
    [order[to], order[from]] = [joined, undefined];
    for (const place of [...touched]) if (order[place]) touch(order[place], place);
    touch(joined, to);
    return more ? to : undefined;
  };
  steps.forEach((step, at) => {
    let to = order[at] === step ? joinNext(step, at) : undefined;
    while (to !== undefined) to = joinNext(order[to]!, to);
  });
  return { steps: order.filter((each) => each !== undefined), inPlace: overwriting, refused };
}

/** Where the first of ascending places after `place` stands among them. */
function firstAfter(places: readonly number[], place: number): number {
  let low = 0, high = places.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (places[middle] > place) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Whose memory it is, where one value overwrites another. */
type Owner = (memory: Node | Scratch) => Node | Scratch;

const isProduct = (kernel: Step["kernel"]): kernel is ProductKernel =>
  kernel.kind === "contract" || kernel.kind === "grouped" || kernel.kind === "groupedInto";

const addsUp = (kernel: Step["kernel"]): boolean => "sums" in kernel && kernel.sums !== undefined;

const accumulates = (kernel: ProductKernel): boolean => kernel.kind === "contract" && kernel.accumulate === true;

const writes = ({ unit, behind = [] }: Step, { node }: Slot): boolean =>
  [unit, ...behind].some((each) => each.writes.includes(node));

/** One kernel for a product, as it is read now, and a loop. Equal layers have the same kernels, and get the same. */
interface Joiner extends HandingOn {
  readonly kernelOf: (
    kernel: ProductKernel,
    loop: LoopKernel,
    slot: number,
    stored: boolean,
  ) => ProductKernel | undefined;
  /** The same for a loop that sums over the product's rows or columns. */
  readonly withSums: (kernel: ProductKernel, loop: LoopKernel, slot: number) => ProductKernel | undefined;
}

function joinerOf(handing: HandingOn): Joiner {
  const known = new Map<ProductKernel, Map<LoopKernel, (ProductKernel | null)[]>>();
  const kernelOf: Joiner["kernelOf"] = (kernel, loop, slot, stored) => {
    const byLoop = known.get(kernel) ?? new Map<LoopKernel, (ProductKernel | null)[]>();
    const bySlot = byLoop.get(loop) ?? [], at = 2 * slot + Number(stored);
    known.set(kernel, byLoop);
    byLoop.set(loop, bySlot);
    if (bySlot[at] === undefined) {
      const whole = handing.unit === "rows" ? turned(kernel) : kernel;
      const then = (handing.unit === "rows" ? behindRows : behindElements)(whole, loop, slot, stored);
      bySlot[at] = then ? { ...whole, then } : null;
    }
    return bySlot[at] ?? undefined;
  };
  const summed = new Map<ProductKernel, Map<LoopKernel, (ProductKernel | null)[]>>();
  const withSums: Joiner["withSums"] = (kernel, loop, slot) => {
    const byLoop = summed.get(kernel) ?? new Map<LoopKernel, (ProductKernel | null)[]>();
    const bySlot = byLoop.get(loop) ?? [];
    summed.set(kernel, byLoop);
    byLoop.set(loop, bySlot);
    if (bySlot[slot] === undefined) {
      const sums = kernel.kind === "grouped" ? undefined : behindSums(kernel, loop, slot);
      bySlot[slot] = sums && kernel.kind !== "grouped" ? { ...kernel, sums: [...kernel.sums ?? [], sums] } : null;
    }
    return bySlot[slot] ?? undefined;
  };
  return { ...handing, kernelOf, withSums };
}

/** One step for both, if the loop stays in the product's rows (or at its elements). */
function join(step: Step, loop: Step, stored: boolean, owner: Owner, joiner: Joiner): Step | undefined {
  const product = step.kernel as ProductKernel, [node] = step.unit.writes;
  const slot = loop.slots.findIndex(({ memory }) => memory === node);
  if (slot < 0 || writes(loop, loop.slots[slot])) return;
  const sums = joiner.unit === "elements" && stored ? joinSums(step, loop, slot, owner, joiner) : undefined;
  if (sums || step.behind) return sums;
  const factors = step.slots.slice(0, -1);
  const overwritten = loop.slots.filter((each) => writes(loop, each)).map(({ memory }) => owner(memory));
  if (factors.some(({ memory }) => overwritten.includes(owner(memory)))) return;
  const more = stored ? loop.slots : loop.slots.filter((_, i) => i !== slot);
  if (factors.length + more.length > joiner.maxBindings) return;
  const kernel = joiner.kernelOf(product, loop.kernel as LoopKernel, slot, stored);
  if (!kernel) return;
  return {
    unit: step.unit,
    behind: [loop.unit],
    kernel,
    slots: [...(joiner.unit === "rows" && isTurned(product) ? factors.toReversed() : factors), ...more],
  };
}

/** One step for a product that is stored, the sums behind it and a loop that is more of those. */
function joinSums(step: Step, loop: Step, slot: number, owner: Owner, joiner: Joiner): Step | undefined {
  // What is added up is read before any of the sums is there.
  const made = step.slots.filter((each) => writes(step, each) && each.node !== step.unit.writes[0]);
  const written = new Set(made.map(({ memory }) => owner(memory)));
  if (loop.slots.some(({ memory }) => written.has(owner(memory)))) return;
  const overwritten = new Set(loop.slots.filter((each) => writes(loop, each)).map(({ memory }) => owner(memory)));
  if (step.slots.some(({ memory }) => overwritten.has(owner(memory)))) return;
  const kernel = joiner.withSums(step.kernel as ProductKernel, loop.kernel as LoopKernel, slot);
  if (!kernel || bindingCount(kernel) > joiner.maxBindings) return;
  return {
    unit: step.unit,
    behind: [...step.behind ?? [], loop.unit],
    kernel,
    slots: [...step.slots, ...loop.slots.filter((_, i) => i !== slot)],
  };
}

/** Do its columns lie side by side if its factors change places? */
const isTurned = (kernel: ProductKernel): kernel is ContractKernel =>
  kernel.kind === "contract" && kernel.n.c !== 1 && kernel.m.c === 1;

/** A product whose columns lie side by side, if either way of reading it has them so. */
function turned(kernel: ProductKernel): ProductKernel {
  if (!isTurned(kernel)) return kernel;
  const { batch, m, n, k, offsets, types } = kernel;
  return {
    ...kernel,
    batch: batch.map((axis) => ({ ...axis, a: axis.b, b: axis.a })),
    m: { size: n.size, a: n.b, c: n.c },
    n: { size: m.size, b: m.a, c: m.c },
    k: k.map((axis) => ({ ...axis, a: axis.b, b: axis.a })),
    offsets: { ...offsets, a: offsets.b, b: offsets.a },
    ...(types && { types: { ...(types.b && { a: types.b }), ...(types.a && { b: types.a }) } }),
  };
}
