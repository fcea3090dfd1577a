/**
 * @file Checks what `schedule` made: every value is computed once and before it is read, memory that a result takes
 * over is read by nobody afterwards, and kernels bind no more than the device allows.
 */
import type { Node } from "../../../dsl/node.ts";
import { sizeOf } from "../../../dsl/shape.ts";
import { isArgument } from "../kinds.ts";
import type { Grouping } from "../group.ts";
import type { Schedule } from "../schedule.ts";
import { bytesOf } from "../place.ts";
import { fault } from "./fault.ts";

/** What a schedule was made of. */
export interface ScheduleInputs {
  readonly grouping: Grouping;
  readonly donated: ReadonlySet<Node>;
  /** Buffers that a kernel may bind. */
  readonly maxBindings: number;
}

/** A schedule of a grouping. @throws Error that names the first value that is wrong */
export function validateSchedule(
  { units, inPlace }: Schedule,
  { grouping, donated, maxBindings }: ScheduleInputs,
): void {
  const made = new Map<Node, number>(), lost = new Map<Node, Node>(), roots = new Set(grouping.roots);
  units.forEach(({ reads, writes, body }, step) => {
    for (const node of reads) {
      if (!isArgument(node) && !made.has(node) && sizeOf(node.shape) > 0) {
        fault("schedule", node, `is read by kernel ${step} before it is computed`);
      }
      const taker = lost.get(node);
      if (taker) fault("schedule", node, `is read by kernel ${step} after ${taker.op} took its memory`);
    }
    for (const node of writes) {
      if (made.has(node)) fault("schedule", node, "is computed twice");
      made.set(node, step);
    }
    if (body) {
      const unbound = [...reads, ...writes].find((node) => !body.slots.includes(node));
      if (unbound) fault("schedule", unbound, `is used by kernel ${step}, which has no slot for it`);
      if (body.slots.length > maxBindings) {
        fault("schedule", writes[0], `binds ${body.slots.length} buffers, the device allows ${maxBindings}`);
      }
    }
    for (const node of writes) if (inPlace.has(node)) takeOver(node, inPlace.get(node)!);
  });
  for (const node of grouping.stored) {
    if (!isArgument(node) && sizeOf(node.shape) > 0 && !made.has(node)) fault("schedule", node, "is computed nowhere");
  }
  for (const node of inPlace.keys()) {
    if (!made.has(node)) fault("schedule", node, "takes memory, but is computed nowhere");
  }

  function takeOver(result: Node, memory: Node): void {
    if (!donated.has(memory) && (isArgument(memory) || roots.has(memory))) {
      fault("schedule", result, `takes the memory of ${memory.op} ${memory.id}, which nobody gave away`);
    }
    if (lost.has(memory)) fault("schedule", result, `takes memory that ${lost.get(memory)!.op} took already`);
    if (bytesOf(memory) !== bytesOf(result) || memory.dtype !== result.dtype) {
      fault("schedule", result, "takes memory of another size or storage");
    }
    lost.set(memory, result);
  }
}
