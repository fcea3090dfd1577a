/**
 * @file Joins products with the loops that go on with their rows, for the CPU device: it multiplies a panel of rows and
 * runs the loop on them while they are in the cache.
 * In: steps in order. Out: the same work in fewer steps; a product that nobody else reads is never stored.
 */
import type { Node } from "../../dsl/node.ts";
import type { Access, Affine, ContractKernel, GroupedKernel, LoopKernel, Then } from "./kernel.ts";
import { isNodeMemory, type Scratch, type Slot, type Step, type Steps } from "./steps.ts";

/** A row longer than this leaves no room for a panel of rows in the cache. */
const longestRow = 8192;

type ProductKernel = ContractKernel | GroupedKernel;
type Load = Extract<LoopKernel["body"][number], { op: "load" }>;

const product = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1);

/** Joins what can be joined. `results` are the program's. */
export function panels({ steps, inPlace, refused }: Steps, results: readonly Node[]): Steps {
  const order: (Step | undefined)[] = [...steps], kept = new Set(results), overwriting = new Map(inPlace);
  const overwriter = new Map([...inPlace].map(([node, memory]) => [memory, node]));
  const owner: Owner = (memory) =>
    isNodeMemory(memory) && overwriting.has(memory) ? owner(overwriting.get(memory)!) : memory;
  /** Where each memory is touched: places in the order, ascending. */
  const places = new Map<Node | Scratch, number[]>(), joinedKernel = joiner();
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
  steps.forEach((step, at) => {
    if (!isProduct(step.kernel) || step.unit.loop || order[at] !== step) return;
    const result = step.slots.at(-1)!.memory as Node, touched = places.get(owner(result))!;
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
    const stored = touched.length > 2 || kept.has(result) || owner(result) !== result || accumulates(step.kernel);
    const joined = join(step, loop, stored, owner, joinedKernel);
    if (!joined) return;
    const [to, from] = early ? [at, next] : [next, at];
    leave(order[from]!, from);
    // What was to overwrite a product that is nowhere gets memory of its own.
    if (!stored && overwriter.has(result)) overwriting.delete(overwriter.get(result)!);
    [order[to], order[from]] = [joined, undefined];
    touch(joined, to);
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
  kernel.kind === "contract" || kernel.kind === "grouped";

const accumulates = (kernel: ProductKernel): boolean => kernel.kind === "contract" && kernel.accumulate === true;

const writes = ({ unit, behind }: Step, { node }: Slot): boolean =>
  unit.writes.includes(node) || (behind?.writes.includes(node) ?? false);

/** One kernel for a product, as it is read now, and a loop. Equal layers have the same kernels, and get the same. */
type Joiner = (kernel: ProductKernel, loop: LoopKernel, slot: number, stored: boolean) => ProductKernel | undefined;

function joiner(): Joiner {
  const known = new Map<ProductKernel, Map<LoopKernel, (ProductKernel | null)[]>>();
  return (kernel, loop, slot, stored) => {
    const byLoop = known.get(kernel) ?? new Map<LoopKernel, (ProductKernel | null)[]>();
    const bySlot = byLoop.get(loop) ?? [], at = 2 * slot + Number(stored);
    known.set(kernel, byLoop);
    byLoop.set(loop, bySlot);
    if (bySlot[at] === undefined) {
      const whole = turned(kernel), then = behind(whole, loop, slot, stored);
      bySlot[at] = then ? { ...whole, then } : null;
    }
    return bySlot[at] ?? undefined;
  };
}

/** One step for both, if the loop stays in the product's rows. */
function join(step: Step, loop: Step, stored: boolean, owner: Owner, joined: Joiner): Step | undefined {
  const product = step.kernel as ProductKernel, result = step.slots.at(-1)!, factors = step.slots.slice(0, -1);
  const slot = loop.slots.findIndex(({ memory }) => memory === result.memory);
  if (slot < 0 || writes(loop, loop.slots[slot])) return;
  const overwritten = loop.slots.filter((each) => writes(loop, each)).map(({ memory }) => owner(memory));
  if (factors.some(({ memory }) => overwritten.includes(owner(memory)))) return;
  const kernel = joined(product, loop.kernel as LoopKernel, slot, stored);
  if (!kernel) return;
  const more = stored ? loop.slots : loop.slots.filter((_, i) => i !== slot);
  return {
    unit: step.unit,
    behind: loop.unit,
    kernel,
    slots: [...(isTurned(product) ? factors.toReversed() : factors), ...more],
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

/** The loop as one behind the product, its axes in the order of the product's rows. */
function behind(kernel: ProductKernel, whole: LoopKernel, slot: number, stored: boolean): Then | undefined {
  const rows = (kernel.kind === "contract" ? [...kernel.batch, kernel.m] : kernel.positions)
    .filter(({ size }) => size !== 1).map(({ size, c }) => ({ size, stride: c }));
  const width = kernel.n.size, step = width === 1 ? 1 : kernel.n.c, count = product(rows.map(({ size }) => size));
  if (width > longestRow || product(whole.sizes) > 4 * longestRow * count) return;
  const loop = split(whole, slot, rows.flatMap(({ size, stride }) => [stride, stride * size]));
  const loads = loop.body.filter((each): each is Load => each.op === "load" && each.access.slot === slot);
  const [first] = loads;
  if (!first || loads.some(({ access }) => access.gather || access.dtype !== "f32")) return;
  const order = rowAxes(first.access, loop, rows);
  if (!order) return;
  const others = loop.sizes.map((_, axis) => axis).filter((axis) => !order.includes(axis));
  const inRow = ({ access }: Load): boolean =>
    order.every((axis) => access.strides[axis] === first.access.strides[axis]) &&
    (access.guards ?? []).every(({ strides }) => order.every((axis) => strides[axis] === 0)) &&
    staysIn(access, loop.sizes, others, step, width);
  if (!loads.every(inRow)) return;
  const axes = [...order, ...others], last = Math.max(...loop.body.map(slotOf)), moved = withAxes(loop, axes);
  if (stored) return { loop: moved, axes: order.length, slot, stored };
  const renumbered = (access: Access): Access => {
    if (access.slot !== slot) return { ...access, slot: access.slot > slot ? access.slot - 1 : access.slot };
    // Its rows lie one after the other.
    const strides = access.strides.map((each) => each / step);
    for (let i = order.length - 1, stride = width; i >= 0; stride *= moved.sizes[i--]) strides[i] = stride;
    return { ...access, slot: last, offset: access.offset / step, strides };
  };
  const body = moved.body.map((each) =>
    each.op === "load" || each.op === "store" ? { ...each, access: renumbered(each.access) } : each
  );
  return { loop: { ...moved, body }, axes: order.length, slot: last, stored };
}

/** A loop with each of its affine expressions rewritten. */
const mapAffine = (loop: LoopKernel, change: <A extends Affine>(affine: A) => A): LoopKernel => ({
  ...loop,
  body: loop.body.map((each) => {
    if (each.op === "index") return { ...each, index: change(each.index) };
    if (each.op !== "load" && each.op !== "store") return each;
    const { guards } = each.access;
    return { ...each, access: { ...change(each.access), ...(guards && { guards: guards.map((one) => change(one)) }) } };
  }),
});

/** A loop whose axes are those of `loop` in another order. */
const withAxes = (loop: LoopKernel, axes: readonly number[]): LoopKernel => ({
  ...mapAffine(loop, (affine) => ({ ...affine, strides: axes.map((axis) => affine.strides[axis]) })),
  sizes: axes.map((axis) => loop.sizes[axis]),
});

/** The same loop, its outer axes cut in two where they run across one of the strides in a slot. */
function split(loop: LoopKernel, slot: number, strides: readonly number[]): LoopKernel {
  const load = loop.body.find((each): each is Load => each.op === "load" && each.access.slot === slot);
  if (!load) return loop;
  for (let axis = 0; axis < loop.outer; axis++) {
    const own = load.access.strides[axis], size = loop.sizes[axis];
    const across = strides.find((each) =>
      own > 0 && each > own && each < own * size && each % own === 0 && size % (each / own) === 0
    );
    if (across === undefined) continue;
    const inner = across / own,
      cut = (values: readonly number[], high: number, low: number): number[] => values.toSpliced(axis, 1, high, low);
    const parts = mapAffine(loop, (affine) => {
      const stride = affine.strides[axis];
      return { ...affine, strides: cut(affine.strides, stride * inner, stride) };
    });
    const halves = { ...parts, sizes: cut(loop.sizes, size / inner, inner), outer: loop.outer + 1 };
    return split(halves, slot, strides);
  }
  return loop;
}

const slotOf = (instruction: LoopKernel["body"][number]): number =>
  instruction.op === "load" || instruction.op === "store" ? instruction.access.slot : 0;

/** The loop's outer axes that walk over the product's rows, in the rows' order; undefined if they do not match. */
function rowAxes(
  { strides }: Access,
  { sizes, outer }: LoopKernel,
  rows: readonly { readonly size: number; readonly stride: number }[],
): number[] | undefined {
  const found: number[] = [];
  for (const { size, stride } of rows) {
    if (stride <= 0) return;
    const axes = sizes.map((_, axis) => axis)
      .filter((axis) => axis < outer && sizes[axis] > 1 && strides[axis] >= stride && strides[axis] < stride * size)
      .sort((a, b) => strides[b] - strides[a]);
    let next = stride;
    for (const axis of axes.toReversed()) {
      if (strides[axis] !== next) return;
      next *= sizes[axis];
    }
    if (next !== stride * size) return;
    found.push(...axes);
  }
  return new Set(found).size === found.length ? found : undefined;
}

/** Does an access stay within `width` elements, `step` apart, over those axes? */
function staysIn(
  { offset, strides, guards = [] }: Access,
  sizes: readonly number[],
  axes: readonly number[],
  step: number,
  width: number,
): boolean {
  let low = offset, high = offset;
  for (const axis of axes) {
    const stride = strides[axis];
    let [first, last] = [0, sizes[axis] - 1];
    for (const guard of guards) {
      // A guard that looks at this axis alone.
      const along = guard.strides[axis];
      if (along <= 0 || guard.strides.some((each, i) => i !== axis && each !== 0)) continue;
      first = Math.max(first, Math.ceil(-guard.offset / along));
      last = Math.min(last, Math.floor((guard.size - 1 - guard.offset) / along));
    }
    if (last < first) return true;
    if (stride % step !== 0) return false;
    low += Math.min(stride * first, stride * last);
    high += Math.max(stride * first, stride * last);
  }
  return offset % step === 0 && low >= 0 && high <= (width - 1) * step;
}
