/**
 * @file Decides which nodes share a kernel.
 * In: a lowered program. Out: groups in which every node is computed once; a template (product, top-k, …) is a group
 * of its own, elementwise work and reductions over the same space are one group. No cycle between groups.
 */
import { isOp, type Node, topological } from "../../dsl/node.ts";
import type { TiledBody } from "../../dsl/primitives/tiled.ts";
import { axesOf, sameAxes, type Shape, sizeOf, without } from "../../dsl/shape.ts";
import { freeNodes, inlineCosts, inlineLimit, isArgument, isReduction, isTemplate } from "./costs.ts";
import {
  identity,
  type IndexMap,
  isAffineView,
  isAligned,
  isView,
  misaligned,
  moved,
  sameMap,
  throughView,
} from "./views.ts";

/** Elementwise nodes and reductions that run as one kernel over `space`; `reduced` are its inner axes. */
export interface LoopGroup {
  readonly kind: "loop";
  readonly nodes: readonly Node[];
  readonly space: Shape;
  readonly reduced: readonly string[];
  /** Smallest and largest number of its nodes. */
  readonly oldest: number;
  readonly youngest: number;
  /** It binds no more buffers than this. */
  readonly most: number;
  /** Why nodes came together, for `explain`. */
  readonly reasons: readonly string[];
  /** What could not come in, and why. */
  readonly refusals: Refusal[];
}

/** A value that is made by another kernel, and why. */
export interface Refusal {
  readonly source: Node;
  readonly reason: string;
}

/** A node with a kernel template of its own. */
export interface TemplateGroup {
  readonly kind: "template";
  readonly node: Node;
  /** That node alone. */
  readonly nodes: readonly Node[];
}

/** A loop over tiles; its nodes are its results. */
export interface TiledGroup {
  readonly kind: "tiled";
  readonly body: TiledBody;
  readonly inputs: readonly Node[];
  readonly nodes: Node[];
}

/** What becomes one kernel (a template may take two), or one loop of kernels. */
export type Group = LoopGroup | TemplateGroup | TiledGroup;

/** What grouping may count on. */
export interface GroupLimits {
  readonly maxBindings: number;
  readonly fuse: "on" | "off";
  /** Search every path between two kernels before they are joined (slow; the default overlooks rare ones). */
  readonly thorough?: boolean;
}

/** A program cut into kernels. */
export interface Grouping {
  readonly roots: readonly Node[];
  /** The group that computes a node. */
  readonly groupOf: ReadonlyMap<Node, Group>;
  /** Nodes that lie in memory: arguments, templates' results, whatever crosses from one kernel to another. */
  readonly stored: ReadonlySet<Node>;
  /** Groups that compute something stored, in the order of their first node. */
  readonly groups: readonly Group[];
  /** Why fusions were refused: reason and count. */
  readonly refused: ReadonlyMap<string, number>;
}

/** What a kernel does with a node it meets while computing another. */
export type Resolution = "compute" | "load";

/** Answers how a group gets at a node: one rule for grouping, storage and emission. */
export interface Resolver {
  (group: Group | undefined, node: Node, map: IndexMap): Resolution;
}

/** A node that another reads through views: at which index, and is that the loop's own? */
interface Source {
  readonly source: Node;
  readonly map: IndexMap;
  readonly aligned: boolean;
}

/** What a node waits for. */
interface Sources {
  readonly read: readonly Source[];
  /** What barriers in front of it stand for. */
  readonly barriers: readonly Node[];
}

