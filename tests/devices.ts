/** @file The devices that recipes are tested on: the f64 interpreter, and those of this run that open. */
import { values } from "../backend/compile.ts";
import { openInterpreter } from "../backend/interpreter.ts";
import type { Device } from "../backend/runtime.ts";
import { tensorOf } from "../dsl/tensor.ts";
import { entriesOf } from "../dsl/tree.ts";
import { testDevices } from "./support.ts";

/** Names of the interpreter and of every device of this run. */
export function allDevices(): string[] {
  return ["interpreter", ...testDevices()];
}

/** Runs a function with a device of that name, which is closed afterwards. */
export async function withDevice<T>(name: string, run: (device: Device) => T | Promise<T>): Promise<T> {
  // Loaded where it is needed: the interpreter must work without the native library.
  const device = name === "interpreter" ? openInterpreter() : await (await import("../backend/open.ts")).open(name);
  try {
    return await run(device);
  } finally {
    device[Symbol.dispose]();
  }
}

/** The numbers of every leaf of a tree, by its path. */
export async function treeValues(tree: unknown, device: Device): Promise<Map<string, number[]>> {
  const numbers = new Map<string, number[]>();
  for (const [path, leaf] of entriesOf(tree)) numbers.set(path, [...await values(tensorOf(leaf), device)]);
  return numbers;
}
