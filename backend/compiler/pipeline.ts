/**
 * @file The compiler's table of contents: from a traced program to a plan that a device runs in one call.
 *
 * trace (compile.ts) → inline → simplify → tile → lower → group → schedule → panels → steps → place → emit
 */
import { type Node, standingForNobody } from "../../dsl/node.ts";
import { sizeOf } from "../../dsl/shape.ts";
import { simplify } from "../../dsl/simplify.ts";
import { UserError } from "../../dsl/errors.ts";
import type { Capabilities } from "../device.ts";
import type { Program } from "../runtime.ts";
import { isArgument } from "./kinds.ts";
import type { Kernel, Plan, PlanBuffer, PlanStep, WgslKernel } from "./kernel.ts";
import { inline, lower } from "./lower.ts";
import { type Lifetime, place } from "./memory.ts";
import { type Need, refuseUnlessFitting } from "./peak.ts";
import { bytesOf } from "./memory.ts";
import { type StepLimits, stepsOf } from "./steps.ts";
import { isNodeMemory, type Scratch, type Slot, type Step, type Steps } from "./step.ts";
import { type Stopwatch, timed } from "./explain/stopwatch.ts";
import { tile } from "./tile.ts";
import { validatePlan } from "./validate/emit.ts";
import { describe } from "./validate/fault.ts";
import { validateLowered } from "./validate/lower.ts";
import { type Placed, validatePlaces } from "./validate/place.ts";
import { validateTiled } from "./validate/tile.ts";
import { wgsl } from "./wgsl/wgsl.ts";

/** What the compiler is asked for. */
export interface PipelineOptions {
  readonly capabilities: Capabilities;
  readonly fuse: "on" | "off";
  readonly poison: boolean;
  /** For each parameter: may its memory be overwritten? */
  readonly donated: readonly boolean[];
  /** For each parameter: does it come from the host with every call? */
  readonly hosted: readonly boolean[];
  /** Bytes from which on an intermediate value is computed tile by tile (tests make it small). */
  readonly largeBytes?: number;
  /** Sums add up in an order that does not depend on how many there are of them. */
  readonly steady?: boolean;
  /** Bytes of the device that are taken already (default: none). */
  readonly usedBytes?: number;
  /** Check the result of every pass; a mistake of the compiler's then names the pass and the value. */
  readonly validate?: boolean;
  /** Told how long each pass takes. */
  readonly watch?: Stopwatch;
}

const bytesIn = (memory: Node | Scratch): number => isNodeMemory(memory) ? bytesOf(memory) : memory.bytes;

/** A plan, and how a call's tensors map to its arguments. */
export interface CompiledProgram {
  readonly plan: Plan;
  /** The plan's arguments, in order: a parameter by position, a captured leaf, or a result by position. */
  readonly arguments: readonly ArgumentSource[];
  /** Where each result lies: its own argument, or that of the parameter it overwrote. */
  readonly results: readonly number[];
  /** Offsets of hosted parameters in the upload. */
  readonly uploads: ReadonlyMap<number, number>;
  /** What runs, for `explain`. */
  readonly steps: readonly Step[];
  /** For each step of the plan, which of `steps` it belongs to. */
  readonly origins: readonly number[];
  readonly refused: ReadonlyMap<string, number>;
}

/** What stands behind one of the plan's arguments. */
export type ArgumentSource =
  | { readonly kind: "parameter"; readonly position: number }
  | { readonly kind: "captured"; readonly leaf: Node }
  | { readonly kind: "result"; readonly position: number };

/** Bytes of an intermediate value from which on it is kept out of memory where that can be. */
const largeBytes = 8 * 2 ** 20;

/** Compiles a program. @throws UserError when a tensor is larger than the device can bind, or all is more than it has */
export const pipeline = (program: Program, options: PipelineOptions): CompiledProgram =>
  standingForNobody(() => passes(program, options));

function passes(program: Program, options: PipelineOptions): CompiledProgram {
  const { capabilities, fuse, watch } = options;
  const plain = timed(watch, "simplify", () => simplify(timed(watch, "inline", () => inline(program.results))));
  const onHost = capabilities.kind === "cpu";
  const limits = {
    largeBytes: options.largeBytes ?? largeBytes,
    accumulates: onHost,
    windowAlignment: onHost ? 4 : 256,
    // One binding is for the status word.
    maxBindings: capabilities.maxBindings - 1,
    steady: options.steady,
  };
  const { validate = false } = options, cut = fuse === "on" ? timed(watch, "tile", () => tile(plain, limits)) : plain;
  if (validate) validateTiled(plain, cut);
  const results = timed(watch, "lower", () => lower(cut, limits));
  if (validate) validateLowered(program.results, results);
  const donated = new Set(program.parameters.filter((_, i) => options.donated[i] && !options.hosted[i]));
  const handsOn: StepLimits["handsOn"] = fuse === "off" ? undefined : onHost ? "rows" : "elements";
  const stepLimits = { ...limits, maxBufferBytes: capabilities.maxBufferBytes, fuse, handsOn, validate, watch };
  const steps = timed(watch, "steps", () => stepsOf(results, stepLimits, donated));
  return timed(watch, "emit", () => emit(program, results, steps, options));
}

