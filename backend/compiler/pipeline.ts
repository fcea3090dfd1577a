/**
 * @file The compiler's table of contents: from a traced program to a plan that a device runs in one call.
 *
 * trace (compile.ts) → lower (inline, simplify, rewrite) → group → schedule → place → emit
 */
import type { Node } from "../../dsl/node.ts";
import { sizeOf } from "../../dsl/shape.ts";
import { UserError } from "../../dsl/errors.ts";
import type { Capabilities } from "../device.ts";
import type { Program } from "../runtime.ts";
import { group, isArgument } from "./group.ts";
import type { Kernel, Plan, PlanBuffer, PlanStep, WgslKernel } from "./kernel.ts";
import { lower } from "./lower.ts";
import { type Lifetime, place } from "./memory.ts";
import { bytesOf, schedule, type Unit } from "./schedule.ts";
import { templateSteps } from "./templates.ts";
import { wgsl } from "./wgsl.ts";

/** What the compiler is asked for. */
export interface PipelineOptions {
  readonly capabilities: Capabilities;
  readonly fuse: "on" | "off";
  readonly poison: boolean;
  /** For each parameter: may its memory be overwritten? */
  readonly donated: readonly boolean[];
  /** For each parameter: does it come from the host with every call? */
  readonly hosted: readonly boolean[];
}

/** A kernel that runs, for `explain`. */
export interface ExplainedStep {
  readonly unit: Unit;
  readonly kernel: Kernel;
  readonly reads: number;
  readonly writes: number;
}

/** A plan, and how a call's tensors map to its arguments. */
export interface CompiledProgram {
  readonly plan: Plan;
  /** The plan's arguments, in order: a parameter by position, a captured leaf, or a result by position. */
  readonly arguments: readonly ArgumentSource[];
  /** Where each result lies: its own argument, or that of the parameter it overwrote. */
  readonly results: readonly number[];
  /** Offsets of hosted parameters in the upload. */
  readonly uploads: ReadonlyMap<number, number>;
  readonly steps: readonly ExplainedStep[];
  readonly refused: ReadonlyMap<string, number>;
}

/** What stands behind one of the plan's arguments. */
export type ArgumentSource =
  | { readonly kind: "parameter"; readonly position: number }
  | { readonly kind: "captured"; readonly leaf: Node }
  | { readonly kind: "result"; readonly position: number };

interface RawStep {
  readonly unit: Unit;
  readonly kernel: Kernel;
  readonly slots: readonly Node[];
}

/** Compiles a program. @throws UserError when a tensor is larger than the device can bind */
export function pipeline(program: Program, options: PipelineOptions): CompiledProgram {
  const { capabilities } = options;
  const results = lower(program.results);
  const grouping = group(results, { maxBindings: capabilities.maxBindings - 1, fuse: options.fuse });
  const donated = new Set(program.parameters.filter((_, i) => options.donated[i] && !options.hosted[i]));
  const { units, inPlace } = schedule(grouping, donated);
  const steps = units.flatMap((unit): RawStep[] =>
    unit.body
      ? [{ unit, kernel: unit.body.kernel, slots: unit.body.slots }]
      : templateSteps((unit.group as { node: Node }).node, inPlace.has(unit.writes[0])).map((step) => ({
        unit,
        ...step,
      }))
  ).filter(({ kernel }) => kernel.kind !== "loop" || kernel.sizes.slice(0, kernel.outer).every((size) => size > 0));
  return emit(program, results, steps, inPlace, options, grouping.refused);
}

