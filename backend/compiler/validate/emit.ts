/**
 * @file Checks what `emit` made: a plan whose kernels stay within their buffers and within the device's limits, and
 * which reads nothing that no step has written.
 */
import type { Capabilities } from "../../device.ts";
import { targetOf } from "../emission/target.ts";
import { type Kernel, type LoopKernel, operandsOf, type Plan, type PlanBuffer, type WgslKernel } from "../kernel.ts";
import { fault } from "./fault.ts";
import { elementsOf, hullOf, isDense, phasesOf, type Walk } from "./walk.ts";

/** A walk of more indices than this is taken to touch all between its ends; one with guards is not followed. */
const mostIndices = 2 ** 14;
/** Memory larger than this is not followed word by word. */
const mostBytes = 2 ** 26;

/** A plan for a device. @throws Error that names the first buffer, kernel or step that is wrong */
export function validatePlan(plan: Plan, capabilities: Capabilities): void {
  const { maxBindings, maxBindingBytes } = capabilities, { windowAlignment } = targetOf(capabilities);
  plan.buffers.forEach((buffer, number) => validateBuffer(plan, buffer, `buffer ${number}`, windowAlignment));
  plan.kernels.forEach((kernel, number) => {
    if (kernel.kind === "loop") validateLoop(kernel, `kernel ${number}`);
    if ("then" in kernel && kernel.then) validateLoop(kernel.then.loop, `the loop of kernel ${number}`);
  });
  const memory = new Memory(plan);
  plan.steps.forEach(({ kernel, buffers }, number) => {
    const name = `step ${number}`, what = plan.kernels[kernel];
    if (!what) fault("emit", name, `runs kernel ${kernel}, which does not exist`);
    const missing = buffers.find((buffer) => !plan.buffers[buffer]);
    if (missing !== undefined) fault("emit", name, `binds buffer ${missing}, which does not exist`);
    const bound = buffers.length + (what.kind === "wgsl" && what.status ? 1 : 0);
    if (bound > maxBindings) fault("emit", name, `binds ${bound} buffers, the device allows ${maxBindings}`);
    const large = buffers.find((buffer) => plan.buffers[buffer].bytes > maxBindingBytes);
    if (large !== undefined) {
      fault("emit", name, `binds ${plan.buffers[large].bytes} bytes, the device allows ${maxBindingBytes}`);
    }
    memory.run(what, buffers, name);
  });
  plan.arguments.forEach(({ mode }, index) => {
    if (mode === "out") memory.mustBeWhole(index);
  });
}

function validateBuffer(plan: Plan, buffer: PlanBuffer, name: string, alignment: number): void {
  const { start, end, total } = extentOf(plan, buffer);
  if (total === undefined) fault("emit", name, "lies in memory that does not exist");
  if (start < 0 || start % alignment !== 0) fault("emit", name, `starts at byte ${start}`);
  if (end > total) fault("emit", name, `ends at byte ${end} of ${total}`);
}

function extentOf(plan: Plan, buffer: PlanBuffer): { start: number; end: number; total: number | undefined } {
  const start = buffer.offset ?? 0, end = start + buffer.bytes;
  switch (buffer.at) {
    case "argument":
      return { start, end, total: plan.arguments[buffer.index]?.bytes };
    case "arena":
      return { start, end, total: plan.arena[buffer.chunk] };
    case "upload":
      return { start, end, total: plan.upload };
  }
}

/** Registers are computed before they are used, and types fit. */
function validateLoop({ body, stages, sizes, outer }: LoopKernel, name: string): void {
  if (outer > sizes.length) fault("emit", name, `has ${outer} outer axes of ${sizes.length}`);
  const kept = new Set<number>();
  for (const { level, registers } of stages) {
    const known = new Set(kept);
    for (const register of registers) {
      const instruction = body[register];
      if (!instruction) fault("emit", name, `computes register ${register}, which does not exist`);
      for (const operand of operandsOf(instruction)) {
        if (!known.has(operand)) fault("emit", name, `uses register ${operand} in ${register} before it is computed`);
      }
      known.add(register);
      if (level === "outer" || instruction.op === "reduce") kept.add(register);
      if (instruction.op === "reduce" && level === "outer") {
        fault("emit", name, `reduces in outer register ${register}`);
      }
      if ("a" in instruction && instruction.op === "store" && body[instruction.a].type !== instruction.type) {
        fault("emit", name, `stores a ${body[instruction.a].type} as ${instruction.type} in register ${register}`);
      }
    }
  }
  const never = body.findIndex(({ op }, i) => op === "store" && !stages.some(({ registers }) => registers.includes(i)));
  if (never >= 0) fault("emit", name, `never runs the store in register ${never}`);
}

