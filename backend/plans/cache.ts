/**
 * @file Compiled plans in the user's cache: a large program that one process compiled is only looked up by the next.
 * A plan's key is the sha256 of all that determines it; its file is checked against a sha256 of its own and replaced
 * in one piece, so that a torn or altered one is compiled anew. `XFT_PLAN_CACHE=off` does without.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { NodeMap, NodeSet } from "../../dsl/graph/node_map.ts";
import { isOp, type Node, topological } from "../../dsl/node.ts";
import type { Func } from "../../dsl/primitives/call.ts";
import { node } from "../../dsl/build.ts";
import { cacheVariables, userCache } from "../cache.ts";
import type { Plan } from "../compiler/kernel.ts";
import type { CompiledProgram } from "../compiler/emit.ts";
import type { ArgumentSource } from "../compiler/emission/arguments.ts";
import type { PipelineOptions } from "../compiler/pipeline.ts";
import type { Program } from "../runtime.ts";

/** What of a compiled program a device runs. */
export type Runnable = Pick<CompiledProgram, "plan" | "arguments" | "results" | "uploads">;

/** Programs of fewer nodes compile in no time. */
const fewestNodes = 1000;
/** Plans kept, in bytes: the oldest go first. */
const mostBytes = 2 ** 28;

/**
 * Nodes that these need, inputs first, in the order in which they are met: unlike that of making, it is the same for
 * every trace of a program.
 */
function met(roots: readonly Node[]): Node[] {
  const all = topological(roots), open = new NodeSet(all), done = new NodeSet(all), order: Node[] = [];
  const stack = [...roots].reverse();
  while (stack.length > 0) {
    const each = stack[stack.length - 1];
    if (!open.has(each)) {
      open.add(each);
      for (let i = each.inputs.length - 1; i >= 0; i--) if (!open.has(each.inputs[i])) stack.push(each.inputs[i]);
    } else {
      stack.pop();
      if (done.has(each)) continue;
      done.add(each);
      order.push(each);
    }
  }
  return order;
}

/** The same for a program, which is asked for several times. */
function metIn(program: Program): readonly Node[] {
  const known = orders.get(program) ?? met(program.results);
  orders.set(program, known);
  return known;
}
const orders = new WeakMap<Program, readonly Node[]>();

/** The text of a program's structure: equal texts compile to equal plans. */
function structureOf({ parameters, results }: Program, order: readonly Node[]): string {
  const places = new Map(parameters.map((parameter, i) => [parameter, i])), functions = new Map<Func, string>();
  const graph = (order: readonly Node[], roots: readonly Node[], places: ReadonlyMap<Node, number>): string => {
    const numbers = new NodeMap<number>(topological(roots));
    const lines = order.map((each, i) => {
      numbers.set(each, i);
      return `${own(each, places)}|${each.inputs.map((input) => numbers.get(input)).join()}`;
    });
    return [...lines, roots.map((root) => numbers.get(root)).join()].join("\n");
  };
  const type = ({ shape, dtype }: Node): string => `${dtype}${JSON.stringify(shape)}`;
  const own = (each: Node, places: ReadonlyMap<Node, number>): string => {
    if (isOp(each, "variable")) return `parameter ${places.get(each)} ${type(each)}`;
    // Values of leaves are given when the plan runs.
    if (isOp(each, "data") || isOp(each, "buffer")) return `${each.op} ${type(each as unknown as Node)}`;
    if (isOp(each, "call")) return `call ${functionText(each.attributes.func)}`;
    for (const _ in each.attributes) return `${each.op}${JSON.stringify(each.attributes, plain)}`;
    return each.op;
  };
  const functionText = (func: Func): string => {
    const known = functions.get(func);
    if (known !== undefined) return known;
    const inside = new Map(func.parameters.map((parameter, i) => [parameter, i]));
    const text = digest(graph(met([func.result]), [func.result], inside));
    functions.set(func, text);
    return text;
  };
  return `${parameters.map(type).join()}\n${graph(order, results, places)}`;
}

