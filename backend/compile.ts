/** @file compile: a function of trees of tensors becomes a program of a device, traced once per set of shapes. */
import { expand, node } from "../dsl/build.ts";
import { type DisplayBundle, displaySymbol } from "../dsl/display/mod.ts";
import { asProgram, isNode, mistake, type Node, withSources } from "../dsl/node.ts";
import { type AnyTensor, type DType, type Kind, nodeOf, type Tensor, tensorOf } from "../dsl/tensor.ts";
import { entriesOf, leavesOf, mapLeaves, refill } from "../dsl/tree.ts";
import { axesOf, showShape } from "../dsl/shape.ts";
import { emptyReport, type ProgramReport, reportOf } from "./compiler/explain/explain.ts";
import { pipeline } from "./compiler/pipeline.ts";
import { pageOf, textOf } from "./compiler/explain/report.ts";
import type { Capabilities } from "./device.ts";
import type { BuildOptions, Device, DeviceArray, Executable, Program } from "./runtime.ts";

/** How a function is compiled. */
export interface CompileOptions {
  /** Arguments (by position) whose memory the results may take; they must not be used afterwards. */
  readonly donate?: readonly number[];
  /** `off` runs one kernel per primitive (default `on`). */
  readonly fuse?: "on" | "off";
  /** Fill intermediate memory with NaN before each run (tests). */
  readonly poison?: boolean;
  /** Note which line of the program made each operation, for `explain`; tracing takes longer. */
  readonly sources?: boolean;
  /** Measure each kernel, where the device can: a GPU then runs them one by one. */
  readonly timed?: boolean;
  /** Bytes from which on scores, logits and their like are computed tile by tile, never whole (default: 8 MiB). */
  readonly largeBytes?: number;
  /**
   * Sums add up in an order that does not depend on how many there are of them: a row of a batch then has the same bits
   * alone and among others (on the CPU).
   */
  readonly steady?: boolean;
}

/** A compiled function: called like the original, it returns tensors on the device. */
export interface Compiled<P extends readonly unknown[], R> {
  (...args: P): Promise<R>;
  /**
   * What it compiles to for arguments of these shapes, in words: kernels, why they were fused or not, FLOPs, bytes,
   * shares of the step (measured where the device measures, once it ran); with `sources` the lines each one computes.
   */
  explain(...args: P): string;
  /** The same as data. `reportPage` makes a page of it. */
  report(...args: P): ProgramReport;
  /** The program for arguments of these shapes. */
  executable(...args: P): Executable;
}

interface Entry {
  readonly executable: Executable;
  readonly result: unknown;
}

const isHosted = (leaf: Node): boolean => leaf.op !== "buffer";

const signature = (entries: readonly (readonly [string, Node])[]): string =>
  entries.map(([path, leaf]) => `${path}:${leaf.dtype}${showShape(leaf.shape)}${isHosted(leaf) ? "h" : "d"}`).join("|");

/**
 * Compiles a pure function of trees of tensors for a device. It is traced and compiled once for each set of shapes.
 *
 * @throws TypeError where the function itself is wrong (axes, kinds), on the first call with such shapes
 * @example
 * ```ts
 * import { add, scalar } from "../dsl/mod.ts";
 * import { compile, number } from "./compile.ts";
 * import { openInterpreter } from "./interpreter.ts";
 * const device = openInterpreter();
 * const next = compile((x: ReturnType<typeof scalar>) => add(x, 1), device);
 * console.assert(await number(await next(scalar(2)), device) === 3);
 * ```
 */
export function compile<P extends readonly unknown[], R>(
  f: (...args: P) => R,
  device: Device,
  options: CompileOptions = {},
): Compiled<P, R> {
  const known = new Map<string, Entry>();
  const donate = options.donate ?? [];
  const enter = (args: P): Entry => {
    const perArgument = args.map((arg) => entriesOf(arg));
    // Anything in the arguments that is no tensor is part of the program.
    const plain = JSON.stringify(args, (_, value) => isNode(value) ? 0 : value);
    const name = `${perArgument.map(signature).join("‖")}‖${plain}`;
    const old = known.get(name);
    if (old) return old;
    const made = options.sources ? withSources(() => trace(args)) : trace(args);
    known.set(name, made);
    return made;
  };
  const trace = (args: P): Entry => {
    const { program, result, ...how } = traced(f, args, donate);
    const executable = device.build(program, {
      ...how,
      fuse: options.fuse ?? "on",
      poison: options.poison ?? false,
      timed: options.timed ?? false,
      largeBytes: options.largeBytes,
      steady: options.steady,
    });
    return { executable, result };
  };
  const call = async (...args: P): Promise<R> => {
    const { executable, result } = enter(args);
    return refill(result as R, await executable.run(leavesOf(args, undefined)));
  };
  return Object.assign(call, {
    explain: (...args: P): string => textOf(enter(args).executable.report()),
    report: (...args: P): ProgramReport => enter(args).executable.report(),
    // In a notebook: the kernels of what was compiled last.
    [displaySymbol](): DisplayBundle {
      const last = [...known.values()].at(-1)?.executable.report() ?? emptyReport;
      return { "text/html": pageOf(last), "text/plain": textOf(last) };
    },
    executable: (...args: P): Executable => enter(args).executable,
  });
}

