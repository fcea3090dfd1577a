/**
 * @file Deno's built-in WebGPU: the plans and shaders of the native wgpu device, run through `navigator.gpu`. It needs
 * neither the native library nor a permission.
 */
import { UserError } from "../../dsl/errors.ts";
import type { Plan } from "../compiler/kernel.ts";
import type { Capabilities, MemoryUse } from "../device.ts";
import type { PlanRunner } from "../plans/device.ts";
import {
  encode,
  load,
  type LoadedPlan,
  type Loading,
  longestSubmission,
  Pipelines,
  scoped,
  type Timing,
} from "./plan.ts";
import { padded, WebgpuMemory } from "./memory.ts";

/** Kernels are planned for no more buffers than this, whatever the adapter allows. */
const mostBindings = 64;

/** Steps per submission: drivers reset a device that one submission keeps busy for seconds. */
const slice = longestSubmission;

/** Runs that may wait in the queue while the next one is being recorded. */
const queuedRuns = 2;

/** The status word while nothing has happened. */
const fine = 0xffff_ffff;

/** Limits that compute shaders meet; the device is opened with all that the adapter has. */
const limitNames = [
  "maxStorageBuffersPerShaderStage",
  "maxStorageBufferBindingSize",
  "maxBufferSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ",
  "maxComputeWorkgroupStorageSize",
  "maxComputeWorkgroupsPerDimension",
] as const satisfies readonly (keyof GPUSupportedLimits)[];

function capabilitiesOf({ info, limits, features }: GPUAdapter): Capabilities {
  return {
    kind: "webgpu",
    name: info.description || info.device || info.vendor || "adapter",
    maxBindings: Math.min(limits.maxStorageBuffersPerShaderStage, mostBindings),
    maxBindingBytes: limits.maxStorageBufferBindingSize,
    maxBufferBytes: limits.maxBufferSize,
    // WebGPU does not say how much memory there is.
    memoryBytes: Infinity,
    software: info.isFallbackAdapter,
    maxWorkgroupSize: Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX),
    workgroupMemoryBytes: limits.maxComputeWorkgroupStorageSize,
    timestamps: features.has("timestamp-query"),
  };
}

/**
 * Opens the best adapter that WebGPU has; one in software only if there is no other.
 *
 * @throws UserError where there is no WebGPU or no adapter
 */
export async function openWebgpu(): Promise<PlanRunner> {
  const gpu: GPU | undefined = navigator.gpu;
  if (!gpu) throw new UserError('This runtime has no WebGPU (navigator.gpu); Deno 2.9 has, or open("interpreter").');
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" }) ??
    await gpu.requestAdapter({ forceFallbackAdapter: true });
  if (!adapter) {
    throw new UserError(
      "webgpu: there is no graphics adapter. Install a driver (on Debian without a GPU: libvulkan1 and " +
        'mesa-vulkan-drivers), or use open("interpreter").',
    );
  }
  const requiredFeatures = (["timestamp-query"] as const).filter((name) => adapter.features.has(name));
  const requiredLimits = Object.fromEntries(limitNames.map((name) => [name, adapter.limits[name]]));
  return new WebgpuRunner(capabilitiesOf(adapter), await adapter.requestDevice({ requiredLimits, requiredFeatures }));
}