/** JSON cannot tell −0, NaN and infinities apart. */
const plain = (_: string, value: unknown): unknown =>
  typeof value === "number" && (!Number.isFinite(value) || Object.is(value, -0))
    ? (Object.is(value, -0) ? "−0" : String(value))
    : value;

const digest = (text: string): string => createHash("sha256").update(text).digest("hex");

/**
 * What a program's plan is filed under; undefined for programs that are not worth it.
 *
 * @param version of the compiler
 */
export function planKey(
  program: Program,
  { capabilities, donated, hosted, fuse, poison, largeBytes, steady }: PipelineOptions,
  version: string,
): string | undefined {
  const order = metIn(program);
  if (order.length < fewestNodes) return undefined;
  // How much memory there is decides whether a plan is refused, not what it is.
  const settings = { ...capabilities, memoryBytes: 0, donated, hosted, fuse, poison, largeBytes, steady };
  return digest([version, JSON.stringify(settings), structureOf(program, order)].join("\n"));
}

/** A leaf that a plan reads: one of the program's, by its place, or one that the compiler made. */
type FiledLeaf =
  | { readonly at: number }
  | { readonly shape: Node["shape"]; readonly dtype: "i32"; readonly values: readonly number[] };

type FiledArgument =
  | Exclude<ArgumentSource, { kind: "captured" }>
  | { readonly kind: "captured"; readonly leaf: FiledLeaf };

interface Filed {
  readonly plan: Plan;
  readonly arguments: readonly FiledArgument[];
  readonly results: readonly number[];
  readonly uploads: readonly (readonly [position: number, offset: number])[];
}

/** Leaves of a program that are no parameters, in order. */
const leavesIn = (program: Program): Node[] => {
  const given = new Set(program.parameters);
  return metIn(program).filter((each) => each.inputs.length === 0 && !given.has(each));
};

