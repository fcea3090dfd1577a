/** @file What a device is told to run, step by step: each kernel once, for GPUs as shaders. */
import type { Capabilities } from "../../device.ts";
import { type Stopwatch, timed } from "../explain/stopwatch.ts";
import type { Kernel, WgslKernel } from "../kernel.ts";
import type { Lifetime } from "../place.ts";
import type { Slot, Step } from "../step.ts";
import { wgsl } from "../wgsl/wgsl.ts";
import { targetOf } from "./target.ts";

/** A kernel's run: which step it belongs to, and what it binds. */
export interface Dispatch {
  /** Its place in `kernels`. */
  readonly kernel: number;
  readonly step: number;
  /** Memory of the program, or the shader's own (a place in `scratch`). */
  readonly slots: readonly (Slot | { readonly scratch: number })[];
}

/** All of a plan's dispatches, in order. */
export interface Dispatches {
  /** Equal ones are one. */
  readonly kernels: readonly (Kernel | WgslKernel)[];
  readonly dispatches: readonly Dispatch[];
  /** Memory of shaders: each lives for one step of the program. */
  readonly scratch: readonly Lifetime[];
}

/** The dispatches of a program's steps: one for each where kernels stay data, else what their shaders take. */
export function dispatchesOf(steps: readonly Step[], capabilities: Capabilities, watch?: Stopwatch): Dispatches {
  const kernels: (Kernel | WgslKernel)[] = [], dispatches: Dispatch[] = [], scratch: Lifetime[] = [];
  const { language } = targetOf(capabilities);
  const kernelNumber = byContent((kernel: Kernel | WgslKernel) => kernels.push(kernel) - 1);
  const shaderOf = byContent((kernel: Kernel) => timed(watch, "wgsl", () => wgsl(kernel, capabilities)));
  steps.forEach(({ kernel, slots }, step) => {
    if (language === "data") return void dispatches.push({ kernel: kernelNumber(kernel), step, slots });
    const shader = shaderOf(kernel), first = scratch.length;
    for (const bytes of shader.scratch) scratch.push({ bytes, from: step, until: step });
    for (const dispatch of shader.dispatches) {
      dispatches.push({
        kernel: kernelNumber(dispatch.kernel),
        step,
        slots: dispatch.slots.map((slot) =>
          slot < slots.length ? slots[slot] : { scratch: first + slot - slots.length }
        ),
      });
    }
  });
  return { kernels, dispatches, scratch };
}

/** What is made of a kernel, once for equal ones. Most equal kernels are one object already. */
function byContent<K extends Kernel | WgslKernel, T>(make: (kernel: K) => T): (kernel: K) => T {
  const known = new Map<K, T>(), equal = new Map<string, T>();
  return (kernel) => {
    const old = known.get(kernel);
    if (old !== undefined) return old;
    const key = JSON.stringify(kernel), made = equal.get(key) ?? make(kernel);
    equal.set(key, made);
    known.set(kernel, made);
    return made;
  };
}