/** Cuts a program into kernels. */
export function group(roots: readonly Node[], limits: GroupLimits): Grouping & { readonly resolve: Resolver } {
  const order = topological(roots), free = freeNodes(order), costs = inlineCosts(order, free);
  const users = new Map<Node, Node[]>();
  for (const node of order) {
    for (const input of node.inputs) (users.get(input) ?? users.set(input, []).get(input)!).push(node);
  }
  const groupOf = new Map<Node, Group>(), refused = new Map<string, number>(), sourcesOf = new Map<Node, Sources>();
  const loops = new Map<TiledBody, TiledGroup>();
  for (const node of order) {
    if (isOp(node, "tiled")) {
      const { body } = node.attributes;
      const loop = loops.get(body) ?? { kind: "tiled", body, inputs: node.inputs, nodes: [] };
      loops.set(body, loop);
      loop.nodes.push(node);
      groupOf.set(node, loop);
    } else if (isTemplate(node)) groupOf.set(node, { kind: "template", node, nodes: [node] });
    else if (!isArgument(node) && !isView(node) && !free.has(node)) {
      const over = isReduction(node) ? node.attributes.over : [];
      const space = isReduction(node) ? { ...node.shape, ...pick(node.inputs[0].shape, over) } : node.shape;
      groupOf.set(node, lone(node, space, over));
    } else if (free.has(node) && roots.includes(node)) groupOf.set(node, lone(node, node.shape, []));
  }

  const always = new Set<Node>(roots);
  for (const node of order) {
    if (isArgument(node) || isTemplate(node)) always.add(node);
    if (isTemplate(node)) { for (const input of node.inputs) always.add(storedBase(input)); }
    if (node.op === "take") always.add(node.inputs[0]);
  }

  const stored = new Set<Node>(always), settled = new Set<Node>(), inputsInto = new Map<Group, readonly Node[]>();
  const resolve: Resolver = (own, node, map) => {
    const mine = own !== undefined && groupOf.get(node) === own;
    if (mine && isAligned(node.shape, map)) return "compute";
    if (isView(node) || (free.has(node) && !groupOf.has(node))) return "compute";
    if ((stored.has(node) && !mine) || isReduction(node) || limits.fuse === "off") return "load";
    return costs.get(node)! <= inlineLimit ? "compute" : "load";
  };

  // The last search that came by a node or group.
  const seenIn = new Map<Node | Group, number>();
  let searches = 0;
  // Pairs of groups that stay apart: only a merge, which makes a new group, can change that.
  const apart = new Map<LoopGroup, Set<LoopGroup>>();
  // A merge may make room for another: bindings between two kernels vanish when they become one.
  if (limits.fuse === "on") { for (let round = 0; round < 3; round++) mergeAll(); }
  settleStorage(stored);
  limitBindings();
  const groups = [...new Set(order.map((node) => groupOf.get(node)).filter((each) => each !== undefined))]
    .filter((each) => each.kind !== "loop" || each.nodes.some((node) => stored.has(node)));
  return { roots, groupOf, stored, groups, refused, resolve };

  function lone(node: Node, space: Shape, reduced: readonly string[]): LoopGroup {
    const { id } = node, most = mostBindings(node);
    return {
      kind: "loop",
      nodes: [node],
      space,
      reduced,
      oldest: id,
      youngest: id,
      most,
      reasons: [],
      refusals: [],
    };
  }

  function mergeAll(): void {
    for (const node of order) {
      for (const { source, aligned } of sources(node).read) {
        const producer = groupOf.get(source), consumer = groupOf.get(node);
        if (!producer || !consumer || producer === consumer || producer.kind !== "loop" || consumer.kind !== "loop") {
          continue;
        }
        if (!aligned || apart.get(producer)?.has(consumer)) continue;
        const shape = fit(producer, consumer);
        const refusal = shape ? join(producer, consumer, shape, source) : "different spaces";
        if (refusal === undefined) continue;
        refuse(refusal, consumer, source);
        (apart.get(producer) ?? apart.set(producer, new Set()).get(producer)!).add(consumer);
      }
    }
  }

  /** Makes one group of two, or says why not. */
  function join(
    producer: LoopGroup,
    consumer: LoopGroup,
    shape: { space: Shape; reduced: readonly string[] },
    via: Node,
  ): string | undefined {
    if (producer.nodes.length + consumer.nodes.length > 160) return "kernel too large";
    if (serialises(producer, consumer, shape, via)) return "would run a large map on few rows";
    if (crosses(producer, consumer)) return "another kernel lies between, or elements are needed out of order";
    const together: LoopGroup = {
      kind: "loop",
      ...shape,
      nodes: [...producer.nodes, ...consumer.nodes],
      oldest: Math.min(producer.oldest, consumer.oldest),
      youngest: Math.max(producer.youngest, consumer.youngest),
      most: producer.most + consumer.most,
      reasons: [
        ...producer.reasons,
        ...consumer.reasons,
        `${via.op} feeds the same ${axesOf(shape.space).join(" ")} loop`,
      ],
      refusals: [...producer.refusals, ...consumer.refusals],
    };
    if (together.most > limits.maxBindings && bindings(together) > limits.maxBindings) {
      return "too many buffers for one kernel";
    }
    for (const node of together.nodes) groupOf.set(node, together);
    return undefined;
  }

  function refuse(reason: string, consumer?: LoopGroup, source?: Node): void {
    refused.set(reason, (refused.get(reason) ?? 0) + 1);
    if (consumer && source) consumer.refusals.push({ source, reason });
  }

  /** Nodes that a node reads through views, and how. */
  function sources(node: Node): Sources {
    const known = sourcesOf.get(node);
    if (known) return known;
    const found: Source[] = [], made = { read: found, barriers: node.inputs.flatMap(barriersOf) };
    const walk = (x: Node, map: IndexMap): void => {
      if (isAffineView(x)) walk(x.inputs[0], throughView(x, map));
      else if (isView(x)) { for (const input of x.inputs) walk(input, misaligned(input.shape)); }
      else if (!free.has(x) || groupOf.has(x)) found.push({ source: x, map, aligned: isAligned(x.shape, map) });
    };
    node.inputs.forEach((input, i) => {
      if (node.op === "take" && i === 0) found.push({ source: input, map: misaligned(input.shape), aligned: false });
      else walk(input, identity(input.shape));
    });
    sourcesOf.set(node, made);
    return made;
  }

  /** What the nodes of a group are made of, as far as other groups make it. */
  function inputsOfGroup(its: Group): readonly Node[] {
    const known = inputsInto.get(its);
    if (known) return known;
    const made: Node[] = [];
    for (const { inputs } of its.nodes) for (const input of inputs) if (groupOf.get(input) !== its) made.push(input);
    inputsInto.set(its, made);
    return made;
  }

  /** Would computing a node at other elements than the kernel's own load what `group` makes? */
  function loadsOf(group: LoopGroup, node: Node, seen: Set<Node> = new Set()): boolean {
    if (seen.has(node)) return false;
    seen.add(node);
    return sources(node).read.some(({ source }) => {
      const loaded = resolve(undefined, source, misaligned(source.shape)) === "load";
      return loaded ? groupOf.get(source) === group : loadsOf(group, source, seen);
    });
  }

  /** Is there a path from producer to consumer through another kernel, or one that needs other elements? */
  function crosses(producer: LoopGroup, consumer: LoopGroup): boolean {
    const { oldest } = producer, stack: Node[] = [], search = ++searches;
    let seen = 0;
    const expand = (node: Node, its: Group | undefined): void => {
      for (const input of its ? inputsOfGroup(its) : node.inputs) stack.push(input);
    };
    /** What is older than the producer rarely waits for it; where it did, `circleIn` finds out and all is searched. */
    const isOlder = (node: Node, its: Group | undefined): boolean =>
      !limits.thorough && node.id < oldest && (!its || its.kind !== "loop" || its.youngest < oldest);
    const enter = (node: Node, its: Group | undefined): void => {
      const key = its ?? node;
      if (key === consumer || seenIn.get(key) === search || isOlder(node, its)) return;
      seenIn.set(key, search);
      seen++;
      expand(node, its);
    };
    for (const member of consumer.nodes) {
      const { read, barriers } = sources(member);
      for (const { source, map, aligned } of read) {
        const its = groupOf.get(source);
        if (its !== producer) enter(source, its);
        else if (!aligned && resolve(consumer, source, map) === "load") return true;
        if (!aligned && loadsOf(producer, source)) return true;
      }
      stack.push(...barriers);
    }
    while (stack.length > 0) {
      const node = stack.pop()!, its = groupOf.get(node);
      if (its === producer) return true;
      enter(node, its);
      // A search this long means that the two are far apart: not worth a long-lived kernel.
      if (seen > 400) return true;
    }
    return false;
  }

  /** Would merging run elementwise work that must be stored on too few rows to be parallel? */
  function serialises(
    producer: LoopGroup,
    consumer: LoopGroup,
    { space, reduced }: { space: Shape; reduced: readonly string[] },
    via: Node,
  ): boolean {
    const map = producer.reduced.length === 0 ? producer : consumer;
    if (reduced.length === 0 || sizeOf(space) <= 16384 || map.reduced.length > 0) return false;
    if (sizeOf(map.space) <= 16384) return false;
    const rows = sizeOf(without(space, reduced));
    // A reduction across memory (not along its last axis) walks columns: enough of them must be there to share out.
    const along = reduced.includes(axesOf(map.space).at(-1)!);
    if (rows >= (along ? 64 : 65536)) return false;
    const alone = (users.get(via) ?? []).every((user) => groupOf.get(user) === consumer) && !always.has(via);
    return !(map === producer && producer.nodes.length === 1 && alone);
  }

  /** Buffers that a node adds to a kernel's at most: an answer that spares the exact one for most groups. */
  function mostBindings(node: Node): number {
    return sources(node).read.reduce((most, { source }) => {
      const cost = costs.get(source) ?? 0;
      // What is computed again may load a buffer or two for each of its operations.
      return most + (cost <= inlineLimit ? 1 + 2 * cost : 1);
    }, 1);
  }

  /** Buffers a group would bind: what it loads and what it stores. */
  function bindings(each: LoopGroup): number {
    const bound = new Set<Node>();
    for (const node of each.nodes) {
      if (always.has(node) || (users.get(node) ?? []).some((user) => usedOutside(user, each))) bound.add(node);
    }
    visitLoads(each, each.nodes, (node) => bound.add(node));
    return bound.size;
  }

  function usedOutside(user: Node, own: LoopGroup): boolean {
    if (isView(user) || (free.has(user) && !groupOf.has(user))) {
      return (users.get(user) ?? []).some((next) => usedOutside(next, own));
    }
    return groupOf.get(user) !== own;
  }

  /**
   * A kernel that computes several nodes again, each from buffers of its own, may bind too many: the dearest of those
   * nodes is stored instead, until every kernel fits.
   */
  function limitBindings(): void {
    const most = limits.maxBindings, large = new Set<LoopGroup>();
    for (const each of groupOf.values()) if (each.kind === "loop" && each.most > most) large.add(each);
    /** The dearest node that a group computes again, if it binds too many buffers. */
    const dearest = new Map<LoopGroup, Node | undefined>();
    const computedBy = new Map<Node, Set<LoopGroup>>();
    const look = (each: LoopGroup): void => {
      const writes = each.nodes.filter((node) => stored.has(node)), bound = new Set(writes);
      const again = visitLoads(each, writes, (node) => bound.add(node));
      for (const node of again) (computedBy.get(node) ?? computedBy.set(node, new Set()).get(node)!).add(each);
      dearest.set(each, bound.size > most ? dearestOf(again) : undefined);
    };
    large.forEach(look);
    for (;;) {
      const worst = dearestOf([...large].flatMap((each) => dearest.get(each) ?? []));
      if (!worst) return;
      stored.add(worst);
      refuse("too many buffers to compute it where it is needed");
      // Only who computes again what is stored now, or is to store it, binds other buffers than before.
      const changed = new Set<LoopGroup>();
      for (const node of [worst, ...settleStorage([worst])]) {
        computedBy.get(node)?.forEach((each) => changed.add(each));
        const own = groupOf.get(node);
        if (own?.kind === "loop" && large.has(own)) changed.add(own);
      }
      changed.forEach(look);
    }
  }

  /** The first of the nodes that cost most. */
  function dearestOf(nodes: Iterable<Node>): Node | undefined {
    let dearest: Node | undefined;
    for (const node of nodes) if (!dearest || costs.get(node)! > costs.get(dearest)!) dearest = node;
    return dearest;
  }

  /**
   * Calls `load` for every node that computing `starts` reads from memory. Returns those of other kernels that are
   * computed again.
   */
  function visitLoads(own: LoopGroup, starts: readonly Node[], load: (node: Node) => void): Set<Node> {
    const seen = new Map<Node, IndexMap>(), more = new Map<Node, IndexMap[]>(), again = new Set<Node>();
    const walk = (node: Node, map: IndexMap): void => {
      const first = seen.get(node), others = first && more.get(node);
      if (first && sameMap(node.shape, map, first)) return;
      if (others?.some((other) => sameMap(node.shape, map, other))) return;
      if (others) others.push(map);
      else if (first) more.set(node, [map]);
      else seen.set(node, map);
      if (resolve(own, node, map) === "load") return load(node);
      if (groupOf.has(node) && groupOf.get(node) !== own && !free.has(node)) again.add(node);
      for (const [input, inner] of inputsOf(node, map)) walk(input, inner);
    };
    for (const start of starts) {
      for (const [input, inner] of inputsOf(start, identity(start.shape))) walk(input, inner);
    }
    for (const start of starts) if (start.op === "take") load(start.inputs[0]);
    return again;
  }

  /** Everything that some kernel reads and does not compute itself must be stored. Returns what that adds. */
  function settleStorage(start: Iterable<Node>): Node[] {
    const work = [...start], added: Node[] = [];
    while (work.length > 0) {
      const node = work.pop()!, own = groupOf.get(node);
      if (settled.has(node) || !own) continue;
      settled.add(node);
      if (own.kind !== "loop") continue;
      visitLoads(own, [node], (needed) => {
        if (!stored.has(needed)) {
          stored.add(needed);
          added.push(needed);
        }
        work.push(needed);
      });
    }
    return added;
  }
}

