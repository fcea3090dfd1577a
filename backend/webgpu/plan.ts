/** @file A plan as WebGPU runs it: each step with its pipeline, its workgroups and, as far as they last, its bindings. */
import type { Plan, PlanBuffer } from "../compiler/kernel.ts";
import { padded, type WebgpuMemory } from "./memory.ts";
import collectShader from "../native/src/gpu/collect.wgsl" with { type: "text" };
import fillShader from "../native/src/gpu/fill.wgsl" with { type: "text" };

/** Workgroups of the shader that walks a buffer of any length. */
const walkers = 256;

/** Steps of one submission at most. */
export const longestSubmission = 64;

/** How long each step of a timed plan takes. */
export interface Timing {
  readonly queries: GPUQuerySet;
  /** Begin and end of each step of the last submission, in nanoseconds. */
  readonly ticks: GPUBuffer;
  /** Seconds of each step, in all runs so far. */
  readonly spent: number[];
}

interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

/** Compute pipelines, one per distinct shader and number of bindings, kept as long as the device. */
export class Pipelines {
  readonly #device: GPUDevice;
  readonly #known = new Map<string, Pipeline>();
  readonly #layouts = new Map<number, GPUBindGroupLayout>();

  /** Pipelines of this device. */
  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** The pipeline of a shader that binds `bindings` storage buffers. */
  get(code: string, bindings: number): Pipeline {
    const key = `${bindings} ${code}`, old = this.#known.get(key);
    if (old) return old;
    const layout = this.#layout(bindings), module = this.#device.createShaderModule({ code });
    const pipeline = this.#device.createComputePipeline({
      layout: this.#device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: "main" },
    });
    const made = { pipeline, layout };
    this.#known.set(key, made);
    return made;
  }

  #layout(bindings: number): GPUBindGroupLayout {
    const old = this.#layouts.get(bindings);
    if (old) return old;
    const layout = this.#device.createBindGroupLayout({
      entries: Array.from({ length: bindings }, (_, binding) => ({
        binding,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: "storage" } as const,
      })),
    });
    this.#layouts.set(bindings, layout);
    return layout;
  }
}

/** What plans are loaded with, and run with. */
export interface Loading {
  readonly device: GPUDevice;
  readonly memory: WebgpuMemory;
  readonly pipelines: Pipelines;
  /** The device's status word. */
  readonly word: GPUBuffer;
}

interface Step extends Pipeline {
  readonly workgroups: readonly [number, number, number];
  readonly buffers: readonly PlanBuffer[];
  /** Which of the plan's status words is bound last. */
  readonly status?: number;
  /** The last bindings, with the handles and the arena that they were made for. */
  bound?: { readonly key: string; readonly group: GPUBindGroup };
}

/** The status words of a plan's steps, and the dispatch that gathers them. */
interface Status extends Pipeline {
  readonly words: GPUBuffer;
  readonly stride: number;
  readonly group: GPUBindGroup;
}

/** A plan that can be run. */
export interface LoadedPlan {
  readonly plan: Plan;
  readonly steps: readonly Step[];
  readonly upload?: GPUBuffer;
  readonly status?: Status;
  /** Where the plan asks for it and the adapter can. */
  readonly timing?: Timing;
  /** What the driver has against the plan's shaders, if it has. */
  readonly failure: Promise<string | undefined>;
}

const entry = (binding: number, buffer: GPUBuffer, offset: number, bytes: number): GPUBindGroupEntry => ({
  binding,
  resource: { buffer, offset, size: padded(bytes) },
});

/**
 * Does something and hears what the driver has against it.
 *
 * @returns the driver's words, some time later; undefined if all was well
 */
export function scoped<T>(device: GPUDevice, work: () => T): [T, Promise<string | undefined>] {
  device.pushErrorScope("validation");
  let failure: Promise<GPUError | null> | undefined;
  try {
    const result = work();
    return [result, (failure = device.popErrorScope()).then((error) => error?.message)];
  } finally {
    if (!failure) void device.popErrorScope();
  }
}

/** Compiles a plan's shaders and makes room for it. @throws Error if a kernel is none of a GPU's */
export function load(plan: Plan, loading: Loading): LoadedPlan {
  const [loaded, failure] = scoped(loading.device, () => prepare(plan, loading));
  return { ...loaded, failure };
}

function prepare(plan: Plan, loading: Loading): Omit<LoadedPlan, "failure"> {
  const { memory, pipelines } = loading, reporting: number[] = [];
  const steps = plan.steps.map(({ kernel: number, buffers }, at): Step => {
    const kernel = plan.kernels[number];
    if (kernel.kind !== "wgsl") throw new Error(`plan: kernel ${number} is a ${kernel.kind}, WebGPU runs shaders only`);
    const status = kernel.status ? reporting.push(at) - 1 : undefined;
    return {
      ...pipelines.get(kernel.code, buffers.length + (kernel.status ? 1 : 0)),
      workgroups: kernel.workgroups,
      buffers: buffers.map((buffer) => plan.buffers[buffer]),
      ...(status !== undefined && { status }),
    };
  });
  memory.growArena(plan.arena);
  return {
    plan,
    steps,
    ...(plan.upload > 0 && { upload: memory.create("upload", plan.upload) }),
    ...(reporting.length > 0 && { status: statusOf(reporting, loading) }),
    ...(plan.timed && loading.device.features.has("timestamp-query") && { timing: timingOf(steps.length, loading) }),
  };
}

