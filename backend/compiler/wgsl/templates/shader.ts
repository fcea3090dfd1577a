/**
 * @file What the WGSL templates share: assembling a shader from its parts, literals, folding of workgroups.
 *
 * Conventions of all shaders: bindings are numbered in the order of the dispatch's slots; the status word, if bound,
 * comes last. `group` is the flat number of the workgroup, `lane` the invocation's number in it.
 */
import type { Affine, StorageType, WgslKernel } from "../../kernel.ts";

/** One compute shader and which slots of its kernel it binds, in binding order. */
export interface Dispatch {
  readonly kernel: WgslKernel;
  /** Slots of the kernel; numbers from the kernel's own count on mean scratch buffers. */
  readonly slots: readonly number[];
}

/** What one kernel becomes on a GPU: dispatches in order, and the scratch they share. */
export interface Emitted {
  readonly dispatches: readonly Dispatch[];
  /** Bytes of each scratch buffer. Slot `slots of the kernel + i` means `scratch[i]`; contents need not be kept. */
  readonly scratch: readonly number[];
}

/** The element types that WGSL arrays have here. */
export type ElementType = "f32" | "i32" | "u32" | "vec4<f32>" | "vec2<u32>" | "f16" | "vec4<f16>";

/** One storage buffer of a shader. */
export interface Binding {
  readonly slot: number;
  /** Name in the shader. */
  readonly name: string;
  readonly type: ElementType;
}

/** Parts of a shader; `shader` puts them together. */
export interface ShaderParts {
  readonly bindings: readonly Binding[];
  /** Does the body call `outOfRange()`? */
  readonly status?: boolean;
  /** Extensions of the language. */
  readonly extensions?: readonly string[];
  /** Does the body see `subgroup` and `subgroups` (u32): the number of this one, and how many the workgroup has? */
  readonly subgroups?: boolean;
  /** Module-scope declarations: functions, workgroup variables. */
  readonly declarations?: readonly string[];
  readonly workgroupSize: number;
  /** How many workgroups, all dimensions together. */
  readonly groups: number;
  /** Statements of `main`. Sees `group: u32` and `lane: u32`. */
  readonly body: readonly string[];
}

/** Vulkan's and WebGPU's common limit of workgroups in one dimension. */
const MAX_GROUPS = 65535;

/** Spreads a number of workgroups over three dimensions; there may be a few more of them than asked for. */
function fold(groups: number): [number, number, number] {
  const rows = Math.ceil(groups / MAX_GROUPS);
  if (rows <= 1) return [groups, 1, 1];
  const x = Math.ceil(groups / rows);
  const layers = Math.ceil(rows / MAX_GROUPS);
  return [x, Math.ceil(rows / layers), layers];
}

/**
 * Assembles a shader. Surplus workgroups of a folded grid leave at once.
 * `outOfRange()` sets the status word's top bit: the device knows the step's number, the shader does not.
 */
export function shader(parts: ShaderParts): Dispatch {
  const workgroups = fold(parts.groups);
  const [x, y, z] = workgroups;
  const flat = ["id.x", ...(y > 1 ? [`id.y * ${x}u`] : []), ...(z > 1 ? [`id.z * ${x * y}u`] : [])].join(" + ");
  const inputs = [
    "@builtin(workgroup_id) id: vec3<u32>",
    "@builtin(local_invocation_index) lane: u32",
    ...(parts.subgroups ? ["@builtin(subgroup_id) subgroup: u32", "@builtin(num_subgroups) subgroups: u32"] : []),
  ];
  const code = [
    ...(parts.extensions ?? []).map((name) => `enable ${name};`),
    ...parts.bindings.map(({ name, type }, at) =>
      `@group(0) @binding(${at}) var<storage, read_write> ${name}: array<${type}>;`
    ),
    ...(parts.status
      ? [
        `@group(0) @binding(${parts.bindings.length}) var<storage, read_write> status: atomic<u32>;`,
        "fn outOfRange() { atomicOr(&status, 0x80000000u); }",
      ]
      : []),
    ...(parts.declarations ?? []),
    `@compute @workgroup_size(${parts.workgroupSize})`,
    `fn main(${inputs.join(", ")}) {`,
    ...indent([
      `let group = ${flat};`,
      ...(x * y * z > parts.groups ? [`if (group >= ${parts.groups}u) { return; }`] : []),
      ...parts.body,
    ]),
    "}",
    "",
  ].join("\n");
  return {
    kernel: { kind: "wgsl", code, workgroups, status: parts.status ?? false },
    slots: parts.bindings.map(({ slot }) => slot),
  };
}