/** Writes the plan: arguments, places, kernels without repetition, steps. */
function emit(
  program: Program,
  results: readonly Node[],
  { steps, inPlace, refused }: Steps,
  { capabilities, hosted, poison, usedBytes = 0, validate, watch }: PipelineOptions,
): CompiledProgram {
  const sources: ArgumentSource[] = [], argumentsOf: { bytes: number; mode: "in" | "out" }[] = [];
  const buffers: PlanBuffer[] = [], bufferOf = new Map<Node, number>(), uploads = new Map<number, number>();
  const argument = (source: ArgumentSource, node: Node, mode: "in" | "out"): number => {
    sources.push(source);
    argumentsOf.push({ bytes: bytesOf(node), mode });
    bufferOf.set(node, buffers.push({ at: "argument", index: sources.length - 1, bytes: bytesOf(node) }) - 1);
    return sources.length - 1;
  };
  const memoryOf = (node: Node): Node => inPlace.has(node) ? memoryOf(inPlace.get(node)!) : node;
  const owner = (memory: Node | Scratch): Node | Scratch => isNodeMemory(memory) ? memoryOf(memory) : memory;
  // What is written in place is read only through its result: the argument behind it counts as used.
  const used = new Set(
    steps.flatMap(({ slots }) => slots.flatMap(({ memory }) => isNodeMemory(memory) ? [memory, memoryOf(memory)] : [])),
  );
  let upload = 0;
  program.parameters.forEach((parameter, position) => {
    if (!used.has(parameter)) return;
    if (!hosted[position]) return void argument({ kind: "parameter", position }, parameter, "in");
    bufferOf.set(parameter, buffers.push({ at: "upload", offset: upload, bytes: bytesOf(parameter) }) - 1);
    uploads.set(position, upload);
    upload += Math.ceil(Math.max(4, bytesOf(parameter)) / 256) * 256;
  });
  for (const node of used) {
    if (isArgument(node) && !bufferOf.has(node)) argument({ kind: "captured", leaf: node }, node, "in");
  }
  const resultArguments = results.map((result, position) => {
    const memory = memoryOf(result), known = bufferOf.get(memory);
    if (memory !== result && known !== undefined) {
      const buffer = buffers[known];
      if (buffer.at === "argument") return buffer.index;
    }
    // What is written in place lies where it was made: in the result's buffer from the start.
    return argument({ kind: "result", position }, memory, "out");
  });

  const lifetimes = new Map<Node | Scratch, { from: number; until: number }>();
  steps.forEach(({ slots }, step) => {
    for (const slot of slots) {
      const memory = owner(slot.memory), known = lifetimes.get(memory);
      if (isNodeMemory(memory) && bufferOf.has(memory)) continue;
      if (known) known.until = step;
      else lifetimes.set(memory, { from: step, until: step });
    }
  });
  const kernels: (Kernel | WgslKernel)[] = [], planSteps: PlanStep[] = [];
  const kernelNumber = byContent((kernel: Kernel | WgslKernel) => kernels.push(kernel) - 1);
  // Scratch memory of shaders lives for one step of the program.
  const scratch: Lifetime[] = [];
  const pending: { kernel: number; step: number; slots: readonly (Slot | { scratch: number })[] }[] = [];
  const shaderOf = byContent((kernel: Kernel) => timed(watch, "wgsl", () => wgsl(kernel, capabilities)));
  steps.forEach(({ kernel, slots }, step) => {
    if (capabilities.kind === "cpu") return void pending.push({ kernel: kernelNumber(kernel), step, slots });
    const shader = shaderOf(kernel), first = scratch.length;
    for (const bytes of shader.scratch) scratch.push({ bytes, from: step, until: step });
    for (const dispatch of shader.dispatches) {
      pending.push({
        kernel: kernelNumber(dispatch.kernel),
        step,
        slots: dispatch.slots.map((slot) =>
          slot < slots.length ? slots[slot] : { scratch: first + slot - slots.length }
        ),
      });
    }
  });
  const living = [...lifetimes];
  const values = [
    ...living.map(([memory, { from, until }]) => ({ bytes: bytesIn(memory), from, until })),
    ...scratch,
  ];
  const { places, chunks } = timed(watch, "place", () => place(values, capabilities.maxBufferBytes));
  const placeOf = new Map(living.map(([memory], i) => [memory, places[i]]));
  if (validate) {
    const placed = (i: number, name: string): Placed => ({ ...places[i], bytes: values[i].bytes, name });
    const nameOf = (memory: Node | Scratch): string =>
      isNodeMemory(memory) ? describe(memory) : "a loop's scratch memory";
    const known = new Map(living.map(([memory], i) => [memory, placed(i, nameOf(memory))]));
    const shaders = scratch.map(({ from }, i) => ({
      from,
      value: placed(living.length + i, "a shader's scratch memory"),
    }));
    const uses = steps.map(({ slots }, step) => [
      ...new Set(slots.flatMap(({ memory }) => known.get(owner(memory)) ?? [])),
      ...shaders.filter(({ from }) => from === step).map(({ value }) => value),
    ]);
    validatePlaces(uses, chunks);
  }
  const parts = new Map<string, number>();
  /** The number of the plan's buffer that is a slot's memory from its first byte on. */
  const bufferAt = ({ memory, shift, bytes }: Slot): number => {
    const whole = owner(memory), known = isNodeMemory(whole) ? bufferOf.get(whole) : undefined;
    if (known !== undefined && shift === 0) return known;
    const at = known === undefined ? { at: "arena" as const, ...placeOf.get(whole)!, bytes } : buffers[known];
    const moved: PlanBuffer = at.at === "argument"
      ? { ...at, offset: shift, bytes: at.bytes - shift }
      : { ...at, offset: at.offset + shift, bytes: known === undefined ? bytes : at.bytes - shift };
    const key = Object.values(moved).join(" "), buffer = parts.get(key) ?? buffers.push(moved) - 1;
    parts.set(key, buffer);
    if (shift === 0 && isNodeMemory(whole)) bufferOf.set(whole, buffer);
    return buffer;
  };
  const scratchBuffers = scratch.map(({ bytes }, i) =>
    buffers.push({ at: "arena", ...places[living.length + i], bytes }) - 1
  );
  for (const { kernel, slots } of pending) {
    planSteps.push({
      kernel,
      buffers: slots.map((slot) => "scratch" in slot ? scratchBuffers[slot.scratch] : bufferAt(slot)),
    });
  }
  planSteps.forEach(({ buffers: bound }, i) =>
    bound.forEach((buffer, at) => {
      const slot = pending[i].slots[at];
      if ("node" in slot) refuseLarge(slot.node, buffers[buffer].bytes, capabilities);
    })
  );
  const plan: Plan = {
    version: 1,
    arena: chunks,
    upload,
    arguments: argumentsOf,
    buffers,
    kernels,
    steps: planSteps,
    ...(poison && { poison }),
  };
  if (validate) validatePlan(plan, capabilities);
  refuseUnlessFitting(need(plan, sources, living, results), usedBytes, capabilities);
  return {
    plan,
    arguments: sources,
    results: resultArguments,
    uploads,
    refused,
    origins: pending.map(({ step }) => step),
    steps,
  };
}

