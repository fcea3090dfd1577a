/**
 * @file Devices of the native library: memory, plans, runs. What a handle means and what is in a plan is the
 * business of `compile.ts`; here are bytes and small integers.
 */
import { UserError } from "../dsl/errors.ts";
import type { Plan } from "./compiler/kernel.ts";
import type { Tuning } from "./compiler/wgsl/templates/tuning.ts";
import { check, deviceSymbols, type Functions, openLibrary, readBytes } from "./library/ffi.ts";

/** Matrices that the invocations of a subgroup multiply together: c[m, n] += a[m, k] · b[k, n]. */
export interface CooperativeMatrices {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Type of the elements of a and b. */
  readonly operands: "f16" | "f32";
  /** Type of the elements of c. */
  readonly sums: "f16" | "f32";
}

/** What a device can do. On the CPU every limit is a large number. */
export interface Capabilities {
  /** Which of the library's devices it is, or Deno's own WebGPU. */
  readonly kind: "cpu" | "wgpu" | "webgpu";
  /** Name of the processor or adapter. */
  readonly name: string;
  /** Storage buffers that one kernel may bind, the status word included. */
  readonly maxBindings: number;
  /** Bytes of one binding. */
  readonly maxBindingBytes: number;
  /** Bytes of one buffer. */
  readonly maxBufferBytes: number;
  /** Memory of the device, in bytes. */
  readonly memoryBytes: number;
  /** Does a driver on the CPU stand in for hardware? */
  readonly software: boolean;
  /** Invocations of a workgroup. */
  readonly maxWorkgroupSize: number;
  /** Bytes that the invocations of a workgroup share. */
  readonly workgroupMemoryBytes: number;
  /** Can it say how long each kernel took? */
  readonly timestamps?: boolean;
  /** The cooperative matrices that shaders may use; none if left out. */
  readonly cooperativeMatrices?: readonly CooperativeMatrices[];
  /** Invocations of a subgroup, at least and at most; known where there are cooperative matrices. */
  readonly subgroupSizes?: readonly [least: number, most: number];
  /** Sizes of tiles and workgroups, where the defaults for its kind are not the best. */
  readonly tuning?: Partial<Tuning>;
}

/** How much memory a device holds. */
export interface MemoryUse {
  /** Bytes in buffers and arena now. */
  readonly usedBytes: number;
  /** The most there ever were. */
  readonly peakBytes: number;
}

