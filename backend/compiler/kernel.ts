/**
 * @file Kernel IR: what the compiler hands to a device. Plain JSON data; the Rust library reads the same
 * records (`backend/native/src/plan.rs`), `wgsl.ts` prints them for GPUs.
 */
import type { BinaryOp, RegisterType, UnaryOp } from "../../dsl/primitive.ts";

export type { RegisterType } from "../../dsl/primitive.ts";

/** Type of an element in memory. A bool takes a whole u32 word. */
export type StorageType = "f32" | "f16" | "bf16" | "i32" | "u32" | "bool";

/** `offset + Σ strides[axis] · index[axis]`, one stride per loop axis, in elements. */
export interface Affine {
  readonly offset: number;
  readonly strides: readonly number[];
}

/** An affine expression that must lie in [0, size); outside of it a load gives 0. */
export interface Guard extends Affine {
  readonly size: number;
}

/** Where an element lies: an affine address in one of the step's buffers, plus a run-time index. */
export interface Access extends Affine {
  /** Which of the step's buffers. */
  readonly slot: number;
  readonly dtype: StorageType;
  readonly guards?: readonly Guard[];
  /**
   * Adds `stride · value of an i32 register`. −1 means nothing: a load gives 0, a store is dropped, no error.
   * Any other value outside [0, size) does the same and sets the device's status word to the step's number + 1.
   */
  readonly gather?: { readonly register: number; readonly stride: number; readonly size: number };
}

/** Scalar instructions with one operand. */
export type UnaryInstruction = UnaryOp;
/** Scalar instructions with two operands. */
export type BinaryInstruction = BinaryOp;
export type ReduceInstruction = "sum" | "max" | "min";

/**
 * One SSA instruction; its place in the body is the number of its register.
 * `type` is the result's type; operands of binary instructions have one common type (that of `a`).
 * f32: IEEE on the CPU (max and min pass NaN on, less and equal are false on NaN). i32, u32: wrap around;
 * `shl`, `shr` (logical), `xor` are for u32 and i32. `and or not` on bool are logical, on integers bitwise.
 */
export type Instruction =
  | { readonly op: "load"; readonly type: RegisterType; readonly access: Access }
  | { readonly op: "index"; readonly type: "i32"; readonly index: Affine }
  /** `bits`: the value's 32 bits as an unsigned number (so that NaN, −0 and infinities survive JSON). */
  | { readonly op: "const"; readonly type: RegisterType; readonly bits: number }
  | { readonly op: UnaryInstruction; readonly type: RegisterType; readonly a: number }
  | { readonly op: BinaryInstruction; readonly type: RegisterType; readonly a: number; readonly b: number }
  /** `a` where the bool `c` is true, else `b`. */
  | { readonly op: "select"; readonly type: RegisterType; readonly c: number; readonly a: number; readonly b: number }
  /** f32 → integers truncates and saturates, NaN gives 0; to bool: ≠ 0; bool gives 0 or 1; i32 ↔ u32 keeps bits. */
  | { readonly op: "cast"; readonly type: RegisterType; readonly a: number }
  /** Over all inner indices. The result is the same for all of them. sum of i32/u32 wraps around. */
  | { readonly op: "reduce"; readonly type: RegisterType; readonly by: ReduceInstruction; readonly a: number }
  | { readonly op: "store"; readonly type: RegisterType; readonly access: Access; readonly a: number };

/** Registers that an instruction reads. */
export const operandsOf = (instruction: Instruction): number[] => {
  const { op } = instruction;
  if (op === "load") return instruction.access.gather ? [instruction.access.gather.register] : [];
  if (op === "index" || op === "const") return [];
  if (op === "select") return [instruction.c, instruction.a, instruction.b];
  if (op === "store") {
    return [instruction.a, ...(instruction.access.gather ? [instruction.access.gather.register] : [])];
  }
  return "b" in instruction ? [instruction.a, instruction.b] : [instruction.a];
};

/**
 * Registers to compute, in this order. An `inner` stage runs once per inner index (inside a loop over them),
 * an `outer` stage once per outer index. Registers of outer stages and of `reduce` live until the row's end;
 * a register of an inner stage is computed again by each inner stage that lists it. Only inner stages hold reduces.
 */
