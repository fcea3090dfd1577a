/** @file WebGPU buffers by handle, and the arena that all plans of a device share. */
import type { MemoryUse } from "../device.ts";

/** Bytes as they are allocated: whole words, at least one, since an empty range cannot be bound. */
export const padded = (bytes: number): number => Math.max(4, Math.ceil(bytes / 4) * 4);

/** A buffer and the bytes that were asked for. */
export interface Allocation {
  readonly buffer: GPUBuffer;
  readonly bytes: number;
}

/** The memory of one device. */
export class WebgpuMemory {
  readonly #device: GPUDevice;
  readonly #report: (message: string) => void;
  readonly #buffers = new Map<number, Allocation>();
  /** Chunks as large as the largest plan needs; they only grow. */
  readonly #arena: Allocation[] = [];
  #next = 1;
  #used = 0;
  #peak = 0;
  /** Counts how often the arena grew: bind groups made before are stale. */
  generation = 0;

  /** @param report is told, some time later, that the device had no room */
  constructor(device: GPUDevice, report: (message: string) => void) {
    this.#device = device;
    this.#report = report;
  }

  /** A buffer of zeros that no handle names. @throws Error if the device allows none of that size */
  create(label: string, bytes: number): GPUBuffer {
    const size = padded(bytes), most = this.#device.limits.maxBufferSize;
    if (size > most) throw new Error(`webgpu: a buffer of ${bytes} bytes is more than the adapter allows (${most})`);
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST, before = this.#used;
    this.#device.pushErrorScope("out-of-memory");
    const buffer = this.#device.createBuffer({ label, size, usage });
    this.#device.popErrorScope().then((full) => {
      if (full) this.#report(`out of memory: no room for ${bytes} bytes beside the ${before} in use`);
    });
    this.#used += size;
    this.#peak = Math.max(this.#peak, this.#used);
    return buffer;
  }

  /** Gives back what `create` made, as soon as submitted work is done with it. */
  forget(buffer: GPUBuffer): void {
    this.#used -= buffer.size;
    buffer.destroy();
  }

  /** A buffer of zeros with a handle. */
  allocate(bytes: number): number {
    this.#buffers.set(this.#next, { buffer: this.create("buffer", bytes), bytes });
    return this.#next++;
  }

  /** Gives a buffer back. @throws Error if there is no such handle */
  free(handle: number): void {
    this.forget(this.get(handle).buffer);
    this.#buffers.delete(handle);
  }

  /** The buffer of a handle. @throws Error if there is none */
  get(handle: number): Allocation {
    const found = this.#buffers.get(handle);
    if (!found) throw new Error(`there is no buffer ${handle}`);
    return found;
  }

  /** Makes every chunk at least as large as `sizes` say. */
  growArena(sizes: readonly number[]): void {
    sizes.forEach((bytes, chunk) => {
      const old = this.#arena[chunk];
      if (old && old.bytes >= bytes) return;
      // The old chunk goes first, so that both need not fit at once: nothing in it outlives a run.
      if (old) this.forget(old.buffer);
      this.generation++;
      this.#arena[chunk] = { buffer: this.create("arena", bytes), bytes };
    });
  }

  /** A chunk of the arena. */
  chunk(chunk: number): GPUBuffer {
    return this.#arena[chunk].buffer;
  }

  /** Bytes held now, and at most. */
  use(): MemoryUse {
    return { usedBytes: this.#used, peakBytes: this.#peak };
  }
}