/** Writes the plan: arguments, places, kernels without repetition, steps. */
function emit(
  program: Program,
  results: readonly Node[],
  steps: readonly RawStep[],
  inPlace: ReadonlyMap<Node, Node>,
  { capabilities, hosted, poison }: PipelineOptions,
  refused: ReadonlyMap<string, number>,
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
  // What is written in place is read only through its result: the argument behind it counts as used.
  const used = new Set(steps.flatMap(({ slots }) => slots.flatMap((slot) => [slot, memoryOf(slot)])));
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

  const lifetimes = new Map<Node, { from: number; until: number }>();
  steps.forEach(({ slots }, step) => {
    for (const slot of slots) {
      const memory = memoryOf(slot), known = lifetimes.get(memory);
      if (bufferOf.has(memory)) continue;
      if (known) known.until = step;
      else lifetimes.set(memory, { from: step, until: step });
    }
  });
  const kernels: (Kernel | WgslKernel)[] = [], kernelOf = new Map<string, number>(), planSteps: PlanStep[] = [];
  const kernelNumber = (kernel: Kernel | WgslKernel): number => {
    const key = JSON.stringify(kernel), old = kernelOf.get(key);
    if (old !== undefined) return old;
    kernelOf.set(key, kernels.length);
    return kernels.push(kernel) - 1;
  };
  // Scratch memory of shaders lives for one step of the program.
  const scratch: Lifetime[] = [], pending: { kernel: number; slots: readonly (Node | { scratch: number })[] }[] = [];
  const shaders = new Map<string, ReturnType<typeof wgsl>>();
  steps.forEach(({ kernel, slots }, step) => {
    if (capabilities.kind === "cpu") return void pending.push({ kernel: kernelNumber(kernel), slots });
    const key = JSON.stringify(kernel);
    const shader = shaders.get(key) ?? wgsl(kernel, capabilities);
    shaders.set(key, shader);
    const first = scratch.length;
    for (const bytes of shader.scratch) scratch.push({ bytes, from: step, until: step });
    for (const dispatch of shader.dispatches) {
      pending.push({
        kernel: kernelNumber(dispatch.kernel),
        slots: dispatch.slots.map((slot) =>
          slot < slots.length ? slots[slot] : { scratch: first + slot - slots.length }
        ),
      });
    }
  });
  const living = [...lifetimes],
    values = [...living.map(([node, { from, until }]) => ({ bytes: bytesOf(node), from, until })), ...scratch];
  const { places, chunks } = place(values, capabilities.maxBufferBytes);
  living.forEach(([node], i) =>
    bufferOf.set(node, buffers.push({ at: "arena", ...places[i], bytes: bytesOf(node) }) - 1)
  );
  const scratchBuffers = scratch.map(({ bytes }, i) =>
    buffers.push({ at: "arena", ...places[living.length + i], bytes }) - 1
  );
  for (const { kernel, slots } of pending) {
    planSteps.push({
      kernel,
      buffers: slots.map((slot) => "scratch" in slot ? scratchBuffers[slot.scratch] : bufferOf.get(memoryOf(slot))!),
    });
  }
  for (const [node] of bufferOf) refuseLarge(node, capabilities);
  return {
    plan: {
      version: 1,
      arena: chunks,
      upload,
      arguments: argumentsOf,
      buffers,
      kernels,
      steps: planSteps,
      ...(poison && { poison }),
    },
    arguments: sources,
    results: resultArguments,
    uploads,
    refused,
    steps: steps.map(({ unit, kernel, slots }) => ({
      unit,
      kernel,
      reads: slots.filter((node) => !unit.writes.includes(node)).reduce((bytes, node) => bytes + bytesOf(node), 0),
      writes: slots.filter((node) => unit.writes.includes(node)).reduce((bytes, node) => bytes + bytesOf(node), 0),
    })),
  };
}

function refuseLarge(node: Node, { maxBindingBytes, name }: Capabilities): void {
  if (bytesOf(node) <= maxBindingBytes) return;
  const mebibytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`;
  throw new UserError(
    `A tensor of ${sizeOf(node.shape)} elements (axes ${Object.keys(node.shape).join(" ")}) takes ${
      mebibytes(bytesOf(node))
    }, but ${name} binds at most ${mebibytes(maxBindingBytes)} at once; use a smaller batch, or --device cpu.`,
  );
}