/** Which bytes hold something (by pairs), as the steps write them one after the other. */
class Memory {
  readonly #known = new Map<string, Uint8Array>();
  constructor(private readonly plan: Plan) {}

  /** What is known of the memory behind a buffer; undefined where it comes filled, or is too large to follow. */
  #of(buffer: PlanBuffer): Uint8Array | undefined {
    const { total } = extentOf(this.plan, buffer);
    if (buffer.at === "upload" || total! > mostBytes) return undefined;
    if (buffer.at === "argument" && this.plan.arguments[buffer.index].mode === "in") return undefined;
    const key = buffer.at === "arena" ? `arena ${buffer.chunk}` : `argument ${buffer.index}`;
    return this.#known.get(key) ?? this.#known.set(key, new Uint8Array(Math.ceil(total! / 2))).get(key)!;
  }

  /** Reads and writes of one step. What shaders touch is not known: all that they bind counts as written. */
  run(kernel: Kernel | WgslKernel, buffers: readonly number[], name: string): void {
    if (kernel.kind === "wgsl") {
      for (const number of buffers) this.#fill(this.plan.buffers[number]);
      return;
    }
    const phases = phasesOf(kernel);
    for (const walks of phases) {
      for (const walk of [...walks.filter(({ writes }) => !writes), ...walks.filter(({ writes }) => writes)]) {
        const buffer = this.plan.buffers[buffers[walk.slot]];
        if (!buffer) fault("emit", name, `has no buffer for slot ${walk.slot}`);
        const reads = !walk.writes || ("accumulate" in kernel && kernel.accumulate);
        this.#walk(walk, buffer, `${name} (${kernel.kind})`, reads === true);
      }
    }
    if (!phases.flat().some(({ writes }) => writes)) fault("emit", name, "writes nothing");
  }

  #walk(walk: Walk, buffer: PlanBuffer, name: string, reads: boolean): void {
    const hull = hullOf(walk);
    if (!hull) return;
    const elements = isDense(walk) ? undefined : elementsOf(walk, mostIndices);
    if (elements?.size === 0 || (!elements && walk.guards.length > 0)) return;
    const [low, high] = elements ? [Math.min(...elements), Math.max(...elements)] : hull;
    const limit = buffer.bytes / walk.bytesPerElement;
    if (low < 0 || high >= limit) {
      fault("emit", name, `touches elements ${low} … ${high} of slot ${walk.slot}, which has ${limit}`);
    }
    const known = this.#of(buffer), pairs = walk.bytesPerElement / 2, first = extentOf(this.plan, buffer).start / 2;
    if (!known) return;
    const unread = (element: number): never =>
      fault("emit", name, `reads element ${element} of slot ${walk.slot}, which nothing wrote`);
    // A gathered store fills few of the places within its reach; a gathered load may read any of them.
    const fills = walk.writes && !walk.gathers;
    if (!elements) {
      const span = known.subarray(first + low * pairs, first + (high + 1) * pairs), hole = reads ? span.indexOf(0) : -1;
      if (hole >= 0) unread(low + Math.floor(hole / pairs));
      if (fills) span.fill(1);
      return;
    }
    for (const element of elements) {
      const at = first + element * pairs;
      if (reads && known[at] === 0) unread(element);
      if (fills) known.fill(1, at, at + pairs);
    }
  }

  #fill(buffer: PlanBuffer): void {
    const { start, end } = extentOf(this.plan, buffer);
    this.#of(buffer)?.fill(1, start / 2, Math.ceil(end / 2));
  }

  /** Every element of a result must have been written. (The last two bytes may fill up a word of 16-bit elements.) */
  mustBeWhole(index: number): void {
    const { bytes } = this.plan.arguments[index], known = this.#of({ at: "argument", index, bytes });
    const hole = known?.subarray(0, Math.ceil(bytes / 2) - 1).indexOf(0) ?? -1;
    if (hole >= 0) fault("emit", `argument ${index}`, `is a result whose byte ${2 * hole} nothing writes`);
  }
}
