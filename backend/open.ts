/** @file open: a device by name. */
import { UserError } from "../dsl/errors.ts";
import { openInterpreter } from "./interpreter.ts";
import { openNativeDevice } from "./native.ts";
import type { Device } from "./runtime.ts";

/**
 * Opens a device: `auto` (a hardware GPU if there is one, else the CPU), `cpu`, `wgpu`, `wgpu:NAME` or `interpreter`.
 *
 * @throws UserError when there is no such device
 */
// deno-lint-ignore require-await
export async function open(name: string = "auto"): Promise<Device> {
  if (name === "interpreter") return openInterpreter();
  if (name === "auto" || name === "cpu" || name === "wgpu" || name.startsWith("wgpu:")) return openNativeDevice(name);
  throw new UserError(`--device ${name}: expected auto, cpu, wgpu, wgpu:NAME or interpreter.`, { usage: true });
}
