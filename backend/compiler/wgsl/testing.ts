/** @file What the tests of shaders share: running one kernel as a plan of its own, and comparing it with plain loops. */
import { assert, assertEquals } from "@std/assert";
import { wgpuDevice } from "../../../tests/support.ts";
import { type Capabilities, type NativeDevice, openNative } from "../../device.ts";
import type { Access, Kernel, Plan } from "../kernel.ts";
import { slotCount, wgsl } from "./wgsl.ts";
import { type Memory, reference } from "./reference.ts";

const adapter = wgpuDevice() as "wgpu" | undefined;

/** What the shaders are written for: the adapter as it is, and the same one as if it were hardware. */
const layouts = [
  { layout: "software", software: true },
  { layout: "hardware", software: false },
];

/** A test of both layouts; ignored, visibly, where there is no adapter. */
export function test(name: string, run: (device: NativeDevice, capabilities: Capabilities) => Promise<void>): void {
  for (const { layout, software } of layouts) {
    Deno.test({
      name: `wgsl, ${layout} layout: ${name}`,
      ignore: !adapter,
      fn: async () => {
        using device = openNative(adapter);
        await run(device, { ...device.capabilities, software });
      },
    });
  }
}

function bytesOf(memory: Memory): Uint8Array<ArrayBuffer> {
  return new Uint8Array(memory.buffer as ArrayBuffer, memory.byteOffset, memory.byteLength);
}

/** Changes a shader's text before it runs. */
export type Rewrite = (code: string) => string;

/** Runs a kernel as a plan of its own; returns the slots afterwards, and the status word. */
export async function execute(
  device: NativeDevice,
  capabilities: Capabilities,
  kernel: Kernel,
  slots: readonly Memory[],
  rewrite: Rewrite = (code) => code,
): Promise<{ results: Memory[]; status: number }> {
  const { dispatches, scratch } = wgsl(kernel, capabilities);
  const own = slotCount(kernel);
  let size = 0;
  const arena = scratch.map((bytes) => {
    const offset = size;
    size += Math.ceil(bytes / 256) * 256;
    return { at: "arena", chunk: 0, offset, bytes } as const;
  });
  const plan: Plan = {
    version: 1,
    arena: size > 0 ? [size] : [],
    upload: 0,
    arguments: slots.map(({ byteLength }) => ({ bytes: byteLength, mode: "in" })),
    buffers: [
      ...slots.map(({ byteLength }, index) => ({ at: "argument", index, bytes: byteLength }) as const),
      ...arena,
    ],
    kernels: dispatches.map(({ kernel }) => ({ ...kernel, code: rewrite(kernel.code) })),
    steps: dispatches.map((dispatch, at) => ({
      kernel: at,
      buffers: dispatch.slots.map((slot) => slot < own ? slot : slots.length + slot - own),
    })),
    poison: true,
  };
  const handles = slots.map((memory) => {
    const handle = device.allocate(memory.byteLength);
    device.write(handle, bytesOf(memory));
    return handle;
  });
  const loaded = device.load(plan);
  await device.run(loaded, BigUint64Array.from(handles, BigInt), new Uint8Array(0));
  const results = slots.map((memory, at) => {
    const copy = memory.slice();
    device.read(handles[at], bytesOf(copy));
    device.free(handles[at]);
    return copy;
  });
  device.unload(loaded);
  return { results, status: device.status() };
}

/** The kernel on the device gives what the plain loops give, |error| ≤ tolerance · (1 + |value|). */
export async function same(
  device: NativeDevice,
  capabilities: Capabilities,
  kernel: Kernel,
  slots: readonly Memory[],
  tolerance = 1e-6,
): Promise<Memory[]> {
  const expected = slots.map((memory) => memory.slice());
  const wrong = reference(kernel, expected);
  const { results, status } = await execute(device, capabilities, kernel, slots);
  results.forEach((result, slot) => {
    for (let at = 0; at < result.length; at++) {
      const [actual, wanted] = [result[at], expected[slot][at]];
      const close = Object.is(actual, wanted) || Math.abs(actual - wanted) <= tolerance * (1 + Math.abs(wanted));
      assert(close, `slot ${slot}, element ${at}: ${actual}, expected ${wanted}`);
    }
  });
  assertEquals(status !== 0, wrong, "status word");
  return results;
}

let seed = 1;

/** The next number of a fixed sequence, in [0, 1). */
export function random(): number {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 32;
}

/** Numbers between −1 and 1. */
export function floats(size: number): Float32Array {
  return Float32Array.from({ length: size }, () => 2 * random() - 1);
}

/** Group numbers, now and then −1. */
export function groupIndex(size: number, groups: number): Int32Array {
  return Int32Array.from({ length: size }, () => random() < 0.1 ? -1 : Math.floor(random() * groups));
}

/** What an output holds before: it must all be overwritten. */
export function unwritten(size: number): Float32Array {
  return new Float32Array(size).fill(1e30);
}

/** An f32 access. */
export function f32(slot: number, strides: readonly number[], offset = 0): Access {
  return { slot, dtype: "f32", offset, strides };
}
