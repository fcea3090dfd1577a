/**
 * @file Merges loops that run over the same space into one kernel, as far as no other kernel must run between them.
 * In: groups of one node each. Out: fewer, larger ones, in `groupOf`.
 */
import type { Node } from "../../../dsl/node.ts";
import { axesOf, sameAxes, type Shape, sizeOf, without } from "../../../dsl/shape.ts";
import { isTemplate } from "../kinds.ts";
import type { LoopGroup } from "../group.ts";
import { misaligned } from "../views.ts";
import type { Bindings } from "./bindings.ts";
import type { Facts } from "./facts.ts";
import { type Paths, pathsIn } from "./paths.ts";

/** Nodes of one kernel at most. */
const mostNodes = 160;

/** A loop's axes, and which of them are inner ones. */
interface Space {
  readonly space: Shape;
  readonly reduced: readonly string[];
}

/** A group that grows: of two that become one, the larger takes in the smaller. */
type Growing = { -readonly [K in keyof LoopGroup]: LoopGroup[K] extends readonly (infer T)[] ? T[] : LoopGroup[K] };

/** Merging in progress. */
interface Merging {
  readonly facts: Facts;
  readonly bindings: Bindings;
  readonly paths: Paths;
  readonly apart: Apart;
  /** Merges so far. */
  merges: number;
}

/**
 * Merges what can be merged.
 *
 * @param bindings tells what a group binds: a kernel stays within the device's limit
 * @param count groups have numbers below it
 * @param refuse is told why two groups stay apart
 */
export function merge(
  facts: Facts,
  bindings: Bindings,
  count: number,
  refuse: (reason: string, consumer: LoopGroup, source: Node) => void,
): void {
  const merging: Merging = { facts, bindings, paths: pathsIn(facts, count), apart: new Apart(count), merges: 0 };
  const { groupOf, order } = facts, { apart } = merging;
  let pairs = pairsOf(facts);
  // A merge may make room for another: bindings between two kernels vanish when they become one.
  for (let round = 0, before = -1; round < 3 && before !== merging.merges; round++) {
    before = merging.merges;
    pairs = pairs.filter(([node, source]) => {
      const producer = groupOf.get(source) as Growing, consumer = groupOf.get(node) as Growing;
      if (producer === consumer) return false;
      if (apart.has(producer, consumer)) return true;
      const shape = fit(producer, consumer);
      const refusal = shape ? join(merging, producer, consumer, shape, source) : "different spaces";
      if (refusal === undefined) return false;
      refuse(refusal, consumer, source);
      apart.add(producer, consumer);
      return true;
    });
  }
  joinReaders(merging);
  // Nodes lie in the order of the program, whichever group took in which.
  const merged = new Set(order.map((node) => groupOf.get(node)).filter((each) => each?.kind === "loop"));
  for (const { nodes } of merged as Set<Growing>) if (nodes.length > 1) nodes.sort((a, b) => a.id - b.id);
}

/** Pairs of groups that stay apart, until one of them has grown. */
class Apart {
  /** How often a group has grown, by number. */
  private readonly grown: Int32Array;
  /** By numbers of two groups: how often the two had grown when they were kept apart. */
  private readonly pairs: (Map<number, number> | undefined)[] = [];

  constructor(count: number) {
    this.grown = new Int32Array(count);
  }

  has({ number: one }: LoopGroup, { number: two }: LoopGroup): boolean {
    return this.pairs[one]?.get(two) === this.grown[one] + this.grown[two];
  }

  add({ number: one }: LoopGroup, { number: two }: LoopGroup): void {
    (this.pairs[one] ??= new Map()).set(two, this.grown[one] + this.grown[two]);
  }

  grow({ number }: LoopGroup): void {
    this.grown[number]++;
  }
}

/** Nodes, and what each reads at the loop's own index: what a merge can go by, until both are in one group. */
function pairsOf({ order, groupOf, sourcesOf }: Facts): [node: Node, source: Node][] {
  const pairs: [node: Node, source: Node][] = [];
  for (const node of order) {
    for (const { source, elsewhere } of sourcesOf(node).read) {
      if (!elsewhere && groupOf.get(source)?.kind === "loop" && groupOf.get(node)?.kind === "loop") {
        pairs.push([node, source]);
      }
    }
  }
  return pairs;
}

/** What reads a product at the same elements, and waits for nothing of each other, reads it once. */
function joinReaders(merging: Merging): void {
  const { facts: { order, groupOf, sourcesOf }, apart } = merging, readers = new Map<Node, Node[]>();
  for (const node of order) {
    if (groupOf.get(node)?.kind !== "loop") continue;
    for (const { source, elsewhere } of sourcesOf(node).read) {
      if (elsewhere || !isTemplate(source)) continue;
      const known = readers.get(source);
      if (known) known.push(node);
      else readers.set(source, [node]);
    }
  }
  for (const [product, nodes] of readers) {
    for (const [i, node] of nodes.entries()) {
      for (const other of nodes.slice(0, i)) {
        const one = groupOf.get(other) as Growing, two = groupOf.get(node) as Growing;
        if (one === two || apart.has(one, two) || apart.has(two, one)) continue;
        const shape = fit(one, two);
        if (!shape || sizeOf(shape.space) !== sizeOf(product.shape) || crosses(merging, two, one)) continue;
        join(merging, one, two, shape, product);
      }
    }
  }
}

