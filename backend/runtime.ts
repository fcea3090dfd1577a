/** @file What runs programs: a device, as the rest of the project sees it. */
import type { Node } from "../dsl/node.ts";
import type { ProgramReport } from "./compiler/explain/explain.ts";
import type { DType } from "../dsl/tensor.ts";

/** A traced function: results in terms of its parameters (variables). Other leaves are constants and device memory. */
export interface Program {
  /** Variables that a call binds. */
  readonly parameters: readonly Node[];
  /** What a call computes. */
  readonly results: readonly Node[];
}

/** How a program is compiled. */
export interface BuildOptions {
  /** For each parameter: may its memory be written? */
  readonly donated: readonly boolean[];
  /** For each parameter: do its values come from the host with every call? */
  readonly hosted: readonly boolean[];
  /** `off` runs one kernel per primitive. */
  readonly fuse: "on" | "off";
  /** Bytes from which on an intermediate value is computed tile by tile (default: 8 MiB; tests make it small). */
  readonly largeBytes?: number;
  /** Sums add up in an order that does not depend on how many there are of them. */
  readonly steady?: boolean;
  /** Fill intermediate memory with NaN before each run (tests). */
  readonly poison: boolean;
  /** Measure each kernel by the device's timestamps, where it has them (a CPU measures in any case). */
  readonly timed?: boolean;
}

/** A program ready to run. */
export interface Executable {
  /** Runs it; arguments are data or this device's tensors, in the order of the parameters. */
  run(args: readonly Node[]): Promise<Node[]>;
  /** Kernels, fusions, bytes and FLOPs; none on the interpreter, which runs one primitive at a time. */
  report(): ProgramReport;
  /** Forgets what was measured so far (after warming up). */
  restart(): void;
  /** Bytes of intermediate memory. */
  readonly arenaBytes: number;
  /** Kernels run per call. */
  readonly kernels: number;
}

/** Values on their way to or from a device. */
export type DeviceArray = Float32Array | Int32Array | Uint32Array;

/** Where programs run. */
export interface Device extends Disposable {
  /** `interpreter`, `cpu`, or `wgpu:` and the adapter's name. */
  readonly name: string;
  /** A host tensor as this device's memory. */
  put(x: Node): Node;
  /** Uninitialised memory for a tensor, written piece by piece with `write`. */
  allocate(shape: Readonly<Record<string, number>>, dtype: DType): Node;
  /** Writes values into a tensor's memory, from an element on. */
  write(x: Node, values: DeviceArray, start?: number): void;
  /** Values as they are stored, once the device is done with them. @throws Error when a step met an index out of range */
  read(x: Node): Promise<DeviceArray>;
  /** Gives memory back at once (it is also given back when nothing refers to it any more). */
  free(x: Node): void;
  /** Compiles a program. */
  build(program: Program, options: BuildOptions): Executable;
  /** Bytes in use now, and the most there were. */
  memory(): { readonly used: number; readonly peak: number };
}
