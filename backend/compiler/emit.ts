/**
 * @file Writes the plan: arguments, the arena, every kernel once, and what each step binds.
 * In: kernels in order, each slot with its memory. Out: a plan that a device runs in one call.
 */
import { UserError } from "../../dsl/errors.ts";
import type { Node } from "../../dsl/node.ts";
import { sizeOf } from "../../dsl/shape.ts";
import type { Capabilities } from "../device.ts";
import type { Program } from "../runtime.ts";
import { type Arena, arenaOf } from "./emission/arena.ts";
import { type Arguments, argumentsOf, type ArgumentSource } from "./emission/arguments.ts";
import { type Dispatches, dispatchesOf } from "./emission/dispatches.ts";
import type { Stopwatch } from "./explain/stopwatch.ts";
import type { Plan, PlanBuffer, PlanStep } from "./kernel.ts";
import { bytesOf } from "./place.ts";
import { type Need, refuseUnlessFitting } from "./emission/peak.ts";
import { isNodeMemory, type Scratch, type Slot, type Step, type Steps } from "./step.ts";
import { validatePlan } from "./validate/emit.ts";

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

/** What a plan is written for. */
export interface EmitOptions {
  readonly capabilities: Capabilities;
  /** For each parameter: does it come from the host with every call? */
  readonly hosted: readonly boolean[];
  readonly poison: boolean;
  /** Bytes of the device that are taken already (default: none). */
  readonly usedBytes?: number;
  readonly validate?: boolean;
  readonly watch?: Stopwatch;
}

type Memory = Node | Scratch;

/** Writes the plan. @throws UserError when a tensor is larger than the device can bind, or all is more than it has */
export function emit(program: Program, results: readonly Node[], all: Steps, options: EmitOptions): CompiledProgram {
  const { capabilities, hosted, poison, usedBytes = 0, validate, watch } = options, { steps, inPlace, refused } = all;
  const memoryOf = (node: Node): Node => inPlace.has(node) ? memoryOf(inPlace.get(node)!) : node;
  const owner = (memory: Memory): Memory => isNodeMemory(memory) ? memoryOf(memory) : memory;
  const given = argumentsOf(program, results, all, memoryOf, hosted);
  const dispatches = dispatchesOf(steps, capabilities, watch);
  const arena = arenaOf(steps, dispatches.scratch, {
    owner,
    isElsewhere: (memory) => isNodeMemory(memory) && given.bufferOf.has(memory),
    maxChunkBytes: capabilities.maxBufferBytes,
    validate,
    watch,
  });
  const plan: Plan = {
    version: 1,
    arena: arena.chunks,
    upload: given.upload,
    arguments: given.given,
    ...bound(given, arena, dispatches, owner, capabilities),
    kernels: dispatches.kernels,
    ...(poison && { poison }),
  };
  if (validate) validatePlan(plan, capabilities);
  refuseUnlessFitting(need(plan, given.sources, arena.values, results), usedBytes, capabilities);
  return {
    plan,
    arguments: given.sources,
    results: given.results,
    uploads: given.uploads,
    refused,
    origins: dispatches.dispatches.map(({ step }) => step),
    steps,
  };
}

/** The plan's steps, each with the buffers it binds; a part of a value's memory is a buffer of its own. */
function bound(
  given: Arguments,
  arena: Arena,
  { dispatches, scratch: lifetimes }: Dispatches,
  owner: (memory: Memory) => Memory,
  capabilities: Capabilities,
): { readonly buffers: readonly PlanBuffer[]; readonly steps: readonly PlanStep[] } {
  const buffers = [...given.buffers], bufferOf = new Map<Memory, number>(given.bufferOf);
  const parts = new Map<string, number>();
  const bufferAt = ({ memory, shift, bytes }: Slot): number => {
    const whole = owner(memory), known = bufferOf.get(whole);
    if (known !== undefined && shift === 0) return known;
    const at = known === undefined ? { at: "arena" as const, ...arena.placeOf.get(whole)!, bytes } : buffers[known];
    const moved: PlanBuffer = at.at === "argument"
      ? { ...at, offset: shift, bytes: at.bytes - shift }
      : { ...at, offset: at.offset + shift, bytes: known === undefined ? bytes : at.bytes - shift };
    const key = Object.values(moved).join(" "), buffer = parts.get(key) ?? buffers.push(moved) - 1;
    parts.set(key, buffer);
    if (shift === 0 && isNodeMemory(whole)) bufferOf.set(whole, buffer);
    return buffer;
  };
  const scratch = arena.scratch.map((place, i) =>
    buffers.push({ at: "arena", ...place, bytes: lifetimes[i].bytes }) - 1
  );
  const steps = dispatches.map(({ kernel, slots }) => ({
    kernel,
    buffers: slots.map((slot) => "scratch" in slot ? scratch[slot.scratch] : bufferAt(slot)),
  }));
  dispatches.forEach(({ slots }, i) =>
    slots.forEach((slot, at) => {
      if ("node" in slot) refuseLarge(slot.node, buffers[steps[i].buffers[at]].bytes, capabilities);
    })
  );
  return { buffers, steps };
}

/** What a plan takes beside the arguments that are on the device already. */
function need(
  { arena, upload, arguments: given }: Plan,
  sources: readonly ArgumentSource[],
  living: readonly Memory[],
  results: readonly Node[],
): Need {
  const added = given.filter((_, i) => {
    const source = sources[i];
    return source.kind === "result" || (source.kind === "captured" && source.leaf.op !== "buffer");
  });
  const values = [...living.filter(isNodeMemory), ...results];
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