/** Makes one group of two, or says why not. */
function join(
  merging: Merging,
  producer: Growing,
  consumer: Growing,
  { space, reduced }: Space,
  via: Node,
): string | undefined {
  const { facts, bindings, paths } = merging, { groupOf, limits: { maxBindings } } = facts;
  if (producer.nodes.length + consumer.nodes.length > mostNodes) return "kernel too large";
  if (serialises(facts, producer, consumer, { space, reduced }, via)) return "would run a large map on few rows";
  if (crosses(merging, producer, consumer)) return "another kernel lies between, or elements are needed out of order";
  const [whole, part] = producer.nodes.length < consumer.nodes.length ? [consumer, producer] : [producer, consumer];
  const before = whole.nodes.length, most = producer.most + consumer.most;
  for (const node of part.nodes) {
    whole.nodes.push(node);
    groupOf.set(node, whole);
  }
  // Counted when the two are one: what only the other half uses needs no buffer.
  if (most > maxBindings && bindings(whole).size > maxBindings) {
    whole.nodes.length = before;
    for (const node of part.nodes) groupOf.set(node, part);
    return "too many buffers for one kernel";
  }
  whole.space = space;
  whole.reduced = [...reduced];
  whole.most = most;
  whole.oldest = Math.min(producer.oldest, consumer.oldest);
  whole.youngest = Math.max(producer.youngest, consumer.youngest);
  whole.merges.push(...part.merges, { via, space });
  whole.refusals.push(...part.refusals);
  merging.merges++;
  merging.apart.grow(whole);
  paths.merged(whole, part);
  return undefined;
}

/** Is there a path from producer to consumer through another kernel, or one that needs other elements? */
function crosses({ facts, paths }: Merging, producer: LoopGroup, consumer: LoopGroup): boolean {
  const { groupOf, resolve, sourcesOf } = facts;
  for (const member of consumer.nodes) {
    for (const { source, elsewhere } of sourcesOf(member).read) {
      if (!elsewhere) continue;
      if (groupOf.get(source) === producer && resolve(consumer, source, elsewhere) === "load") return true;
      if (loadsOf(facts, producer, source)) return true;
    }
  }
  return paths.lead(producer, consumer);
}

/** Would computing a node at other elements than the kernel's own load what `group` makes? */
function loadsOf(facts: Facts, group: LoopGroup, node: Node, seen: Set<Node> = new Set()): boolean {
  if (seen.has(node)) return false;
  seen.add(node);
  return facts.sourcesOf(node).read.some(({ source }) => {
    const loaded = facts.resolve(undefined, source, misaligned(source.shape)) === "load";
    return loaded ? facts.groupOf.get(source) === group : loadsOf(facts, group, source, seen);
  });
}

/** Would merging run elementwise work that must be stored on too few rows to be parallel? */
function serialises(
  { groupOf, always, usersOf }: Facts,
  producer: LoopGroup,
  consumer: LoopGroup,
  { space, reduced }: Space,
  via: Node,
): boolean {
  const map = producer.reduced.length === 0 ? producer : consumer;
  if (reduced.length === 0 || sizeOf(space) <= 16384 || map.reduced.length > 0) return false;
  if (sizeOf(map.space) <= 16384) return false;
  const rows = sizeOf(without(space, reduced));
  // A reduction across memory (not along its last axis) walks columns: enough of them must be there to share out.
  const along = reduced.includes(axesOf(map.space).at(-1)!);
  if (rows >= (along ? 64 : 65536)) return false;
  const alone = usersOf(via).every((user) => groupOf.get(user) === consumer) && !always.has(via);
  return !(map === producer && producer.nodes.length === 1 && alone);
}

/** The one space two groups can share, if there is one. */
function fit(p: LoopGroup, c: LoopGroup): Space | undefined {
  if (sameAxes(p.space, c.space)) {
    if (p.reduced.length === 0) return c;
    if (c.reduced.length === 0) return p;
    const equal = p.reduced.length === c.reduced.length && p.reduced.every((axis) => c.reduced.includes(axis));
    return equal ? p : undefined;
  }
  if (p.reduced.length === 0 && c.reduced.length > 0 && sameAxes(p.space, without(c.space, c.reduced))) return c;
  if (c.reduced.length === 0 && p.reduced.length > 0 && sameAxes(c.space, without(p.space, p.reduced))) return p;
  return undefined;
}
