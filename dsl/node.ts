/**
 * @file The expression graph: immutable nodes, each existing once (hash-consing), so that an expression written
 * twice is computed once.
 */
import type { Attributes } from "./primitives/mod.ts";
import type { DType } from "./tensor.ts";
import { type Shape, showShape } from "./shape.ts";
import { sharedState } from "./shared.ts";

/**
 * What is written into a data leaf.
 *
 * @internal
 */
export type HostArray = Float64Array | Float32Array | Int32Array | Uint32Array;

/** No attributes. */
export type NoAttributes = Readonly<Record<never, never>>;

export type { Attributes };

/** Every primitive's name. */
export type Op = keyof Attributes;

/**
 * One primitive applied to inputs.
 *
 * @internal
 */
export interface Node<O extends Op = Op> {
  readonly id: number;
  readonly op: O;
  readonly attributes: Attributes[O];
  readonly inputs: readonly Node[];
  readonly shape: Shape;
  readonly dtype: DType;
}

/** Is this node an application of `op`? Narrows its attributes. */
export const isOp = <O extends Op>(node: Node, op: O): node is Node<O> => node.op === op;

interface Interned {
  nextId: number;
  /** Walks over graphs so far. */
  walks: number;
  readonly table: Map<string, WeakRef<Node>>;
  readonly registry: FinalizationRegistry<string>;
  /** What the program that is being traced made and the table holds weakly: none of it is made twice. */
  kept: Node[] | undefined;
  /** Where this library was loaded from: once, or several times. */
  readonly roots: Set<string>;
  /** The line that made a node, while `withSources` runs. */
  readonly sources: WeakMap<Node, string>;
  recording: boolean;
  origin: string | null | undefined;
}

const shared: Interned = sharedState(() => {
  const table = new Map<string, WeakRef<Node>>();
  const registry = new FinalizationRegistry<string>((name) => {
    if (!table.get(name)?.deref()) table.delete(name);
  });
  return {
    nextId: 0,
    walks: 0,
    table,
    registry,
    kept: undefined,
    roots: new Set<string>(),
    sources: new WeakMap(),
    recording: false,
    origin: undefined,
  };
});
shared.roots.add(new URL("../", import.meta.url).href);

/** Each of these nodes is one of its own, whatever it is made of. */
const identities = new Set<Op>(["data", "variable", "buffer", "call", "window", "tiled"]);

/** Leaves that may outlive many programs. */
const lasting = new Set<Op>(["constant", "iota", "data", "buffer"]);

const users = Symbol.for("xft/dsl/users");
const walked = Symbol.for("xft/dsl/walked");

/** So many users of one node are looked through one by one; where there are more, a table knows them by name. */
const few = 24;

class Made<O extends Op> implements Node<O> {
  /**
   * Nodes whose newest input this is. They live as long as it does, which keeps nothing for long: the newest input of
   * what a program makes is the program's own, or one of the `lasting` leaves, whose users are held weakly.
   */
  [users]: Node[] | Map<string, Node> | undefined = undefined;
  /** The last walk that came by. */
  [walked]: number = 0;

  constructor(
    readonly id: number,
    readonly op: O,
    readonly attributes: Attributes[O],
    readonly inputs: readonly Node[],
    readonly shape: Shape,
    readonly dtype: DType,
  ) {}
}

/** What all nodes have in common besides their data: how they show themselves is added to it. */
export const nodePrototype: object = Made.prototype;

/** The node with these parts: the existing one if there is one. `type` is computed by the caller's record. */
export function intern<O extends Op>(
  op: O,
  attributes: Attributes[O],
  inputs: readonly Node[],
  type: () => { readonly shape: Shape; readonly dtype: DType },
): Node<O> {
  const make = (): Node<O> => {
    const { shape, dtype } = type();
    return new Made(shared.nextId++, op, attributes, inputs, shape, dtype);
  };
  if (identities.has(op)) return noted(make());
  let newest: Node | undefined = inputs[0];
  for (let i = 1; i < inputs.length; i++) if (inputs[i].id > newest.id) newest = inputs[i];
  if (!newest || lasting.has(newest.op)) {
    const name = nameOf(op, attributes, inputs), known = shared.table.get(name)?.deref();
    if (known) return noted(known as Node<O>);
    const made = make();
    shared.table.set(name, new WeakRef<Node>(made));
    shared.kept?.push(made);
    shared.registry.register(made, name);
    return noted(made);
  }
  const home = newest as Made<Op>, known = home[users];
  if (known instanceof Map) {
    const name = nameOf(op, attributes, inputs), old = known.get(name);
    if (old) return noted(old as Node<O>);
    const made = make();
    known.set(name, made);
    return noted(made);
  }
  if (!known) {
    const made = make();
    home[users] = [made];
    return noted(made);
  }
  for (let i = 0; i < known.length; i++) {
    const each = known[i];
    if (each.op === op && sameInputs(each.inputs, inputs) && sameAttributes(each.attributes, attributes)) {
      return noted(each as Node<O>);
    }
  }
  const made = make();
  known.push(made);
  if (known.length > few) {
    home[users] = new Map(known.map((each) => [nameOf(each.op, each.attributes, each.inputs), each]));
  }
  return noted(made);
}

