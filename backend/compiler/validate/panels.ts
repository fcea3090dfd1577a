/**
 * @file Checks what `panels` made: each kernel has memory behind all of its slots, and no more of them than the device
 * binds, and whatever a kernel reads, or writes a part into, is still computed by an earlier one.
 */
import type { Node } from "../../../dsl/node.ts";
import { sizeOf } from "../../../dsl/shape.ts";
import { isArgument } from "../kinds.ts";
import { isNodeMemory, type Steps } from "../step.ts";
import { bindingCount, slotCount } from "../wgsl/wgsl.ts";
import { fault } from "./fault.ts";

/** Kernels in order, loops joined with products. @throws Error that names the first kernel that is wrong */
export function validatePanels({ steps, inPlace }: Pick<Steps, "steps" | "inPlace">, maxBindings: number): void {
  const made = new Set<unknown>();
  const owner = (memory: Node): Node => inPlace.has(memory) ? owner(inPlace.get(memory)!) : memory;
  steps.forEach(({ unit, behind, kernel, slots }, step) => {
    const name = `step ${step} (${kernel.kind})`, count = slotCount(kernel), bound = bindingCount(kernel);
    if (count !== slots.length) fault("panels", name, `has ${count} slots, and memory for ${slots.length}`);
    if (bound > maxBindings) fault("panels", name, `binds ${bound} buffers, the device allows ${maxBindings}`);
    const writes = [unit, ...behind ?? []].flatMap((each) => each.writes);
    for (const { memory, node } of slots) {
      if (!writes.includes(node)) continue;
      // What is written in part lies in what it overwrites, or in a copy of that.
      if (kernel.kind === "loop" && node.op === "write" && memory === node) {
        const whole = owner(node);
        if (!made.has(whole) && !isArgument(whole)) fault("panels", node, "is written into what nobody has filled");
      }
      made.add(memory).add(isNodeMemory(memory) ? owner(memory) : memory);
    }
    for (const { memory } of slots) {
      if (isNodeMemory(memory) && !isArgument(memory) && !made.has(memory) && sizeOf(memory.shape) > 0) {
        fault("panels", memory, `is read by ${name} before it is computed`);
      }
    }
  });
}