/** Inputs of a node that is computed at `map`, with their own indices. The first input of `take` is memory. */
export function inputsOf(node: Node, map: IndexMap): [Node, IndexMap][] {
  if (isAffineView(node)) return [[node.inputs[0], throughView(node, map)]];
  if (isOp(node, "take")) return [[node.inputs[1], map]];
  if (isOp(node, "pad")) {
    const { axis, before } = node.attributes;
    return [[node.inputs[0], moved(map, axis, -before)]];
  }
  if (isOp(node, "concat")) {
    const { axis } = node.attributes;
    let start = 0;
    return node.inputs.map((input) => {
      const here = moved(map, axis, -start);
      start += input.shape[axis];
      return [input, here];
    });
  }
  if (isOp(node, "flatten")) return [[node.inputs[0], misaligned(node.inputs[0].shape)]];
  if (isReduction(node)) return [[node.inputs[0], identity(node.inputs[0].shape)]];
  return node.inputs.map((input) => [input, map]);
}

/** The one space two groups can share, if there is one. */
function fit(producer: LoopGroup, consumer: LoopGroup): { space: Shape; reduced: readonly string[] } | undefined {
  const [p, c] = [producer, consumer];
  if (sameAxes(p.space, c.space)) {
    if (p.reduced.length === 0) return { space: c.space, reduced: c.reduced };
    if (c.reduced.length === 0) return { space: p.space, reduced: p.reduced };
    const equal = p.reduced.length === c.reduced.length && p.reduced.every((axis) => c.reduced.includes(axis));
    return equal ? { space: p.space, reduced: p.reduced } : undefined;
  }
  if (p.reduced.length === 0 && c.reduced.length > 0 && sameAxes(p.space, without(c.space, c.reduced))) {
    return { space: c.space, reduced: c.reduced };
  }
  if (c.reduced.length === 0 && p.reduced.length > 0 && sameAxes(c.space, without(p.space, p.reduced))) {
    return { space: p.space, reduced: p.reduced };
  }
  return undefined;
}

/** The node in memory behind a template's operand. */
function storedBase(node: Node): Node {
  let at = node;
  while (isView(at)) at = at.inputs[0];
  return at;
}

/** What barriers in front of a node wait for. */
export function barriersOf(node: Node): Node[] {
  const found: Node[] = [];
  for (let at = node; isAffineView(at); at = at.inputs[0]) if (at.op === "barrier") found.push(...at.inputs.slice(1));
  return found;
}

const pick = (shape: Shape, axes: readonly string[]): Shape =>
  Object.fromEntries(axes.map((axis) => [axis, shape[axis]]));
