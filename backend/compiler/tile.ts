/**
 * @file Keeps large intermediate values out of memory: attention's scores, the logits of a vocabulary.
 * In: a simplified program. Out: the same values, with every product that is much larger than what it is made of,
 * and all that is computed from it up to the next reduction, inside a loop over tiles of one axis (`tiled` nodes).
 * A product that is needed again later (in the backward pass) is computed again, tile by tile, where that is cheap.
 * What a mask hides from all rows of a tile (`reach.ts`) is left out.
 */
import { node as make, primitiveOf, rebuilt } from "../../dsl/build.ts";
import { NodeMap } from "../../dsl/graph/node_map.ts";
import { isOp, type Node, standingFor, topological } from "../../dsl/node.ts";
import { type Placement, placementOf, placeOf, type Tile, type TiledBody } from "../../dsl/primitives/tiled.ts";
import { type Shape, sizeOf, stridesOf } from "../../dsl/shape.ts";
import { type Cluster, clustersOf } from "./tiling/clusters.ts";
import { type Band, type Reach, reachOf } from "./tiling/reach.ts";
import { Structures } from "./emission/structure.ts";

/** What tiling may count on. */
export interface TileLimits {
  /** Products of fewer bytes are stored: caches hold them. */
  readonly largeBytes: number;
  /** Can a product add to what is in memory? */
  readonly accumulates: boolean;
  /** A window of a buffer starts at a multiple of this many bytes. */
  readonly windowAlignment: number;
}

/** Rows of a tile that keep a product efficient, where the other operand is read again by every tile. */
const fewestRows = 256;
/** The same where that operand stays in the cache. */
const fewestCachedRows = 64;
/** Bytes of an operand that a cache holds. */
const cacheBytes = 2 ** 20;

/** The same roots, with large intermediate values inside loops. Bodies of loops that do the same are the same nodes. */
export function tile(roots: readonly Node[], limits: TileLimits): Node[] {
  const order = topological(roots), context = { ...limits, windows: new Map<string, Node<"window">>() };
  const loops = clustersOf(roots, order, limits.largeBytes).flatMap(cutterOf(order, context));
  if (loops.length === 0) return [...roots];
  return rebuild(roots, new Map(loops.flatMap((loop) => loop.exits.map((exit) => [exit, loop] as const))));
}

interface Context extends TileLimits {
  /** Windows made so far, by place in their loop and type: loops of equal layers look through the same ones. */
  readonly windows: Map<string, Node<"window">>;
}

/** A loop to be: what it needs from outside, and which nodes it computes. */
interface Loop {
  readonly inputs: readonly Node[];
  readonly exits: readonly Node[];
  readonly body: TiledBody;
}

/** Cuts the clusters of a program: those that are built alike (layers) share their loops' bodies. */
function cutterOf(order: readonly Node[], context: Context): (cluster: Cluster) => Loop[] {
  /** Loops by places in a cluster's structure; a counter, which is made for tiles to look at, has none. */
  interface Pattern {
    readonly inputs: readonly (number | Node)[];
    readonly exits: readonly (number | Node)[];
    readonly body: TiledBody;
  }
  const structures = new Structures(order), known = new Map<string, readonly Pattern[]>();
  return (cluster) => {
    const { name, nodes } = structures.part([...cluster.exits, ...cluster.seeds], cluster.role);
    const whole = `${name}|${cluster.axes.join()}`, patterns = known.get(whole);
    const nodeAt = (place: number | Node): Node => typeof place === "number" ? nodes[place] : place;
    if (patterns) {
      // Loops are told apart by their bodies: each has its own, with the same tiles.
      return patterns.map(({ inputs, exits, body }) => ({
        inputs: inputs.map(nodeAt),
        exits: exits.map(nodeAt),
        body: { ...body },
      }));
    }
    const placeOf = (node: Node): number | Node => {
      const place = nodes.indexOf(node);
      return place < 0 ? node : place;
    };
    const loops = loopsOf(cluster, context);
    known.set(
      whole,
      loops.map(({ inputs, exits, body }) => ({ inputs: inputs.map(placeOf), exits: exits.map(placeOf), body })),
    );
    return loops;
  };
}

