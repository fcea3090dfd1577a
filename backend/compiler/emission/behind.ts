/**
 * @file How a loop goes on behind a product: with whole rows of it (a processor's cache holds them), or with each element
 * where it was summed (an invocation's registers do), or with sums over its rows and columns that its tiles add up.
 */
import type { Access, Affine, ContractKernel, GroupedIntoKernel, GroupedKernel, LoopKernel } from "../kernel.ts";
import type { Sums, Then } from "../kernel.ts";
import { pairsAlong } from "../wgsl/templates/half.ts";

/** A kernel whose sums a loop may go on with. */
export type ProductKernel = ContractKernel | GroupedKernel | GroupedIntoKernel;

/** A row longer than this leaves no room for a panel of rows in the cache. */
const longestRow = 8192;

type Load = Extract<LoopKernel["body"][number], { op: "load" }>;
type Store = Extract<LoopKernel["body"][number], { op: "store" }>;

/** An axis of a product, as it lies in memory. */
interface Stretch {
  readonly size: number;
  readonly stride: number;
}

const product = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1);

const longer = (axes: readonly Stretch[]): Stretch[] => axes.filter(({ size }) => size !== 1);

/** All axes of a product but its columns, those of one element left out. */
function rowsOf(kernel: ProductKernel): Stretch[] {
  const stretch = ({ size, c }: { readonly size: number; readonly c: number }): Stretch => ({ size, stride: c });
  switch (kernel.kind) {
    case "contract":
      return longer([...kernel.batch, kernel.m].map(stretch));
    case "grouped":
      return longer(kernel.positions.map(stretch));
    case "groupedInto":
      return longer([{ size: kernel.groups, stride: kernel.group }, stretch(kernel.m)]);
  }
}