export interface Stage {
  readonly level: "outer" | "inner";
  readonly registers: readonly number[];
}

/**
 * Elementwise work, with reductions over the inner axes ("map" has none: outer = sizes.length, one outer stage).
 * Axes are row-major: the last one runs fastest. Every output element is written exactly once.
 */
export interface LoopKernel {
  readonly kind: "loop";
  readonly sizes: readonly number[];
  /** The first `outer` axes are outer, the rest inner. */
  readonly outer: number;
  /** What neighbouring lanes of a vector should be: inner indices of one row, or neighbouring rows. */
  readonly lanes: "inner" | "outer";
  readonly body: readonly Instruction[];
  readonly stages: readonly Stage[];
}

/** One axis of a contraction and its stride in each operand that has it (0: the operand lacks it). */
export interface BatchAxis {
  readonly size: number;
  readonly a: number;
  readonly b: number;
  readonly c: number;
}
export interface RowAxis {
  readonly size: number;
  readonly a: number;
  readonly c: number;
}
export interface ColumnAxis {
  readonly size: number;
  readonly b: number;
  readonly c: number;
}
export interface DepthAxis {
  readonly size: number;
  readonly a: number;
  readonly b: number;
}

/** How the operands of a product are stored, where not as f32; it is computed in f32. */
export interface OperandTypes {
  readonly a?: "f16" | "bf16";
  readonly b?: "f16" | "bf16";
}

/**
 * A loop that works on each row of a product (a value of its batch and m axes, or a position) as soon as it is there:
 * on the CPU. On a GPU it works on each element: it has no inner axes, its outer ones are those of the product (batch or
 * group, m or positions, n), each perhaps in parts, and it reads the product at its own element only. Its slots follow
 * the product's factors, in the place of the product's own.
 */
export interface Then {
  readonly loop: LoopKernel;
  /** How many of the loop's first axes are the product's rows, in the product's order. */
  readonly axes: number;
  /** Which of the loop's slots is the product: it is read in its own row only. */
  readonly slot: number;
  /** Is the product in memory? Otherwise its slot is the loop's last, has no buffer, and rows lie one after the other. */
  readonly stored: boolean;
}

/**
 * A loop behind a stored product that sums over one of its axes (GPUs only): tiles add up what they hold of a row or a
 * column, and nobody reads the product for it. It has one stage of reductions, which reads the product at its own
 * element. Its slots other than the product follow the product's own, after those of sums before it.
 */
export interface Sums {
  readonly loop: LoopKernel;
  /** Which of the loop's slots is the product. */
  readonly slot: number;
  /** The loop's axes in the order of the product's (batch or group, m, n); those of one element may be left out. */
  readonly axes: readonly number[];
  /** The product's axis that is summed over. */
  readonly over: "m" | "n";
}

/** c[batch, m, n] = Σ_k a[batch, m, k] · b[batch, k, n], f32. Slots: a, b, c. k has at least one axis; the last is innermost. */
export interface ContractKernel {
  readonly kind: "contract";
  readonly batch: readonly BatchAxis[];
  readonly m: RowAxis;
  readonly n: ColumnAxis;
  readonly k: readonly DepthAxis[];
  readonly offsets: { readonly a: number; readonly b: number; readonly c: number };
  /** Adds to what is in c (the CPU device only). */
  readonly accumulate?: true;
  readonly types?: OperandTypes;
  readonly then?: Then;
  readonly sums?: readonly Sums[];
}

/**
 * Stable counting sort of the i32 index vector of `positions` elements into groups 0 … groups − 1.
 * Slots: index, out (i32, positions + groups + 1 elements): first the positions in group order (those whose index
 * is −1 or out of range come last; out of range sets the status word), then groups + 1 offsets into them.
 */
export interface OrderKernel {
  readonly kind: "order";
  readonly groups: number;
  readonly positions: number;
}

/**
 * c[p, n] = Σ_k a[p, k] · b[index[p], k, n] for every position p; positions without a group give 0.
 * Slots: a, b, order (as `OrderKernel` writes it), c. Position axes are those of the index, row-major.
 */