/** The loops of a cluster, one for each phase; none if no axis serves. */
function loopsOf(cluster: Cluster, context: Context): Loop[] {
  const choices = cluster.axes.flatMap((axis) => {
    const reach = reachOf(cluster, axis), all = tileSize(cluster, axis, context);
    const narrow = reach && Math.min(all ?? Infinity, ...reach.bands.map(({ start, stop }) => stop - start));
    return [
      ...(reach && narrow !== undefined ? [{ axis, size: narrow, reach }] : []),
      ...(all === undefined ? [] : [{ axis, size: all, reach: undefined }]),
    ].map((choice) => ({ ...choice, bytes: choice.size * bytesPerStep(cluster, axis) }));
  });
  // The first axis whose tiles are small enough, one that hides something before others, or that with the smallest.
  const small = choices.filter(({ bytes }) => bytes <= 2 * context.largeBytes)
    .sort((a, b) => Number(b.reach !== undefined) - Number(a.reach !== undefined));
  const others = choices.filter((choice) => !small.includes(choice)).sort((a, b) => a.bytes - b.bytes);
  for (const { axis, size, reach } of [...small, ...others]) {
    const loops = cluster.phases.map((exits, phase) => loopOver(cluster, { axis, size, reach }, exits, phase, context))
      .filter(({ exits }) => exits.length > 0);
    if (loops.every((loop) => aligned(loop, context.windowAlignment))) return loops;
  }
  return [];
}

/** Along which axis tiles are cut, how large they are, and what they see, if they do not see all. */
interface Cut {
  readonly axis: string;
  readonly size: number;
  readonly reach: Reach | undefined;
}

/** Bytes of the large products of one index of an axis. */
const bytesPerStep = ({ seeds }: Cluster, axis: string): number =>
  seeds.reduce((total, { shape }) => total + 4 * sizeOf(shape) / shape[axis], 0);

/** Do the windows of all tiles, and what they give, start where the device can bind them? */
function aligned({ inputs, exits, body }: Loop, alignment: number): boolean {
  const fits = (node: Node, elements: number): boolean => elements * bytesPerElement(node) % alignment === 0;
  return body.tiles.every(({ starts, windows, results }) =>
    starts.every((start) =>
      windows.every(({ attributes: { along } }, i) =>
        along === undefined || fits(inputs[i], stridesOf(inputs[i].shape)[along] * start)
      ) && results.every((result, i) => fits(exits[i], placeOf(placementOf(result)!, body.axis, start)))
    )
  );
}

const bytesPerElement = ({ dtype }: Node): number => dtype === "f16" || dtype === "bf16" ? 2 : 4;

/** How much of an axis a tile takes; undefined where a loop would gain nothing. */
function tileSize(cluster: Cluster, axis: string, { largeBytes }: TileLimits): number | undefined {
  const { seeds } = cluster, extent = seeds[0].shape[axis];
  // What every tile reads anew: the operands that lack the axis.
  const again = seeds.flatMap(({ inputs }) => inputs).filter((input) => !(axis in input.shape));
  const cached = again.every((input) => 4 * sizeOf(input.shape) <= cacheBytes);
  const rows = Math.max(...seeds.map((seed) => sizeOf(rowsOf(seed)) / extent));
  const least = Math.ceil((cached ? fewestCachedRows : fewestRows) / rows);
  const grain = extent >= 128 ? 64 : 1;
  const most = Math.max(least, Math.floor(largeBytes / bytesPerStep(cluster, axis)), 1);
  const size = Math.ceil(Math.max(1, Math.min(most, extent)) / grain) * grain;
  // As many tiles as that takes, all about as large.
  const even = Math.ceil(extent / Math.ceil(extent / size) / grain) * grain;
  return even < extent ? even : undefined;
}

