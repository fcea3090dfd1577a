/** @file Instructions of a loop kernel in the making: equal ones are one, and slots get their numbers when they are met. */
import { type BinaryOp, type Builder, type RegisterType, registerType, type UnaryOp } from "../../../dsl/primitive.ts";
import type { Node } from "../../../dsl/node.ts";
import type { Affine, Guard, Instruction, StorageType } from "../kernel.ts";
import { address, identity, type Index, type IndexMap } from "../views.ts";
import { knownExponential } from "./exponentials.ts";

/** A condition on the loop's indices under which a value is needed. */
export interface Bound {
  readonly index: Index;
  readonly size: number;
}

/** Rows of a table that a register names. */
export interface Gather {
  readonly register: number;
  readonly stride: number;
  readonly size: number;
}

/** A kernel in the making. What is written gives its register. */
export interface Writer {
  readonly body: readonly Instruction[];
  /** The node behind each slot. */
  readonly slots: readonly Node[];
  /** Scalar instructions, for primitives. */
  readonly build: Builder;
  readonly counter: (index: Index) => number;
  /** A node's element at an index; 0 outside of the bounds. */
  readonly load: (node: Node, map: IndexMap, bounds: readonly Bound[], gather?: Gather) => number;
  /** Stores a node's element at the loop's own index. */
  readonly store: (node: Node, register: number) => void;
}

const bits = new DataView(new ArrayBuffer(4));
const bitsOf = (value: number, type: RegisterType): number => {
  if (type === "f32") bits.setFloat32(0, value);
  else bits.setInt32(0, value);
  return bits.getUint32(0);
};

/**
 * An empty kernel over these axes, slowest first.
 *
 * @param scales may an exponential be computed from another one? What is computed then depends on what else is in the kernel
 */
export function writerOver(axes: readonly string[], scales: boolean = true): Writer {
  const body: Instruction[] = [], slots: Node[] = [], known = new Map<string, number>();
  const emit = (instruction: Instruction): number => {
    const key = nameOf(instruction), old = known.get(key);
    if (old !== undefined) return old;
    known.set(key, body.length);
    return body.push(instruction) - 1;
  };
  const affine = ({ offset, terms }: Index): Affine => ({ offset, strides: axes.map((axis) => terms[axis] ?? 0) });
  const slotOf = (node: Node): number => slots.includes(node) ? slots.indexOf(node) : slots.push(node) - 1;
  const typeOf = (register: number): RegisterType => body[register].type;
  const access = (node: Node, map: IndexMap) => ({
    slot: slotOf(node),
    dtype: node.dtype as StorageType,
    ...affine(address(node, map)),
  });
  const build: Builder = {
    unary: (op: UnaryOp, a) => {
      const known = scales && op === "exp" ? knownExponential(body, build, a) : undefined;
      return known ?? emit({ op, type: typeOf(a), a });
    },
    binary: (op: BinaryOp, a, b) => emit({ op, type: op === "less" || op === "equal" ? "bool" : typeOf(a), a, b }),
    select: (c, a, b) => emit({ op: "select", type: typeOf(a), c, a, b }),
    constant: (value, type) => emit({ op: "const", type, bits: bitsOf(value, type) }),
    cast: (a, type) => typeOf(a) === type ? a : emit({ op: "cast", type, a }),
    reduce: (by, a) => emit({ op: "reduce", type: typeOf(a), by, a }),
  };
  return {
    body,
    slots,
    build,
    counter: (index) => emit({ op: "index", type: "i32", index: affine(index) }),
    load: (node, map, bounds, gather) => {
      const guards = bounds.map(({ index, size }): Guard => ({ ...affine(index), size }));
      return emit({
        op: "load",
        type: registerType(node.dtype),
        access: { ...access(node, map), ...(guards.length > 0 && { guards }), ...(gather && { gather }) },
      });
    },
    store: (node, register) =>
      void emit({ op: "store", type: typeOf(register), access: access(node, identity(node.shape)), a: register }),
  };
}

/** An instruction as text: equal texts are equal instructions. */
function nameOf(instruction: Instruction): string {
  const { op, type } = instruction;
  if ("access" in instruction || "index" in instruction) return JSON.stringify(instruction);
  if ("bits" in instruction) return `${op} ${type} ${instruction.bits}`;
  if ("by" in instruction) return `${op} ${type} ${instruction.by} ${instruction.a}`;
  if ("c" in instruction) return `${op} ${type} ${instruction.c} ${instruction.a} ${instruction.b}`;
  return "b" in instruction ? `${op} ${type} ${instruction.a} ${instruction.b}` : `${op} ${type} ${instruction.a}`;
}
