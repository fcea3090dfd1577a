/**
 * @file 16-bit stores. Two elements share a u32 word, and no two invocations may write one word: an invocation owns
 * whole words.
 *
 * - A map over elements in the order of the stored tensor takes two of them per invocation (`loop.ts`).
 * - Any other store goes to f32 scratch, and a second dispatch, such a map, packs that (`redirect`).
 * - A store at a run-time place (a cache's next rows) walks the words of the target (`writeHalves`).
 */
import { isHalf } from "../../../../dsl/half.ts";
import type { Capabilities } from "../../../device.ts";
import type {
  Affine,
  ContractKernel,
  GroupedIntoKernel,
  GroupedKernel,
  Instruction,
  LoopKernel,
  Then,
} from "../../kernel.ts";
import { BodyPrinter } from "./body.ts";
import { type Dispatch, indent, product, shader, split } from "./shader.ts";
import { tuningOf } from "./tuning.ts";

type Store = Extract<Instruction, { readonly op: "store" }>;

/** Does the instruction write 16-bit elements? */
export const storesHalves = (instruction: Instruction): instruction is Store =>
  instruction.op === "store" && isHalf(instruction.access.dtype);

/**
 * Along which axis of a product each invocation owns both halves of every word that the loop behind it writes: its
 * columns, its rows, either where nothing is 16 bits wide, or neither.
 */
export function pairsAlong(
  { loop: { body, sizes }, axes }: Then,
  kernel: ContractKernel | GroupedKernel | GroupedIntoKernel,
): "either" | "columns" | "rows" | undefined {
  const stores = body.filter(storesHalves);
  if (stores.length === 0) return "either";
  const along = (pair: number): boolean =>
    sizes[pair] % 2 === 0 &&
    stores.every(({ access: { offset, strides } }) =>
      offset % 2 === 0 && strides.every((stride, axis) => axis === pair ? stride === 1 : stride % 2 === 0)
    );
  if (kernel.n.size > 1 && along(sizes.length - 1)) return "columns";
  // Rows can only be columns of the transposed product.
  return kernel.kind === "contract" && kernel.m.size > 1 && along(axes - 1) ? "rows" : undefined;
}

/** How many slots a loop kernel has. */
export function loopSlots({ body }: LoopKernel): number {
  const slots = body.map((step) => step.op === "load" || step.op === "store" ? step.access.slot : -1);
  return 1 + Math.max(-1, ...slots);
}

/** Is the address the loop's own flat index? */
function isFlat({ offset, strides }: Affine, sizes: readonly number[]): boolean {
  let inner = 1;
  return offset === 0 && sizes.toReversed().every((size, i) => {
    const right = size === 1 || strides[sizes.length - 1 - i] === inner;
    inner *= size;
    return right;
  });
}

/** A loop kernel whose 16-bit stores can be printed, what packs the others, and the scratch between. */
export interface Redirected {
  readonly kernel: LoopKernel;
  readonly packs: readonly LoopKernel[];
  /** Bytes; the first one is the slot behind the kernel's own. */
  readonly scratch: readonly number[];
}

/** Sends 16-bit stores that a pair of elements per invocation does not serve to f32 scratch. */
export function redirect(kernel: LoopKernel): Redirected {
  const { sizes, outer } = kernel, own = loopSlots(kernel);
  const paired = (store: Store): boolean => outer === sizes.length && isFlat(store.access, sizes);
  const targets = new Map<
    number,
    { readonly slot: number; readonly dtype: Store["access"]["dtype"]; extent: number }
  >();
  const body = kernel.body.map((instruction): Instruction => {
    if (!storesHalves(instruction) || paired(instruction)) return instruction;
    const { access } = instruction;
    const target = targets.get(access.slot) ?? { slot: own + targets.size, dtype: access.dtype, extent: 0 };
    targets.set(access.slot, target);
    target.extent = Math.max(target.extent, extentOf(access, sizes));
    return { ...instruction, access: { ...access, slot: target.slot, dtype: "f32" } };
  });
  const all = [...targets];
  return {
    kernel: { ...kernel, body },
    packs: all.map(([to, { slot, dtype, extent }]) => pack(slot, to, dtype, extent)),
    scratch: all.map(([, { extent }]) => 4 * extent),
  };
}