/** A device of the native library. Handles are positive integers; a wrong one is an error, not a crash. */
export interface NativeDevice extends Disposable {
  /** As it was opened: "cpu", "wgpu" or "wgpu:NAME". */
  readonly name: string;
  /** What it can do. */
  readonly capabilities: Capabilities;
  /** The library's handle of the device, for its other functions (reading checkpoints). */
  readonly handle: bigint;
  /** Makes a buffer of zeros. */
  allocate(bytes: number): number;
  /** Gives a buffer's memory back. */
  free(buffer: number): void;
  /** Copies `data` to the buffer, from byte `offset` on. */
  write(buffer: number, data: Uint8Array, offset?: number): void;
  /** Fills `into` from the buffer, from byte `offset` on, when everything submitted before has run. */
  read(buffer: number, into: Uint8Array, offset?: number): void;
  /** Validates a plan and prepares it to run. */
  load(plan: Plan): number;
  /** Forgets a plan. */
  unload(plan: number): void;
  /**
   * Runs a whole step in one call on another thread.
   *
   * @param handles the plan's arguments; a 0 of an "out" argument becomes the handle of a new buffer
   * @param upload the bytes that come with the call
   */
  run(plan: number, handles: BigUint64Array<ArrayBuffer>, upload: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Ends the run in progress, if there is one, and refuses later ones. */
  cancel(): void;
  /** Seconds that each step of a plan took in all runs so far; none where the device does not measure them. */
  profile(plan: number): number[];
  /** Reads and clears the status word: 0, or 1 + the number of a step that met an index out of range. */
  status(): number;
  /** Bytes held now, and at most. */
  memory(): MemoryUse;
  /** Gives everything back. Closing twice does nothing. */
  close(): void;
}

let functions: Functions<typeof deviceSymbols> | undefined;

/** Opened at the first use, so that importing this module needs no permission. */
function library(): Functions<typeof deviceSymbols> {
  if (!functions) silenceDeviceSelect();
  return functions ??= openLibrary(deviceSymbols);
}

/**
 * Mesa's layer that moves the session's GPU to the front complains on stderr where there is no session. The library
 * ranks adapters itself, so the layer may as well stay out of it.
 */
function silenceDeviceSelect(): void {
  const variable = "NODEVICE_SELECT";
  if (Deno.permissions.querySync({ name: "env", variable }).state !== "granted") return;
  if (Deno.env.get(variable) === undefined) Deno.env.set(variable, "1");
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

class LibraryDevice implements NativeDevice {
  readonly name: string;
  readonly handle: bigint;
  readonly capabilities: Capabilities;
  readonly #library: Functions<typeof deviceSymbols>;
  readonly #result = new BigUint64Array(1);
  readonly #word = new Uint32Array(1);
  #open = true;

  readonly #signal?: AbortSignal;

  constructor(name: string, signal?: AbortSignal) {
    this.name = name;
    this.#signal = signal;
    this.#library = library();
    const bytes = encoder.encode(name);
    const code = this.#library.xft_device_open(bytes, BigInt(bytes.length), this.#result);
    check(code, (message) => new UserError(message));
    this.handle = this.#result[0];
    signal?.addEventListener("abort", this.#cancel);
    const { usedBytes: _used, peakBytes: _peak, ...capabilities } = this.#info();
    this.capabilities = capabilities;
  }

  #info(): Capabilities & MemoryUse {
    const json = readBytes((out, capacity) => this.#library.xft_device_info(this.handle, out, capacity));
    return JSON.parse(decoder.decode(json));
  }

  allocate(bytes: number): number {
    check(this.#library.xft_buffer_allocate(this.handle, BigInt(bytes), this.#result));
    return Number(this.#result[0]);
  }

  free(buffer: number): void {
    check(this.#library.xft_buffer_free(this.handle, BigInt(buffer)));
  }

  write(buffer: number, data: Uint8Array, offset = 0): void {
    const bytes = data as Uint8Array<ArrayBuffer>;
    const { handle } = this;
    check(this.#library.xft_buffer_write(handle, BigInt(buffer), BigInt(offset), bytes, BigInt(data.byteLength)));
  }

  read(buffer: number, into: Uint8Array, offset = 0): void {
    const bytes = into as Uint8Array<ArrayBuffer>;
    const { handle } = this;
    check(this.#library.xft_buffer_read(handle, BigInt(buffer), BigInt(offset), bytes, BigInt(into.byteLength)));
  }

  load(plan: Plan): number {
    const json = encoder.encode(JSON.stringify(plan));
    check(this.#library.xft_plan_load(this.handle, json, BigInt(json.length), this.#result));
    return Number(this.#result[0]);
  }

  unload(plan: number): void {
    check(this.#library.xft_plan_unload(this.handle, BigInt(plan)));
  }

  async run(plan: number, handles: BigUint64Array<ArrayBuffer>, upload: Uint8Array<ArrayBuffer>): Promise<void> {
    const { handle } = this;
    const [count, bytes] = [BigInt(handles.length), BigInt(upload.byteLength)];
    this.#signal?.throwIfAborted();
    const code = await this.#library.xft_plan_run(handle, BigInt(plan), handles, count, upload, bytes);
    if (code !== 0) this.#signal?.throwIfAborted();
    check(code);
  }

  readonly #cancel = (): void => this.cancel();

  cancel(): void {
    if (this.#open) check(this.#library.xft_device_cancel(this.handle));
  }

  profile(plan: number): number[] {
    const nanoseconds = readBytes((out, capacity) =>
      this.#library.xft_plan_profile(this.handle, BigInt(plan), out, capacity)
    );
    return Array.from(new BigUint64Array(nanoseconds.buffer), (each) => Number(each) / 1e9);
  }

  status(): number {
    check(this.#library.xft_device_status(this.handle, this.#word));
    return this.#word[0];
  }

  memory(): MemoryUse {
    const { usedBytes, peakBytes } = this.#info();
    return { usedBytes, peakBytes };
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#signal?.removeEventListener("abort", this.#cancel);
    check(this.#library.xft_device_close(this.handle));
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Opens a device of the native library.
 *
 * @param name "cpu", "wgpu" (the best hardware adapter) or "wgpu:NAME" (an adapter whose name contains NAME)
 * @param options `signal`: when it is aborted, the run in progress ends as soon as it can, and fails with its reason
 * @throws {UserError} if there is no library or no such device
 *
 * @example
 * ```ts ignore
 * using device = openNative("cpu");
 * const buffer = device.allocate(16);
 * device.write(buffer, new Uint8Array(new Float32Array([1, 2, 3, 4]).buffer));
 * ```
 */
export function openNative(
  name: "cpu" | "wgpu" | `wgpu:${string}` = "cpu",
  { signal }: { readonly signal?: AbortSignal } = {},
): NativeDevice {
  return new LibraryDevice(name, signal);
}

/** An adapter that wgpu lists. */
export interface Adapter {
  /** Its name, as the driver gives it. */
  readonly name: string;
  /** Does a driver on the CPU stand in for hardware? */
  readonly software: boolean;
  /** What else the driver says. */
  readonly [detail: string]: unknown;
}

/**
 * Lists the adapters that `openNative("wgpu:NAME")` could open.
 *
 * @throws {UserError} if there is no library
 */
export function listAdapters(): Adapter[] {
  return JSON.parse(decoder.decode(readBytes((out, capacity) => library().xft_adapters(out, capacity))));
}