/** Axes of a product that its first operand has and its second lacks: rows of a matrix, and the batch. */
function rowsOf(seed: Node<"contract">): Shape {
  const [x] = seed.inputs;
  return Object.fromEntries(Object.entries(seed.shape).filter(([axis]) => axis in x.shape));
}

/** The loop that computes one phase's exits. */
function loopOver(cluster: Cluster, cut: Cut, exits: readonly Node[], phase: number, context: Context): Loop {
  const { axis, size, reach } = cut, extent = cluster.seeds[0].shape[axis], inputs: Node[] = [];
  const bands: readonly (Band | { start: number; stop: number })[] = reach?.bands ?? [{ start: 0, stop: extent }];
  const tiles = bands.flatMap((band) => {
    const { start, stop } = band, count = Math.floor((stop - start) / size), rest = (stop - start) % size;
    const seen = reach && "from" in band && band.to - band.from < cluster.seeds[0].shape[reach.axis]
      ? { axis: reach.axis, from: band.from, to: band.to }
      : undefined;
    const whole = Array.from({ length: count }, (_, i) => start + i * size);
    return [
      ...(count > 0 ? [tileOf(cluster, { axis, size, starts: whole, seen }, exits, phase, inputs, context)] : []),
      ...(rest > 0
        ? [tileOf(cluster, { axis, size: rest, starts: [stop - rest], seen }, exits, phase, inputs, context)]
        : []),
    ];
  });
  const results = exits.map(({ shape, dtype }) => ({ shape, dtype, accumulate: !(axis in shape) }));
  return { inputs, exits, body: { axis, results, tiles } };
}

/** Tiles of one size at some places, and the part of another axis that they see, if they do not see all. */
interface Place {
  readonly axis: string;
  readonly size: number;
  readonly starts: readonly number[];
  readonly seen: { readonly axis: string; readonly from: number; readonly to: number } | undefined;
}

/** The body for tiles of one size. `inputs` collects what it looks at outside: the same list for all sizes. */
function tileOf(
  { large, exits: leaving, computes }: Cluster,
  { axis, size, starts, seen }: Place,
  exits: readonly Node[],
  phase: number,
  inputs: Node[],
  { accumulates, windows: shared }: Context,
): Tile {
  const windows: Node<"window">[] = [], made = new Map<string, Node>();
  const windowOn = (x: Node, along?: string): Node => {
    const shape = along === undefined ? x.shape : { ...x.shape, [along]: size };
    const known = windows.find((each, i) => inputs[i] === x && each.attributes.along === along);
    if (known) return known;
    const at = windows.length;
    if (at === inputs.length) inputs.push(x);
    if (inputs[at] !== x) throw new Error("tiles of one loop look at different tensors");
    const attributes = { shape, dtype: x.dtype, within: x.shape, ...(along !== undefined && { along }) };
    const name = `${at} ${JSON.stringify(attributes)}`, window = shared.get(name) ?? make("window", [], attributes);
    shared.set(name, window);
    windows.push(window);
    return window;
  };

  /** The node for one tile; `along`: which of its axes the tiles cut, if any; `part`: of which they see a part only. */
  const rebuilt = (x: Node, along: string | undefined, part: string | undefined): Node => {
    const cut = along !== undefined && along in x.shape ? along : undefined;
    const narrow = part !== undefined && part in x.shape ? part : undefined;
    const key = `${x.id}:${cut ?? ""}:${narrow ?? ""}`, known = made.get(key);
    if (known) return known;
    const result = standingFor(x, () => compute(x, cut, narrow));
    made.set(key, result);
    return result;
  };
  const compute = (x: Node, cut: string | undefined, narrow: string | undefined): Node => {
    if (isOp(x, "barrier")) return rebuilt(x.inputs[0], cut, narrow);
    const own = large.has(x) || leaving.has(x);
    const follows = own || isOp(x, "expand") || isOp(x, "rename") || primitiveOf(x.op).elementwise;
    if (narrow !== undefined && seen && (!follows || !computes(x, phase, cut))) {
      return make("slice", [rebuilt(x, cut, undefined)], { axis: narrow, start: seen.from, stop: seen.to });
    }
    if (isOp(x, "constant")) return x;
    if (isOp(x, "iota")) return cut === undefined ? x : windowOn(counter(x), cut);
    if (!computes(x, phase, cut)) return windowOn(x, cut);
    // All that is large goes by the names of the products' axes, and sees that part.
    const next = own ? seen?.axis : inner(x, narrow);
    return make(x.op, x.inputs.map((input) => rebuilt(input, inner(x, cut), next)), resized(x, cut, narrow));
  };
  const values = exits.map((exit) => axis in exit.shape ? rebuilt(exit, axis, seen?.axis) : reduced(exit));
  const used = new Set(topological(values).flatMap(({ inputs }) => inputs));
  const results = exits.map((exit, i) => {
    const value = values[i], into = placement(exit);
    const direct = isOp(value, "contract") && value.dtype === "f32" && !used.has(value) &&
      (accumulates || !into.accumulate);
    return direct ? make("contract", value.inputs, { ...value.attributes, into }) : make("placed", [value], { into });
  });
  return { size, starts, windows, results };

  /** A sum over the axis itself: of this tile's part. */
  function reduced(exit: Node): Node {
    const inputs = exit.inputs.map((input) => rebuilt(input, axis, seen?.axis));
    return standingFor(exit, () => make(exit.op, inputs, exit.attributes));
  }

  function placement({ shape }: Node): Placement {
    const accumulate = !(axis in shape);
    return { within: shape, accumulate, ...(seen && seen.axis in shape && { from: { [seen.axis]: seen.from } }) };
  }

  /** A node's attributes for a tile. */
  function resized(x: Node, cut: string | undefined, narrow: string | undefined): Node["attributes"] {
    if (!isOp(x, "expand")) return x.attributes;
    const shape = { ...x.attributes.shape };
    if (cut !== undefined) shape[cut] = size;
    if (narrow !== undefined && seen) shape[narrow] = seen.to - seen.from;
    return { shape };
  }
}