/** Elements from the start of memory to the last one that the access reaches (its strides are not negative). */
function extentOf({ offset, strides }: Affine, sizes: readonly number[]): number {
  return sizes.reduce((end, size, axis) => end + (size - 1) * strides[axis], offset + 1);
}

function pack(from: number, to: number, dtype: Store["access"]["dtype"], count: number): LoopKernel {
  const flat = { offset: 0, strides: [1] };
  return {
    kind: "loop",
    sizes: [count],
    outer: 1,
    lanes: "inner",
    body: [
      { op: "load", type: "f32", access: { slot: from, dtype: "f32", ...flat } },
      { op: "store", type: "f32", access: { slot: to, dtype, ...flat }, a: 0 },
    ],
    stages: [{ level: "outer", registers: [0, 1] }],
  };
}

/**
 * A map with one 16-bit store whose place is chosen at run time: each invocation owns a word of the target and asks
 * which of its two elements are written. Words that none are stay untouched.
 */
export function writeHalves(kernel: LoopKernel, capabilities: Capabilities): Dispatch {
  const { sizes, outer, body } = kernel;
  const at = body.findIndex(storesHalves), store = body[at];
  const { access } = store as Store, { gather } = access;
  if (!gather || outer !== sizes.length || body.filter(({ op }) => op === "store").length !== 1) {
    throw new Error("WGSL: a 16-bit store at a run-time place needs a kernel of its own");
  }
  // The axis along which the place moves; axes of one element may have the same stride.
  const moved = sizes.reduce(
    (best, size, axis) => access.strides[axis] === gather.stride && (best < 0 || size > sizes[best]) ? axis : best,
    -1,
  );
  const room = sizes.map((size, axis) => axis === moved ? size + gather.size - 1 : size);
  const order = sizes.map((_, axis) => axis).sort((a, b) => access.strides[b] - access.strides[a] || room[b] - room[a]);
  const elements = product(room);
  if (moved < 0 || access.offset !== 0 || !isFlat(pickAxes(access, order), order.map((axis) => room[axis]))) {
    throw new Error("WGSL: a 16-bit store at a run-time place needs the whole target in row-major order");
  }
  const names = sizes.map((_, axis) => `i${axis}`), places = sizes.map((_, axis) => `at${axis}`);
  const printer = new BodyPrinter(body, names);
  const start = printer.name(gather.register), lanes = tuningOf(capabilities).workgroup;
  const words = Math.ceil(elements / 2);
  const before = body.flatMap((_, register) => register <= gather.register ? printer.print(register) : []);
  const rest = body.flatMap((_, register) =>
    register > gather.register && register !== at ? printer.print(register) : []
  );
  const value = printer.halfBits(access.dtype, printer.name((store as Store).a));
  return shader({
    bindings: printer.bindings,
    status: true,
    declarations: printer.declarations,
    workgroupSize: lanes,
    groups: Math.ceil(words / lanes),
    body: [
      `let word = group * ${lanes}u + lane;`,
      `if (word >= ${words}u) { return; }`,
      "var mask = 0u;",
      "var bits = 0u;",
      "for (var half = 0u; half < 2u; half++) {",
      ...indent([
        "let element = word * 2u + half;",
        `if (element >= ${elements}u) { break; }`,
        ...split("element", order.map((axis) => room[axis]), order.map((axis) => places[axis])),
        // Rows may have starts of their own; none depends on where along the moved axis an element is.
        ...sizes.flatMap((_, axis) => axis === moved ? [] : [`let ${names[axis]} = ${places[axis]};`]),
        ...before,
        `if (bitcast<u32>(${start}) >= ${gather.size}u) {`,
        `  if (${start} != -1) { outOfRange(); }`,
        "  continue;",
        "}",
        `let ${names[moved]} = ${places[moved]} - ${start};`,
        `if (${names[moved]} >= 0 && ${names[moved]} < ${sizes[moved]}) {`,
        ...indent([...rest, "mask |= 0xffffu << (half * 16u);", `bits |= ${value} << (half * 16u);`]),
        "}",
      ]),
      "}",
      `if (mask != 0u) { b${access.slot}[word] = (b${access.slot}[word] & ~mask) | bits; }`,
    ],
  });
}

const pickAxes = ({ offset, strides }: Affine, order: readonly number[]): Affine => ({
  offset,
  strides: order.map((axis) => strides[axis]),
});