/**
 * Traces a program whose constants, and what is made of them alone, are its own: where they stand in the order of making
 * then depends neither on the programs before nor on when memory was collected, so that equal programs have equal plans.
 */
export function asProgram<T>(trace: () => T): T {
  if (shared.kept) return trace();
  shared.table.clear();
  shared.kept = [];
  try {
    return trace();
  } finally {
    shared.kept = undefined;
  }
}

/** JSON cannot tell −0, NaN and infinities apart, but programs can. */
const plain = (_: string, value: unknown): unknown =>
  typeof value === "number" && (!Number.isFinite(value) || Object.is(value, -0))
    ? (Object.is(value, -0) ? "−0" : String(value))
    : value;

/** What a node is made of, as text: equal texts are equal nodes. */
const nameOf = (op: Op, attributes: object, inputs: readonly Node[]): string =>
  `${op}|${JSON.stringify(attributes, plain)}|${inputs.map(({ id }) => id).join()}`;

function sameInputs(a: readonly Node[], b: readonly Node[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Are two plain values equal, the order of names included (it is that of axes in memory)? */
function sameAttributes(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (isEmpty(a) && isEmpty(b)) return true;
  const names = Object.keys(a), others = Object.keys(b);
  if (names.length !== others.length) return false;
  return names.every((name, i) =>
    name === others[i] && sameAttributes((a as Record<string, unknown>)[name], (b as Record<string, unknown>)[name])
  );
}

// Most primitives have no attributes.
function isEmpty(attributes: object): boolean {
  for (const _ in attributes) return false;
  return true;
}

function noted<N extends Node>(node: N): N {
  if (!shared.recording || shared.sources.has(node)) return node;
  const line = shared.origin === undefined ? modelLine() : shared.origin;
  if (line) shared.sources.set(node, line);
  return node;
}

/** Notes for every node that `work` makes which of the user's lines made it. That takes time: it is for `explain`. */
export function withSources<T>(work: () => T): T {
  const before = shared.recording;
  shared.recording = true;
  try {
    return work();
  } finally {
    shared.recording = before;
  }
}

/**
 * The nodes that `work` makes have no lines of their own (only those of nodes they stand for): no user's function is in
 * progress, and looking for one takes long.
 */
export function standingForNobody<T>(work: () => T): T {
  const before = shared.origin;
  shared.origin = null;
  try {
    return work();
  } finally {
    shared.origin = before;
  }
}

/** The nodes that `work` makes stand for `node`: they have its line. */
export function standingFor<T>(node: Node, work: () => T): T {
  if (!shared.recording) return work();
  const before = shared.origin;
  shared.origin = shared.sources.get(node) ?? before;
  try {
    return work();
  } finally {
    shared.origin = before;
  }
}

/** The line of the user's that made a node, where it was noted. */
export const sourceOf = (node: Node): string | undefined => shared.sources.get(node);

/** Is this value a node (or tensor)? Works across two loads of this module. */
export const isNode = (x: unknown): x is Node =>
  typeof x === "object" && x !== null && "op" in x && "inputs" in x && "attributes" in x;

/**
 * Every node that `roots` need, inputs before users, in the order they were made. Iterative: graphs are deep.
 *
 * @param stop is a node's input not looked for? It must not walk a graph itself.
 */
export function topological(roots: readonly Node[], stop?: (node: Node) => boolean): Node[] {
  const walk = ++shared.walks, found: Node[] = [];
  const reach = (node: Node): void => {
    if ((node as Made<Op>)[walked] === walk) return;
    (node as Made<Op>)[walked] = walk;
    found.push(node);
  };
  roots.forEach(reach);
  for (let i = 0; i < found.length; i++) {
    if (stop?.(found[i])) continue;
    const { inputs } = found[i];
    for (let j = 0; j < inputs.length; j++) reach(inputs[j]);
  }
  // Inputs are always made before their users, so the order of making is topological, and it is the order in which
  // the program was written: forward, then backward layer by layer.
  return byId(found);
}

/** Nodes in the order of their making. */
function byId(nodes: Node[]): Node[] {
  let first = Infinity, last = 0;
  for (let i = 0; i < nodes.length; i++) {
    first = Math.min(first, nodes[i].id);
    last = Math.max(last, nodes[i].id);
  }
  // Most numbers between the first and the last are those of nodes that are no longer needed: few enough to pass over.
  if (nodes.length < 32 || last - first > 16 * nodes.length) return nodes.sort((a, b) => a.id - b.id);
  const places = new Int32Array(last - first + 1);
  for (let i = 0; i < nodes.length; i++) places[nodes[i].id - first] = i + 1;
  const sorted: Node[] = new Array(nodes.length);
  for (let i = 0, next = 0; i < places.length; i++) if (places[i] > 0) sorted[next++] = nodes[places[i] - 1];
  return sorted;
}

/** Is a file part of this library (its tests and examples are not)? */
const isOurs = (file: string): boolean =>
  [...shared.roots].some((root) =>
    ["dsl/", "backend/", "recipes/"].some((folder) => file.startsWith(root + folder)) &&
    !file.startsWith(`${root}recipes/examples/`) && !/_test\.ts$/.test(file)
  );

/**
 * The innermost line of the user's own code on the stack, as `/home/me/mine.ts:14`: the one that calls into this
 * library, however deep the mistake is found. Without such a line, the innermost one outside of the language.
 */
function userLine(): string | undefined {
  const places = stackOf(200);
  return lineOf(latestOutside(places, isOurs) ?? latestOutside(places, isLanguage));
}

/**
 * The first line on the stack that neither the language nor the compiler wrote: the user's, or that of a model which
 * comes with this library. What the compiler makes of nothing in particular (a constant) is nobody's.
 */
function modelLine(): string | undefined {
  // Every frame costs time, and the line is mostly near.
  const place = latestOutside(stackOf(8, noted), isLanguage) ?? latestOutside(stackOf(40, noted), isLanguage);
  return place && isIn(fileOf(place), "backend/") ? undefined : lineOf(place);
}

/** A call in progress, as V8 tells it: the line is looked up in source maps when it is asked for, which takes long. */
interface Place {
  getScriptNameOrSourceURL(): string | null;
  getLineNumber(): number | null;
}

/** What V8 has on `Error` for it. */
interface StackTraces {
  stackTraceLimit: number;
  prepareStackTrace?: (error: unknown, places: readonly Place[]) => unknown;
  captureStackTrace(holder: object, above: (...args: never) => unknown): void;
}

const fileOf = (place: Place): string => place.getScriptNameOrSourceURL() ?? "";

/**
 * Where the functions in progress were called, the latest first; those that `above` called, and itself, are left out.
 * Ten frames, the default, may all be ours.
 */
function stackOf(frames: number, above: (...args: never) => unknown = stackOf): Place[] {
  const errors = Error as unknown as StackTraces, { stackTraceLimit, prepareStackTrace } = errors;
  const holder: { stack?: unknown } = {};
  errors.stackTraceLimit = frames;
  errors.prepareStackTrace = (_, places) => places;
  errors.captureStackTrace(holder, above);
  const { stack } = holder;
  errors.stackTraceLimit = stackTraceLimit;
  errors.prepareStackTrace = prepareStackTrace;
  return Array.isArray(stack) ? stack : [];
}

/** The latest call in a file for which `isOurs` does not hold. Native functions have no file. */
const latestOutside = (places: readonly Place[], isOurs: (file: string) => boolean): Place | undefined =>
  places.find((place) => {
    const file = fileOf(place);
    return /^(file|https?):/.test(file) && !isOurs(file);
  });

const isIn = (file: string, folder: string): boolean =>
  [...shared.roots].some((root) => file.startsWith(`${root}${folder}`));

const isLanguage = (file: string): boolean => isIn(file, "dsl/");

const lineOf = (place: Place | undefined): string | undefined =>
  place && `${fileOf(place).replace(/^file:\/\//, "")}:${place.getLineNumber()}`;

/** A mistake in how primitives are put together: says where in the user's code. */
export function mistake(op: string, why: string): never {
  const line = userLine();
  throw new TypeError(`${op}: ${why}${line ? `\n  at ${line}` : ""}`);
}

/** Sizes of axes that occur in several shapes must agree. */
export function unite(op: string, ...shapes: readonly Shape[]): Shape {
  const out: Record<string, number> = {};
  for (const shape of shapes) {
    for (const axis in shape) {
      if (axis in out && out[axis] !== shape[axis]) {
        mistake(
          op,
          `axis "${axis}" is ${out[axis]} in one operand and ${shape[axis]} in the other (${
            shapes.map(showShape).join(" vs ")
          })`,
        );
      }
      out[axis] = shape[axis];
    }
  }
  return out;
}