/** Indents statements by two columns. */
export function indent(lines: readonly string[]): string[] {
  return lines.flatMap((line) => line.split("\n")).map((line) => `  ${line}`);
}

/** WGSL element type that holds a storage type. */
export function elementType(dtype: StorageType): ElementType {
  return dtype === "f32" || dtype === "i32" ? dtype : "u32";
}

/** `offset + Σ strides[axis] · names[axis]` as an i32 expression. */
export function affine(address: Affine, names: readonly string[]): string {
  return sum(address.offset, address.strides.map((stride, axis) => [stride, names[axis]] as const));
}

/** `offset + Σ stride · name` as an i32 expression; zero terms are left out. */
export function sum(offset: number, terms: readonly (readonly [stride: number, name: string])[]): string {
  const texts = terms.filter(([stride]) => stride !== 0).map(([stride, name]) =>
    stride === 1 ? name : `${name} * ${integer(stride)}`
  );
  if (offset !== 0 || texts.length === 0) texts.push(integer(offset));
  return texts.join(" + ");
}

/** `i32` expression for a stride times an index. */
export function times(index: string, stride: number): string {
  return sum(0, [[stride, `(${index})`]]);
}

/** An i32 literal. */
export function integer(value: number): string {
  if (!Number.isSafeInteger(value) || value < -(2 ** 31) || value >= 2 ** 31) {
    throw new RangeError(`WGSL: ${value} does not fit into 32 bits`);
  }
  return value < 0 ? `(${value})` : `${value}`;
}

/**
 * Statements that split the flat row-major index `flat` (u32) into i32 indices `names`, one per axis.
 * The first axis needs no remainder: the caller keeps `flat` within the product of sizes.
 */
export function split(flat: string, sizes: readonly number[], names: readonly string[]): string[] {
  const lines: string[] = [];
  let inner = 1;
  for (let axis = sizes.length - 1; axis >= 0; axis--) {
    const divided = inner === 1 ? flat : `${flat} / ${inner}u`;
    lines.push(
      axis === 0
        ? `let ${names[axis]} = i32(${divided});`
        : `let ${names[axis]} = i32((${divided}) % ${Math.max(sizes[axis], 1)}u);`,
    );
    inner *= Math.max(sizes[axis], 1);
  }
  return lines.reverse();
}

/** The product of sizes. */
export function product(sizes: readonly number[]): number {
  return sizes.reduce((all, size) => all * size, 1);
}

/**
 * Drops axes of size 1 and joins neighbours that every listed stride walks as one axis.
 *
 * @example
 * ```ts
 * import { joinAxes } from "./shader.ts";
 * joinAxes([{ size: 2, a: 12 }, { size: 3, a: 4 }], ["a"]); // [{ size: 6, a: 4 }]
 * ```
 */
export function joinAxes<Key extends string>(
  axes: readonly Readonly<Record<Key | "size", number>>[],
  keys: readonly Key[],
): Record<Key | "size", number>[] {
  const joined: Record<Key | "size", number>[] = [];
  for (const axis of axes) {
    if (axis.size === 1) continue;
    const before = joined.at(-1);
    if (before && keys.every((key) => before[key] === axis[key] * axis.size)) {
      joined[joined.length - 1] = { ...axis, size: before.size * axis.size };
    } else joined.push({ ...axis });
  }
  return joined;
}
