/**
 * @file Decides which nodes share a kernel.
 * In: a lowered program. Out: groups in which every node is computed once; a template (product, top-k, …) is a group
 * of its own, elementwise work and reductions over the same space are one group. No cycle between groups.
 */
import { ordered } from "../../dsl/build.ts";
import { isOp, type Node, topological } from "../../dsl/node.ts";
import type { TiledBody } from "../../dsl/primitives/tiled.ts";
import type { Shape } from "../../dsl/shape.ts";
import { isArgument, isReduction, isTemplate } from "./kinds.ts";
import { bindingsIn, limitRepetition, mostBindings } from "./grouping/bindings.ts";
import { factsOf } from "./grouping/facts.ts";
import { merge } from "./grouping/merge.ts";
import { loadVisitor, settle } from "./grouping/store.ts";
import { type IndexMap, isView } from "./views.ts";

/** Elementwise nodes and reductions that run as one kernel over `space`; `reduced` are its inner axes. */
export interface LoopGroup {
  readonly kind: "loop";
  /** Its number among all that grouping made. */
  readonly number: number;
  readonly nodes: readonly Node[];
  readonly space: Shape;
  readonly reduced: readonly string[];
  /** Smallest and largest number of its nodes. */
  readonly oldest: number;
  readonly youngest: number;
  /** It binds no more buffers than this. */
  readonly most: number;
  /** How nodes came together, for `explain`. */
  readonly merges: readonly Merge[];
  /** What could not come in, and why. */
  readonly refusals: Refusal[];
}

/** Two loops that became one, since a value of the one is used by the other in the same space. */
export interface Merge {
  readonly via: Node;
  readonly space: Shape;
}

/** A value that is made by another kernel, and why. */
export interface Refusal {
  readonly source: Node;
  readonly reason: string;
}

/** A node with a kernel template of its own. */
export interface TemplateGroup {
  readonly kind: "template";
  readonly number: number;
  readonly node: Node;
  /** That node alone. */
  readonly nodes: readonly Node[];
}

/** A loop over tiles; its nodes are its results. */
export interface TiledGroup {
  readonly kind: "tiled";
  readonly number: number;
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
  /** Its nodes, in the order of their making. */
  readonly order: readonly Node[];
  /** The group that computes a node. */
  readonly groupOf: Pick<ReadonlyMap<Node, Group>, "get" | "has">;
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

/** Cuts a program into kernels. */
export function group(roots: readonly Node[], limits: GroupLimits): Grouping & { readonly resolve: Resolver } {
  const order = topological(roots), facts = factsOf(roots, order, limits), { free, groupOf, resolve } = facts;
  const results = new Set(roots), refused = new Map<string, number>(), loops = new Map<TiledBody, TiledGroup>();
  const most = mostBindings(facts);
  let count = 0;
  for (const node of order) {
    if (isOp(node, "tiled")) {
      const { body } = node.attributes;
      const loop = loops.get(body) ?? { kind: "tiled", number: count++, body, inputs: node.inputs, nodes: [] };
      loops.set(body, loop);
      loop.nodes.push(node);
      groupOf.set(node, loop);
    } else if (isTemplate(node)) groupOf.set(node, { kind: "template", number: count++, node, nodes: [node] });
    else if (!isArgument(node) && !isView(node) && !free.has(node)) {
      const over = isReduction(node) ? node.attributes.over : [];
      const space = isReduction(node) ? { ...node.shape, ...ordered(node.inputs[0].shape, over) } : node.shape;
      groupOf.set(node, lone(node, count++, space, over, most(node)));
    } else if (free.has(node) && results.has(node)) groupOf.set(node, lone(node, count++, node.shape, [], most(node)));
  }
  const refuse = (reason: string, consumer?: LoopGroup, source?: Node): void => {
    refused.set(reason, (refused.get(reason) ?? 0) + 1);
    if (consumer && source) consumer.refusals.push({ source, reason });
  };
  const visitLoads = loadVisitor(facts);
  limitRepetition(facts, visitLoads, refuse);
  if (limits.fuse === "on") merge(facts, bindingsIn(facts, visitLoads), count, refuse);
  settle(facts, visitLoads);
  const stored = new Set(facts.storedNodes);
  const groups = [...new Set(order.map((node) => groupOf.get(node)).filter((each) => each !== undefined))]
    .filter((each) => each.kind !== "loop" || each.nodes.some((node) => stored.has(node)));
  return { roots, order, groupOf, stored, groups, refused, resolve };
}

/** The loop that computes one node. */
function lone(node: Node, number: number, space: Shape, reduced: readonly string[], most: number): LoopGroup {
  const { id } = node;
  return {
    kind: "loop",
    number,
    nodes: [node],
    space,
    reduced,
    oldest: id,
    youngest: id,
    most,
    merges: [],
    refusals: [],
  };
}
