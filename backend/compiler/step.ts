/** @file A kernel that runs, and the memory behind each of its slots. */
import type { Node } from "../../dsl/node.ts";
import type { Kernel } from "./kernel.ts";
import type { Unit } from "./schedule.ts";

/** Memory of a loop's body, used again by every tile. */
export interface Scratch {
  readonly bytes: number;
}

/** What lies behind a kernel's slot: a value's memory, from some byte on. */
export interface Slot {
  readonly memory: Node | Scratch;
  readonly shift: number;
  /** Bytes from there on that the kernel may touch. */
  readonly bytes: number;
  /** The value, for `explain`. */
  readonly node: Node;
}

/** A kernel that runs. */
export interface Step {
  readonly unit: Unit;
  /** What goes on with a product in the same step. */
  readonly behind?: readonly Unit[];
  readonly kernel: Kernel;
  readonly slots: readonly Slot[];
}

/** A program as kernels in order. */
export interface Steps {
  readonly steps: readonly Step[];
  /** Result → the argument (or intermediate) whose memory it overwrites. */
  readonly inPlace: ReadonlyMap<Node, Node>;
  /** Why fusions were refused: reason and count. */
  readonly refused: ReadonlyMap<string, number>;
}

/** Is it a value of the program, not a loop's scratch memory? */
export const isNodeMemory = (memory: Node | Scratch): memory is Node => "op" in memory;