class WebgpuRunner implements PlanRunner {
  readonly capabilities: Capabilities;
  readonly #device: GPUDevice;
  readonly #memory: WebgpuMemory;
  readonly #loading: Loading;
  readonly #plans = new Map<number, LoadedPlan>();
  readonly #word: GPUBuffer;
  #nextPlan = 1;
  /** Runs submitted since the device was last waited for. */
  #queued = 0;
  /** What the driver reported outside of any call of ours; once it is lost, a device stays lost. */
  #trouble: string | undefined;
  #lost = false;
  /** Runs take their turns, so that their order is that of the calls. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(capabilities: Capabilities, device: GPUDevice) {
    this.capabilities = capabilities;
    this.#device = device;
    this.#memory = new WebgpuMemory(device, (message) => this.#trouble ??= message);
    this.#word = this.#memory.create("status", 4);
    device.queue.writeBuffer(this.#word, 0, new Uint32Array([fine]));
    this.#loading = { device, memory: this.#memory, pipelines: new Pipelines(device), word: this.#word };
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.#trouble ??= (event as GPUUncapturedErrorEvent).error.message;
    });
    device.lost.then(({ reason, message }) => {
      this.#lost = true;
      this.#trouble = reason === "destroyed"
        ? "the device was closed"
        : `the device was lost (${message}): start again from the last checkpoint`;
    });
  }

  #check(): void {
    if (this.#trouble === undefined) return;
    const message = this.#trouble;
    if (!this.#lost) this.#trouble = undefined;
    throw new Error(`webgpu: ${message}`);
  }

  allocate(bytes: number): number {
    this.#check();
    return this.#memory.allocate(bytes);
  }

  free(buffer: number): void {
    this.#memory.free(buffer);
  }

  write(buffer: number, data: Uint8Array, offset = 0): void {
    const { bytes, buffer: target } = this.#memory.get(buffer);
    if (offset + data.length > padded(bytes)) {
      throw new RangeError(`write: ${data.length} bytes at ${offset} of buffer ${buffer}, which has ${bytes}`);
    }
    if (data.length === 0) return;
    // WebGPU writes whole words; only the buffer's last one may be filled up.
    if (offset % 4 !== 0 || (data.length % 4 !== 0 && offset + data.length < bytes)) {
      throw new RangeError(`write: ${data.length} bytes at ${offset} of buffer ${buffer} are no whole words`);
    }
    this.#device.queue.writeBuffer(target, offset, wholeWords(data));
  }

  async read(buffer: number, into: Uint8Array, offset = 0): Promise<void> {
    const { bytes, buffer: source } = this.#memory.get(buffer);
    if (offset + into.length > bytes) {
      throw new RangeError(`read: ${into.length} bytes at ${offset} of buffer ${buffer}, which has ${bytes}`);
    }
    if (into.length === 0) return;
    await this.#turn;
    await this.#copyOut(source, into, offset);
  }

  async #copyOut(source: GPUBuffer, into: Uint8Array, offset: number): Promise<void> {
    const device = this.#device, first = Math.floor(offset / 4) * 4, size = padded(offset + into.length) - first;
    const staging = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    try {
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(source, first, staging, 0, size);
      device.queue.submit([encoder.finish()]);
      await staging.mapAsync(GPUMapMode.READ);
      this.#queued = 0;
      into.set(new Uint8Array(staging.getMappedRange(), offset - first, into.length));
    } catch (error) {
      // The driver's own words say more than those of a map that failed.
      this.#check();
      throw error;
    } finally {
      staging.destroy();
    }
    this.#check();
  }

  load(plan: Plan): number {
    this.#check();
    this.#plans.set(this.#nextPlan, load(plan, this.#loading));
    return this.#nextPlan++;
  }

  run(plan: number, handles: BigUint64Array<ArrayBuffer>, upload: Uint8Array<ArrayBuffer>): Promise<void> {
    const turn = this.#turn.then(() => this.#run(plan, handles, upload));
    this.#turn = turn.catch(() => {});
    return turn;
  }

  async #run(
    number: number,
    handles: BigUint64Array<ArrayBuffer>,
    upload: Uint8Array<ArrayBuffer>,
  ): Promise<void> {
    const loaded = this.#plans.get(number), { queue } = this.#device;
    if (!loaded) throw new Error(`there is no plan ${number}`);
    const { plan } = loaded, failure = await loaded.failure;
    if (failure) throw new Error(`webgpu: loading a plan: ${failure}`);
    if (handles.length !== plan.arguments.length) {
      throw new Error(`${handles.length} arguments, the plan takes ${plan.arguments.length}`);
    }
    if (upload.length !== plan.upload) throw new Error(`${upload.length} bytes of upload, the plan has ${plan.upload}`);
    // Deno's wait blocks: it comes here, where it must, and not after every submission.
    if (this.#queued >= queuedRuns) {
      await queue.onSubmittedWorkDone();
      this.#queued = 0;
    }
    this.#check();
    const made: number[] = [];
    try {
      plan.arguments.forEach(({ bytes, mode }, i) => {
        if (handles[i] === 0n && mode === "out") {
          handles[i] = BigInt(this.#memory.allocate(bytes));
          made.push(i);
        }
        const has = this.#memory.get(Number(handles[i])).bytes;
        if (has < bytes) throw new RangeError(`argument ${i} has ${has} bytes, the plan needs ${bytes}`);
      });
      if (loaded.upload) queue.writeBuffer(loaded.upload, 0, wholeWords(upload));
      for (let from = 0; from < Math.max(1, loaded.steps.length); from += slice) {
        const [, invalid] = scoped(this.#device, () => {
          const commands = this.#device.createCommandEncoder();
          encode(loaded, handles, { from, to: from + slice }, commands, this.#loading);
          queue.submit([commands.finish()]);
        });
        const message = await invalid;
        if (message) throw new Error(`webgpu: running a plan: ${message}`);
        if (loaded.timing) await this.#count(loaded.timing, from);
      }
    } catch (error) {
      for (const i of made) {
        this.#memory.free(Number(handles[i]));
        handles[i] = 0n;
      }
      throw error;
    }
    this.#queued++;
  }

  /** Reads the timestamps of a submission that began with step `from`. */
  async #count({ ticks, spent }: Timing, from: number): Promise<void> {
    const count = Math.min(slice, spent.length - from), times = new BigUint64Array(2 * count);
    await this.#copyOut(ticks, new Uint8Array(times.buffer), 0);
    for (let i = 0; i < count; i++) spent[from + i] += Math.max(0, Number(times[2 * i + 1] - times[2 * i])) / 1e9;
  }

  profile(plan: number): number[] {
    return [...this.#plans.get(plan)?.timing?.spent ?? []];
  }

  async status(): Promise<number> {
    const word = new Uint32Array(1);
    await this.#copyOut(this.#word, new Uint8Array(word.buffer), 0);
    if (word[0] === fine) return 0;
    this.#device.queue.writeBuffer(this.#word, 0, new Uint32Array([fine]));
    return word[0];
  }

  memory(): MemoryUse {
    return this.#memory.use();
  }

  close(): void {
    this.#device.destroy();
  }
}

/** The same bytes, zeros behind them up to a whole word. */
function wholeWords(data: Uint8Array): Uint8Array<ArrayBuffer> {
  if (data.length % 4 === 0) return data as Uint8Array<ArrayBuffer>;
  const words = new Uint8Array(padded(data.length));
  words.set(data);
  return words;
}