/**
 * A function as a program of variables, one for each leaf of its arguments.
 *
 * @param donate arguments (by position) whose memory the results may take
 */
export function traced<P extends readonly unknown[], R>(
  f: (...args: P) => R,
  args: P,
  donate: readonly number[],
): { readonly program: Program; readonly result: R } & Pick<BuildOptions, "donated" | "hosted"> {
  return asProgram(() => tracedProgram(f, args, donate));
}

function tracedProgram<P extends readonly unknown[], R>(
  f: (...args: P) => R,
  args: P,
  donate: readonly number[],
): ReturnType<typeof traced<P, R>> {
  const parameters: Node[] = [], donated: boolean[] = [], hosted: boolean[] = [];
  const variables = args.map((arg, position) =>
    mapLeaves((leaf) => {
      const parameter = node("variable", [], { shape: leaf.shape, dtype: leaf.dtype, name: `argument ${position}` });
      parameters.push(parameter);
      donated.push(donate.includes(position));
      hosted.push(isHosted(leaf));
      return parameter;
    }, arg)
  ) as unknown as P;
  for (const position of donate) leavesOf(args[position], "donate");
  const result = f(...variables);
  return { program: { parameters, results: leavesOf(result, undefined) }, result, donated, hosted };
}

/** Memory that is only planned: a tensor for `foresee`. */
export const planned = <A extends string>(
  shape: { readonly [N in A]: number },
  dtype: DType = "f32",
): Tensor<A, Kind> => tensorOf(node("buffer", [], { shape, dtype, memory: {} }));

/**
 * What a function would compile to on a device that can do this, lines of source included. Nothing is allocated and
 * nothing runs: arguments are `planned` memory, or data.
 *
 * @param donate arguments (by position) whose memory the results may take
 */
export function foresee<P extends readonly unknown[]>(
  f: (...args: P) => unknown,
  args: P,
  capabilities: Capabilities,
  donate: readonly number[] = [],
): ProgramReport {
  return withSources(() => {
    const { program, donated, hosted } = traced(f, args, donate);
    return reportOf(pipeline(program, { donated, hosted, capabilities, fuse: "on", poison: false }));
  });
}

/** The same tree in the device's memory. @throws TypeError when one tensor stands in it twice */
export function put<P>(tree: P, device: Device): P {
  leavesOf(tree, "put");
  return mapLeaves((leaf) => device.put(leaf), tree) as P;
}

/** Gives back the memory of every leaf of a tree. */
export function free(tree: unknown, device: Device): void {
  for (const leaf of leavesOf(tree, undefined)) device.free(leaf);
}

/** Values of a device's tensor, row-major in the order of axes named (as stored if none is). */
export async function values<A extends string>(
  x: Tensor<A, Kind>,
  device: Device,
  ...order: A[]
): Promise<DeviceArray> {
  const stored = nodeOf(x), data = await device.read(stored);
  if (order.length === 0 || order.every((axis, i) => axis === axesOf(stored.shape)[i])) return data;
  if (order.length !== axesOf(stored.shape).length) {
    mistake("values", `${order.join(" ")} are not all axes of ${showShape(stored.shape)}`);
  }
  const shape = Object.fromEntries(order.map((axis) => [axis, (stored.shape as Record<string, number>)[axis]]));
  const host = node("data", [], { shape: stored.shape, dtype: stored.dtype, values: data });
  const permuted = expand(host, shape);
  return reorder(permuted, data);
}

/** The permutation that `expand` stands for, of host values. */
function reorder(permuted: Node, data: DeviceArray): DeviceArray {
  const from = permuted.inputs[0].shape, names = axesOf(permuted.shape), strides: Record<string, number> = {};
  axesOf(from).reduceRight((stride, axis) => (strides[axis] = stride, stride * from[axis]), 1);
  const out = data.slice(), index = names.map(() => 0);
  for (let i = 0, at = 0; i < out.length; i++) {
    out[i] = data[at];
    for (let axis = names.length - 1; axis >= 0; axis--) {
      at += strides[names[axis]];
      if (++index[axis] < permuted.shape[names[axis]]) break;
      at -= strides[names[axis]] * index[axis];
      index[axis] = 0;
    }
  }
  return out;
}

/** The value of a device's tensor without axes. */
export const number = async (x: AnyTensor, device: Device): Promise<number> => (await device.read(nodeOf(x)))[0];