/** 0, 1, 2, … in memory, so that a window on it counts on from tile to tile. */
function counter({ attributes: { axis, size } }: Node<"iota">): Node {
  const known = counters.get(`${axis}:${size}`)?.deref();
  if (known) return known;
  const values = Int32Array.from({ length: size }, (_, i) => i);
  const made = make("data", [], { shape: { [axis]: size }, dtype: "i32", values });
  counters.set(`${axis}:${size}`, new WeakRef(made));
  return made;
}
const counters = new Map<string, WeakRef<Node>>();

/** The name that a node's axis has in its inputs. */
function inner(x: Node, cut: string | undefined): string | undefined {
  if (cut === undefined || !isOp(x, "rename")) return cut;
  return Object.entries(x.attributes.names).find(([, to]) => to === cut)?.[0] ?? cut;
}

/** The roots, with every exit taken from its loop. */
function rebuild(roots: readonly Node[], loopOf: ReadonlyMap<Node, Loop>): Node[] {
  const order = topological(roots), made = new NodeMap<Node>(order);
  const needs = (x: Node): readonly Node[] => loopOf.get(x)?.inputs ?? x.inputs;
  // In the order of the program, which is the order in which kernels are to run where nothing else decides.
  const stack = order.toReversed(), open = new Set<Node>();
  while (stack.length > 0) {
    const x = stack[stack.length - 1];
    if (made.has(x)) {
      stack.pop();
      continue;
    }
    const missing = needs(x).filter((input) => !made.has(input));
    if (missing.length > 0) {
      if (open.has(x)) throw new Error("loops over tiles wait for each other");
      open.add(x);
      stack.push(...missing);
      continue;
    }
    stack.pop();
    const loop = loopOf.get(x);
    if (!loop) {
      made.set(x, standingFor(x, () => rebuilt(x, made)));
      continue;
    }
    const inputs = loop.inputs.map((input) => made.get(input)!);
    loop.exits.forEach((exit, result) => made.set(exit, make("tiled", inputs, { body: loop.body, result })));
  }
  return roots.map((root) => made.get(root)!);
}
