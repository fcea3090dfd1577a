/**
 * @file Prints kernels as WGSL compute shaders.
 * In: one kernel and what the adapter can do. Out: one or more dispatches and the scratch memory they share.
 * Equal kernels give equal text, so that layers of a model share pipelines. The text depends on no clock and no chance.
 */
import type { Capabilities } from "../../device.ts";
import type { Kernel, Sums, Then } from "../kernel.ts";
import { contract } from "./templates/contract.ts";
import { copy } from "./templates/copy.ts";
import { grouped } from "./templates/grouped.ts";
import { groupedInto } from "./templates/grouped_into.ts";
import { loopSlots } from "./templates/half.ts";
import { loop } from "./templates/loop.ts";
import { order } from "./templates/order.ts";
import { scatter } from "./templates/scatter.ts";
import { boundBySums, slotsOfSums } from "./templates/product/sums.ts";
import { topk } from "./templates/topk.ts";
import type { Dispatch, Emitted } from "./templates/shader.ts";

export type { Dispatch, Emitted } from "./templates/shader.ts";

/**
 * The dispatches that do a kernel's work, in order; none if its output is empty.
 * An index out of range sets the top bit of the status word, bound last where `status` says so.
 *
 * @example
 * ```ts
 * import { wgsl } from "./wgsl.ts";
 * const capabilities = {
 *   kind: "wgpu", name: "any", maxBindings: 8, maxBindingBytes: 2 ** 27, maxBufferBytes: 2 ** 28, memoryBytes: 2 ** 30,
 *   software: false, maxWorkgroupSize: 256, workgroupMemoryBytes: 16384,
 * } as const;
 * const { dispatches } = wgsl({ kind: "copy", words: 1000 }, capabilities);
 * console.assert(dispatches[0].kernel.workgroups[0] === 4);
 * ```
 */
export function wgsl(kernel: Kernel, capabilities: Capabilities): Emitted {
  const emitted = emit(kernel, capabilities);
  for (const { kernel: { status }, slots } of emitted.dispatches) {
    const bindings = slots.length + (status ? 1 : 0);
    if (bindings > capabilities.maxBindings) {
      throw new Error(
        `a ${kernel.kind} kernel binds ${bindings} buffers, the adapter allows ${capabilities.maxBindings}`,
      );
    }
  }
  const work = workOf(kernel);
  return {
    ...emitted,
    dispatches: emitted.dispatches.map((each) => ({ ...each, kernel: { work, ...each.kernel } })),
  };
}

/** Scalar operations of a kernel, roughly; each of its dispatches counts as much, unless it says otherwise. */
function workOf(kernel: Kernel): number {
  const all = (axes: readonly { readonly size: number }[]) => axes.reduce((count, { size }) => count * size, 1);
  switch (kernel.kind) {
    case "loop":
      return kernel.sizes.reduce((count, size) => count * size, kernel.body.length);
    case "contract":
      return 2 * all([...kernel.batch, kernel.m, kernel.n, ...kernel.k]) + workBehind(kernel);
    case "grouped":
      return 2 * all([...kernel.positions, kernel.k, kernel.n]) + workBehind(kernel);
    case "groupedInto":
      return 2 * all([...kernel.positions, kernel.m, kernel.n]) + workBehind(kernel);
    case "order":
      return 64 * (kernel.positions + kernel.groups);
    case "scatter":
      return 4 * all([...kernel.positions, ...kernel.columns]) + kernel.groups;
    case "topk":
      return 8 * all([...kernel.rows, kernel.axis, kernel.slots]);
    case "copy":
      return kernel.words;
  }
}

/** What goes on behind a product. */
interface Behind {
  readonly then?: Then;
  readonly sums?: readonly Sums[];
}

const workBehind = ({ then, sums = [] }: Behind): number =>
  [...(then ? [then] : []), ...sums].reduce((work, { loop }) => work + workOf(loop), 0);

/** How many slots a kernel itself has: numbers from there on mean scratch. */
export function slotCount(kernel: Kernel): number {
  switch (kernel.kind) {
    case "loop":
      return loopSlots(kernel);
    case "contract":
      return slotsWith(kernel, 2);
    case "scatter":
      return 3;
    case "grouped":
    case "groupedInto":
      return slotsWith(kernel, 3);
    case "order":
    case "topk":
    case "copy":
      return 2;
  }
}

/** Buffers that a kernel binds at once, at most. */
export function bindingCount(kernel: Kernel): number {
  if (!("sums" in kernel) || !kernel.sums) return slotCount(kernel);
  return boundBySums(kernel.sums, kernel.kind === "contract" ? 3 : 4);
}

/** Slots of a product: its factors, then its own or those of the loop behind it, or those of its sums, too. */
function slotsWith({ then, sums }: Behind, factors: number): number {
  if (sums) return slotsOfSums(sums, factors).flat().reduce((a, b) => Math.max(a, b), factors) + 1;
  return factors + (then ? loopSlots(then.loop) - (then.stored ? 0 : 1) : 1);
}

function emit(kernel: Kernel, capabilities: Capabilities): Emitted {
  const alone = (dispatches: readonly Dispatch[]): Emitted => ({ dispatches, scratch: [] });
  switch (kernel.kind) {
    case "loop":
      return loop(kernel, capabilities);
    case "contract":
      return contract(kernel, capabilities);
    case "grouped":
      return alone(grouped(kernel, capabilities));
    case "groupedInto":
      return groupedInto(kernel, capabilities);
    case "order":
      return order(kernel, capabilities);
    case "scatter":
      return scatter(kernel, capabilities);
    case "topk":
      return alone(topk(kernel, capabilities));
    case "copy":
      return alone(copy(kernel, capabilities));
  }
}