function timingOf(steps: number, { device }: Loading): Timing {
  const count = 2 * longestSubmission, usage = GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC;
  return {
    queries: device.createQuerySet({ type: "timestamp", count }),
    ticks: device.createBuffer({ label: "times", size: 8 * count, usage }),
    spent: new Array<number>(steps).fill(0),
  };
}

/** Words for the steps that report. `collect.wgsl` reads its stride and the steps' numbers from a buffer. */
function statusOf(reporting: readonly number[], { device, memory, pipelines, word }: Loading): Status {
  const stride = Math.max(4, device.limits.minStorageBufferOffsetAlignment), bytes = stride * reporting.length;
  const words = memory.create("status words", bytes), table = new Uint32Array([stride / 4, ...reporting]);
  const steps = memory.create("status steps", table.byteLength);
  device.queue.writeBuffer(steps, 0, table);
  const collect = pipelines.get(collectShader, 3);
  const group = device.createBindGroup({
    layout: collect.layout,
    entries: [entry(0, words, 0, bytes), entry(1, steps, 0, table.byteLength), entry(2, word, 0, 4)],
  });
  return { ...collect, words, stride, group };
}

/** Records some of a plan's steps, with what comes before the first and after the last one. */
export function encode(
  loaded: LoadedPlan,
  handles: BigUint64Array,
  { from, to }: { readonly from: number; readonly to: number },
  commands: GPUCommandEncoder,
  loading: Loading,
): void {
  const steps = loaded.steps.slice(from, to), { timing } = loaded;
  let pass = commands.beginComputePass();
  if (from === 0 && loaded.plan.poison) poison(loaded.plan, pass, loading);
  steps.forEach((step, i) => {
    if (timing) {
      // Timestamps stand at the ends of passes: each step has one of its own.
      pass.end();
      const timestampWrites = {
        querySet: timing.queries,
        beginningOfPassWriteIndex: 2 * i,
        endOfPassWriteIndex: 2 * i + 1,
      };
      pass = commands.beginComputePass({ timestampWrites });
    }
    dispatch(step, loaded, handles, pass, loading);
  });
  if (timing) {
    pass.end();
    pass = commands.beginComputePass();
  }
  if (to >= loaded.steps.length && loaded.status) {
    pass.setPipeline(loaded.status.pipeline);
    pass.setBindGroup(0, loaded.status.group);
    pass.dispatchWorkgroups(1);
  }
  pass.end();
  if (timing && steps.length > 0) commands.resolveQuerySet(timing.queries, 0, 2 * steps.length, timing.ticks, 0);
}

function dispatch(
  step: Step,
  loaded: LoadedPlan,
  handles: BigUint64Array,
  pass: GPUComputePassEncoder,
  loading: Loading,
): void {
  const { memory } = loading;
  const key = [memory.generation, ...step.buffers.map((place) => place.at === "argument" ? handles[place.index] : "")]
    .join();
  if (step.bound?.key !== key) step.bound = { key, group: bind(step, loaded, handles, loading) };
  pass.setPipeline(step.pipeline);
  pass.setBindGroup(0, step.bound.group);
  pass.dispatchWorkgroups(...step.workgroups);
}

function bind(
  { layout, buffers, status }: Step,
  loaded: LoadedPlan,
  handles: BigUint64Array,
  { device, memory }: Loading,
): GPUBindGroup {
  const entries = buffers.map((place, binding) => {
    switch (place.at) {
      case "argument":
        return entry(binding, memory.get(Number(handles[place.index])).buffer, place.offset ?? 0, place.bytes);
      case "arena":
        return entry(binding, memory.chunk(place.chunk), place.offset, place.bytes);
      case "upload":
        return entry(binding, loaded.upload!, place.offset, place.bytes);
    }
  });
  if (status !== undefined) {
    const { words, stride } = loaded.status!;
    entries.push(entry(entries.length, words, status * stride, 4));
  }
  return device.createBindGroup({ layout, entries });
}

/** Fills the arena with NaN. */
function poison({ arena }: Plan, pass: GPUComputePassEncoder, { device, memory, pipelines }: Loading): void {
  const { pipeline, layout } = pipelines.get(fillShader, 1);
  const most = Math.floor(device.limits.maxStorageBufferBindingSize / 256) * 256;
  pass.setPipeline(pipeline);
  arena.forEach((bytes, chunk) => {
    for (let offset = 0; offset < bytes; offset += most) {
      const entries = [entry(0, memory.chunk(chunk), offset, Math.min(most, bytes - offset))];
      pass.setBindGroup(0, device.createBindGroup({ layout, entries }));
      pass.dispatchWorkgroups(walkers);
    }
  });
}