/** The loop as one behind the product, its axes in the order of the product's rows. */
export function behindRows(kernel: ProductKernel, whole: LoopKernel, slot: number, stored: boolean): Then | undefined {
  if (kernel.kind === "groupedInto") return;
  const rows = rowsOf(kernel);
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

/**
 * The loop as one that goes on with each element of the product where it was summed; undefined if it needs others.
 * 16-bit stores must come in pairs that one invocation owns.
 */
export function behindElements(
  kernel: ProductKernel,
  whole: LoopKernel,
  slot: number,
  stored: boolean,
): Then | undefined {
  if (kernel.kind !== "grouped" && kernel.sums) return;
  if (whole.outer !== whole.sizes.length || whole.body.some(({ op }) => op === "reduce")) return;
  const rows = rowsOf(kernel), columns = longer([{ size: kernel.n.size, stride: kernel.n.c }]);
  const loop = split(whole, slot, [...rows, ...columns].flatMap(({ size, stride }) => [stride, stride * size]));
  const loads = loop.body.filter((each): each is Load => each.op === "load" && each.access.slot === slot);
  const stores = loop.body.filter((each): each is Store => each.op === "store");
  const [first] = loads;
  if (!first || first.access.offset !== kernel.offsets.c || stores.some(({ access }) => access.gather)) return;
  if (!loads.every((each) => isOwn(each, first, loop))) return;
  const outer = rowAxes(first.access, loop, rows), inner = rowAxes(first.access, loop, columns);
  if (!outer || !inner || outer.some((axis) => inner.includes(axis))) return;
  const axes = [...outer, ...inner];
  if (product(axes.map((axis) => loop.sizes[axis])) !== product(loop.sizes)) return;
  const moved = withAxes(loop, axes);
  const then = stored
    ? { loop: { ...moved, outer: axes.length }, axes: outer.length, slot, stored }
    : withoutProduct({ loop: { ...moved, outer: axes.length }, axes: outer.length, slot, stored });
  return pairsAlong(then, kernel) ? then : undefined;
}

/** The loop as sums over the columns or the rows of a product, made of its elements where they were summed. */
export function behindSums(kernel: ProductKernel, whole: LoopKernel, slot: number): Sums | undefined {
  if (kernel.kind === "grouped" || kernel.then || kernel.m.size === 1 || kernel.n.size === 1) return;
  const inner = whole.stages.filter(({ level }) => level === "inner"), { body } = whole;
  const reduces = body.filter((each) => each.op === "reduce");
  if (inner.length !== 1 || reduces.length === 0 || reduces.some(({ type }) => type !== "f32")) return;
  if (inner[0].registers.some((register) => body[register].op === "store")) return;
  if (body.some((each) => each.op === "store" && each.access.gather)) return;
  const stretch = ({ size, c }: { readonly size: number; readonly c: number }): Stretch => ({ size, stride: c });
  const batch = kernel.kind === "contract"
    ? kernel.batch.map(stretch)
    : [{ size: kernel.groups, stride: kernel.group }];
  const stretches = [...longer(batch), stretch(kernel.m), stretch(kernel.n)];
  const loop = split(whole, slot, stretches.flatMap(({ size, stride }) => [stride, stride * size]), whole.sizes.length);
  const loads = loop.body.filter((each): each is Load => each.op === "load" && each.access.slot === slot);
  const [first] = loads;
  if (!first || first.access.offset !== kernel.offsets.c || !loads.every((each) => isOwn(each, first, loop))) return;
  const all = { ...loop, outer: loop.sizes.length },
    parts = stretches.map((each) => rowAxes(first.access, all, [each]));
  const axes = parts.flatMap((each) => each ?? []), sizes = axes.map((axis) => loop.sizes[axis]);
  if (parts.includes(undefined) || new Set(axes).size !== axes.length) return;
  if (product(sizes) !== product(loop.sizes)) return;
  const [m, n] = parts.slice(-2) as number[][], summed = axes.filter((axis) => axis >= loop.outer);
  const are = (names: readonly number[]): boolean =>
    names.length === summed.length && names.every((axis) => summed.includes(axis));
  const over = are(n) ? "n" : are(m) ? "m" : undefined;
  return over && { loop, slot, axes, over };
}

/** Does a load read the product at the element that is at hand? */
const isOwn = ({ access }: Load, first: Load, { sizes }: LoopKernel): boolean =>
  !access.gather && !access.guards && access.dtype === "f32" && access.offset === first.access.offset &&
  access.strides.every((stride, axis) => stride === first.access.strides[axis] || sizes[axis] === 1);

/** The same with the product's slot behind all others: it has no buffer. */
function withoutProduct({ loop, axes, slot, stored }: Then): Then {
  const last = Math.max(...loop.body.map(slotOf));
  const renumbered = (access: Access): Access => ({
    ...access,
    slot: access.slot === slot ? last : access.slot > slot ? access.slot - 1 : access.slot,
  });
  const body = loop.body.map((each) =>
    each.op === "load" || each.op === "store" ? { ...each, access: renumbered(each.access) } : each
  );
  return { loop: { ...loop, body }, axes, slot: last, stored };
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

/** The same loop, its first axes (the outer ones) cut in two where they run across one of the strides in a slot. */
function split(loop: LoopKernel, slot: number, strides: readonly number[], axes: number = loop.outer): LoopKernel {
  const load = loop.body.find((each): each is Load => each.op === "load" && each.access.slot === slot);
  if (!load) return loop;
  for (let axis = 0; axis < axes; axis++) {
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
    const halves = {
      ...parts,
      sizes: cut(loop.sizes, size / inner, inner),
      outer: loop.outer + (axis < loop.outer ? 1 : 0),
    };
    return split(halves, slot, strides, axes + 1);
  }
  return loop;
}

const slotOf = (instruction: LoopKernel["body"][number]): number =>
  instruction.op === "load" || instruction.op === "store" ? instruction.access.slot : 0;

/** The loop's outer axes that walk over the product's rows, in the rows' order; undefined if they do not match. */
function rowAxes(
  { strides }: Access,
  { sizes, outer }: LoopKernel,
  rows: readonly Stretch[],
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
