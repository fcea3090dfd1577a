/** @file open: a device by name. */
import { UserError } from "../dsl/errors.ts";
import { type Capabilities, listAdapters, openNative } from "./device.ts";
import { openInterpreter } from "./interpreter.ts";
import { PlannedDevice } from "./plans/device.ts";
import type { Device } from "./runtime.ts";
import { openWebgpu } from "./webgpu/device.ts";

/**
 * Opens a device:
 *
 * - `interpreter`: f64, slow, needs nothing at all
 * - `webgpu`: Deno's built-in WebGPU; needs an adapter, but neither Rust nor a permission
 * - `cpu`, `wgpu`, `wgpu:NAME`: the native library (`--allow-ffi`), which is built where there is none
 * - `auto`: the native library with a hardware GPU if there is one, else with the CPU
 *
 * @param options `signal`: when it is aborted, a step in progress ends as soon as the device can, and rejects with its
 * reason (the native library's devices; others finish their step)
 * @throws UserError when there is no such device
 * @example
 * ```ts
 * import { open } from "./open.ts";
 * using device = await open("interpreter");
 * console.assert(device.name === "interpreter");
 * ```
 */
export async function open(
  name: string = "auto",
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<Device> {
  if (name === "interpreter") return openInterpreter();
  if (name === "webgpu") return new PlannedDevice(await openWebgpu());
  if (name === "auto") name = bestNative();
  if (name === "cpu" || name === "wgpu" || isNamed(name)) return new PlannedDevice(openNative(name, { signal }));
  const known = "auto, cpu, wgpu, wgpu:NAME, webgpu or interpreter";
  throw new UserError(`--device ${name}: expected ${known}.`, { usage: true });
}

/**
 * What a device can do, for planning without it. Names are those of `open`.
 *
 * @throws UserError when there is no such device, or it has no kernels to plan for
 */
export async function capabilitiesOf(name: string): Promise<Capabilities> {
  if (name === "auto") name = bestNative();
  const runner = name === "webgpu"
    ? await openWebgpu()
    : name === "cpu" || name === "wgpu" || isNamed(name)
    ? openNative(name)
    : undefined;
  if (!runner) throw new UserError(`--device ${name}: expected auto, cpu, wgpu, wgpu:NAME or webgpu.`, { usage: true });
  runner.close();
  return runner.capabilities;
}

const bestNative = (): "wgpu" | "cpu" => listAdapters().some(({ software }) => !software) ? "wgpu" : "cpu";

const isNamed = (name: string): name is `wgpu:${string}` => name.startsWith("wgpu:");