/** The plan filed under a key, for this program; undefined where there is none, or its file is damaged. */
function readPlan(folder: string, key: string, program: Program): Runnable | undefined {
  const path = join(folder, `${key}.json`);
  try {
    const text = Deno.readTextFileSync(path), line = text.indexOf("\n"), body = text.slice(line + 1);
    if (digest(body) !== text.slice(0, line)) return undefined;
    const now = new Date();
    Deno.utimeSync(path, now, now);
    const filed = JSON.parse(body) as Filed, leaves = leavesIn(program);
    return {
      plan: filed.plan,
      arguments: filed.arguments.map((each): ArgumentSource => {
        if (each.kind !== "captured") return each;
        const { leaf } = each;
        if ("at" in leaf) return { kind: "captured", leaf: leaves[leaf.at] };
        const values = Int32Array.from(leaf.values);
        return { kind: "captured", leaf: node("data", [], { shape: leaf.shape, dtype: leaf.dtype, values }) };
      }),
      results: filed.results,
      uploads: new Map(filed.uploads),
    };
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

const isMissing = (error: unknown): boolean =>
  error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied;

/** Files a plan. What cannot be written is not kept, and nobody is the worse for it. */
function writePlan(folder: string, key: string, program: Program, compiled: Runnable): void {
  const places = new Map(leavesIn(program).map((leaf, at) => [leaf, at]));
  // What the compiler adds are counters, whole numbers.
  const files = (each: ArgumentSource): boolean =>
    each.kind !== "captured" || places.has(each.leaf) || (each.leaf.op === "data" && each.leaf.dtype === "i32");
  if (!compiled.arguments.every(files)) return;
  const filed: Filed = {
    plan: compiled.plan,
    arguments: compiled.arguments.map((each): FiledArgument => {
      if (each.kind !== "captured") return each;
      const { leaf } = each, at = places.get(leaf);
      if (at !== undefined) return { kind: "captured", leaf: { at } };
      const { shape, values } = (leaf as Node<"data">).attributes;
      return { kind: "captured", leaf: { shape, dtype: "i32", values: [...values] } };
    }),
    results: compiled.results,
    uploads: [...compiled.uploads],
  };
  const body = JSON.stringify(filed), path = join(folder, `${key}.json`);
  try {
    Deno.mkdirSync(folder, { recursive: true });
    const temporary = Deno.makeTempFileSync({ dir: folder, prefix: "new-" });
    Deno.writeTextFileSync(temporary, `${digest(body)}\n${body}`);
    Deno.renameSync(temporary, path);
    prune(folder, mostBytes);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

/** Removes the plans used longest ago until the folder holds no more than so many bytes. */
export function prune(folder: string, bytes: number): void {
  const files = [...Deno.readDirSync(folder)].filter(({ isFile }) => isFile).map(({ name }) => {
    const path = join(folder, name), { size, mtime } = Deno.statSync(path);
    return { path, size, used: mtime?.getTime() ?? 0 };
  }).sort((a, b) => b.used - a.used);
  let total = 0;
  for (const { path, size } of files) {
    total += size;
    if (total > bytes) Deno.removeSync(path);
  }
}

/** Where plans are kept; undefined where they are not (no permission, no folder, or told to do without). */
function plansFolder(): string | undefined {
  const granted = (descriptor: Deno.PermissionDescriptor): boolean =>
    Deno.permissions.querySync(descriptor).state === "granted";
  const variables = ["XFT_PLAN_CACHE", ...cacheVariables];
  if (!variables.every((variable) => granted({ name: "env", variable }))) return undefined;
  if (Deno.env.get("XFT_PLAN_CACHE") === "off") return undefined;
  try {
    const path = join(userCache(), "plans");
    return granted({ name: "read", path }) && granted({ name: "write", path }) ? path : undefined;
  } catch {
    return undefined;
  }
}

/**
 * A program ready to run: from the folder where it lies there, else compiled, and filed for the next process.
 *
 * @param folder where plans are kept, if they are
 */
export function runnable(
  program: Program,
  options: PipelineOptions,
  compile: () => Runnable,
  folder = plansFolder(),
): Runnable {
  const version = folder === undefined ? undefined : compilerVersion();
  const key = version === undefined ? undefined : planKey(program, options, version);
  if (folder === undefined || key === undefined) return compile();
  const known = readPlan(folder, key, program);
  // The compiler refuses what does not fit, in words.
  if (known && bytesFor(known) + (options.usedBytes ?? 0) <= options.capabilities.memoryBytes) return known;
  const compiled = compile();
  if (!known) writePlan(folder, key, program, compiled);
  return compiled;
}

/** Bytes that a run takes beside what lies on the device already. */
const bytesFor = ({ plan: { arena, upload, arguments: given } }: Runnable): number =>
  given.reduce((sum, { mode, bytes }) => mode === "out" ? sum + bytes : sum, upload + arena.reduce((a, b) => a + b, 0));

let version: string | undefined;

/** sha256 of the sources of language and compiler; undefined where they cannot be read (imported by URL). */
function compilerVersion(): string | undefined {
  return version ??= sourcesDigest();
}

function sourcesDigest(): string | undefined {
  const roots = ["../../dsl/", "../compiler/"].map((folder) => new URL(folder, import.meta.url));
  if (roots.some(({ protocol }) => protocol !== "file:")) return undefined;
  if (roots.some((path) => Deno.permissions.querySync({ name: "read", path }).state !== "granted")) return undefined;
  const hash = createHash("sha256");
  const add = (folder: URL): void => {
    const entries = [...Deno.readDirSync(folder)].sort((a, b) => a.name < b.name ? -1 : 1);
    for (const { name, isDirectory } of entries) {
      if (isDirectory) add(new URL(`${name}/`, folder));
      else if (name.endsWith(".ts") && !name.endsWith("_test.ts")) {
        hash.update(`${name}\n`).update(Deno.readFileSync(new URL(name, folder)));
      }
    }
  };
  roots.forEach(add);
  return hash.digest("hex");
}
