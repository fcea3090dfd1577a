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

/** Merging in progress. */
interface Merging {
  readonly facts: Facts;
  readonly bindings: Bindings;
  readonly paths: Paths;
  /** By number of a group: groups that stay apart from it. Merging makes new groups. */
  readonly apart: (Set<number> | undefined)[];
  /** Groups made so far: a merged group's number is the next one. */
  count: number;
}

/**
 * Merges what can be merged.
 *
 * @param bindings tells what a group binds: a kernel stays within the device's limit
 * @param count numbers of groups made so far: a merged group gets the next one
 * @param refuse is told why two groups stay apart
 */
export function merge(
  facts: Facts,
  bindings: Bindings,
  count: number,
  refuse: (reason: string, consumer: LoopGroup, source: Node) => void,
): void {
  const merging: Merging = { facts, bindings, paths: pathsIn(facts, count), apart: [], count }, { groupOf } = facts;
  let pairs = pairsOf(facts);
  // A merge may make room for another: bindings between two kernels vanish when they become one.
  for (let round = 0, before = -1; round < 3 && before !== merging.count; round++) {
    before = merging.count;
    pairs = pairs.filter(([node, source]) => {
      const producer = groupOf.get(source) as LoopGroup, consumer = groupOf.get(node) as LoopGroup;
      if (producer === consumer) return false;
      if (merging.apart[producer.number]?.has(consumer.number)) return true;
      const shape = fit(producer, consumer);
      const refusal = shape ? join(merging, producer, consumer, shape, source) : "different spaces";
      if (refusal === undefined) return false;
      refuse(refusal, consumer, source);
      (merging.apart[producer.number] ??= new Set()).add(consumer.number);
      return true;
    });
  }
  joinReaders(merging);
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
        const one = groupOf.get(other) as LoopGroup, two = groupOf.get(node) as LoopGroup;
        if (one === two || apart[one.number]?.has(two.number) || apart[two.number]?.has(one.number)) continue;
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
  producer: LoopGroup,
  consumer: LoopGroup,
  shape: Space,
  via: Node,
): string | undefined {
  const { facts, bindings, paths } = merging, { groupOf, limits } = facts;
  if (producer.nodes.length + consumer.nodes.length > mostNodes) return "kernel too large";
  if (serialises(facts, producer, consumer, shape, via)) return "would run a large map on few rows";
  if (crosses(merging, producer, consumer)) return "another kernel lies between, or elements are needed out of order";
  const together: LoopGroup = {
    kind: "loop",
    number: merging.count,
    space: shape.space,
    reduced: shape.reduced,
    nodes: producer.nodes.concat(consumer.nodes),
    oldest: Math.min(producer.oldest, consumer.oldest),
    youngest: Math.max(producer.youngest, consumer.youngest),
    most: producer.most + consumer.most,
    merges: producer.merges.concat(consumer.merges, { via, space: shape.space }),
    refusals: producer.refusals.concat(consumer.refusals),
  };
  for (const node of together.nodes) groupOf.set(node, together);
  // Counted when the two are one: what only the other half uses needs no buffer.
  if (together.most > limits.maxBindings && bindings(together).size > limits.maxBindings) {
    for (const half of [producer, consumer]) for (const node of half.nodes) groupOf.set(node, half);
    return "too many buffers for one kernel";
  }
  merging.count++;
  paths.merged(together);
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