/** What is made of a kernel, once for equal ones. Most equal kernels are one object already. */
function byContent<K extends Kernel | WgslKernel, T>(make: (kernel: K) => T): (kernel: K) => T {
  const known = new Map<K, T>(), equal = new Map<string, T>();
  return (kernel) => {
    const old = known.get(kernel);
    if (old !== undefined) return old;
    const key = JSON.stringify(kernel), made = equal.get(key) ?? make(kernel);
    equal.set(key, made);
    known.set(kernel, made);
    return made;
  };
}

/** What a plan takes beside the arguments that are on the device already. */
function need(
  { arena, upload, arguments: given }: Plan,
  sources: readonly ArgumentSource[],
  living: readonly (readonly [Node | Scratch, unknown])[],
  results: readonly Node[],
): Need {
  const added = given.filter((_, i) => {
    const source = sources[i];
    return source.kind === "result" || (source.kind === "captured" && source.leaf.op !== "buffer");
  });
  const values = [...living.map(([memory]) => memory).filter(isNodeMemory), ...results];
  return {
    bytes: [...arena, upload, ...added.map(({ bytes }) => bytes)].reduce((a, b) => a + b, 0),
    values: values.map((node) => [node, bytesOf(node)]),
  };
}

function refuseLarge(node: Node, bytes: number, { maxBindingBytes, name }: Capabilities): void {
  if (bytes <= maxBindingBytes) return;
  const mebibytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`;
  throw new UserError(
    `A tensor of ${sizeOf(node.shape)} elements (axes ${Object.keys(node.shape).join(" ")}) takes ${
      mebibytes(bytes)
    }, but ${name} binds at most ${mebibytes(maxBindingBytes)} at once; use a smaller batch, or --device cpu.`,
  );
}