export interface GroupedKernel {
  readonly kind: "grouped";
  readonly groups: number;
  readonly positions: readonly RowAxis[];
  readonly k: DepthAxis;
  readonly n: ColumnAxis;
  /** Stride of the group in b. */
  readonly group: number;
  readonly offsets: { readonly a: number; readonly b: number; readonly c: number };
  readonly types?: OperandTypes;
  readonly then?: Then;
}

/**
 * c[g, m, n] = Σ_{p: index[p] = g} a[p, m] · b[p, n]; a group without positions gives 0.
 * Slots: a, b, order, c.
 */
export interface GroupedIntoKernel {
  readonly kind: "groupedInto";
  readonly groups: number;
  readonly positions: readonly { readonly size: number; readonly a: number; readonly b: number }[];
  readonly m: RowAxis;
  readonly n: ColumnAxis;
  /** Stride of the group in c. */
  readonly group: number;
  readonly offsets: { readonly a: number; readonly b: number; readonly c: number };
  readonly types?: OperandTypes;
  /** On GPUs only. */
  readonly then?: Then;
  readonly sums?: readonly Sums[];
}

/**
 * c[v, n] = Σ_{p: index[p] = v} b[p, n] in the order of p, for many groups v (an embedding's gradient).
 * Slots: b, index (i32, row-major over positions), c. Rows that nothing points to are 0.
 */
export interface ScatterKernel {
  readonly kind: "scatter";
  readonly groups: number;
  readonly positions: readonly { readonly size: number; readonly b: number }[];
  readonly columns: readonly ColumnAxis[];
  readonly group: number;
  readonly offsets: { readonly b: number; readonly c: number };
}

/** Indices (i32) of the k largest of `axis`, largest first; ties: lowest index; NaN last. Slots: a, c. */
export interface TopkKernel {
  readonly kind: "topk";
  readonly rows: readonly RowAxis[];
  readonly axis: { readonly size: number; readonly a: number };
  readonly slots: { readonly size: number; readonly c: number };
  readonly offsets: { readonly a: number; readonly c: number };
}

/** Copies `words` 32-bit words. Slots: from, to. */
export interface CopyKernel {
  readonly kind: "copy";
  readonly words: number;
}

/** A compute shader, as `wgsl.ts` makes it from any of the kernels above. Entry point `main`, group 0. */
export interface WgslKernel {
  readonly kind: "wgsl";
  readonly code: string;
  readonly workgroups: readonly [number, number, number];
  /** Is the device's status word bound after the last buffer? */
  readonly status: boolean;
  /** Scalar operations of the dispatch, roughly: submissions are cut by it. */
  readonly work?: number;
}

export type Kernel =
  | LoopKernel
  | ContractKernel
  | OrderKernel
  | GroupedKernel
  | GroupedIntoKernel
  | ScatterKernel
  | TopkKernel
  | CopyKernel;

/** Where a buffer of the plan lies. `bytes` is its length; GPUs need offsets that are multiples of 256. */
export type PlanBuffer =
  /** One of the run's arguments, or a part of it. */
  | { readonly at: "argument"; readonly index: number; readonly offset?: number; readonly bytes: number }
  | { readonly at: "arena"; readonly chunk: number; readonly offset: number; readonly bytes: number }
  /** In the bytes that come with the call (token ids, seeds, rates). */
  | { readonly at: "upload"; readonly offset: number; readonly bytes: number };

/** One step: kernel number, and the plan buffer behind each of its slots. */
export interface PlanStep {
  readonly kernel: number;
  readonly buffers: readonly number[];
}

/** A whole step function, validated by the device before it first runs. */
export interface Plan {
  readonly version: 1;
  /** Bytes of each arena chunk. */
  readonly arena: readonly number[];
  readonly upload: number;
  /** "out": a handle of 0 is replaced by that of a new buffer of `bytes`. */
  readonly arguments: readonly { readonly bytes: number; readonly mode: "in" | "out" }[];
  readonly buffers: readonly PlanBuffer[];
  readonly kernels: readonly (Kernel | WgslKernel)[];
  readonly steps: readonly PlanStep[];
  /** Fill the arena with NaN before each run (tests). */
  readonly poison?: boolean;
  /** Measure each step where the device can, even if the whole run gets slower by it. */
  readonly timed?: boolean;
}
