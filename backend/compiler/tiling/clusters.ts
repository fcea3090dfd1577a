/**
 * @file Finds what `tile` puts into loops: large products, the elementwise work on them, and the reductions and
 * products that make them small again.
 */
import { primitiveOf } from "../../../dsl/build.ts";
import { NodeMap, type NodeSet } from "../../../dsl/graph/node_map.ts";
import { usersOf, type Wiring, wiringOf } from "../../../dsl/graph/wiring.ts";
import { isHalf } from "../../../dsl/half.ts";
import { isOp, type Node } from "../../../dsl/node.ts";
import { axesOf, sizeOf } from "../../../dsl/shape.ts";
import { freeNodes } from "../grouping/costs.ts";
import { isArgument, isReduction, isTemplate } from "../kinds.ts";
import { isAffineView } from "../views.ts";

/** Large values that belong together. */
export interface Cluster {
  /** Large products: what is not to be stored. */
  readonly seeds: readonly Node<"contract">[];
  /** They, and the elementwise work on them. */
  readonly large: ReadonlySet<Node>;
  /** Reductions and products of large values. */
  readonly exits: ReadonlySet<Node>;
  /** Axes that a loop may cut into tiles, the best first: those that need no adding up, outer ones before inner ones. */
  readonly axes: readonly string[];
  /** What leaves the cluster, by phase: a later phase needs, by way of other work, what an earlier one gives. */
  readonly phases: readonly (readonly Node[])[];
  /** Does the loop of a phase compute this node itself, for a tile (along `cut`, if the node has the loop's axis)? */
  readonly computes: (node: Node, phase: number, cut: string | undefined) => boolean;
  /** What a node is to the cluster, as `Structures.part` asks: clusters of equal parts are cut into tiles alike. */
  readonly role: (node: Node) => number;
}

/** A product is computed again in a later phase if each element takes at most this many multiplications. */
const cheapDepth = 256;
/** A product is large if it has this many times the elements of what it is made of, weights not counted. */
const growth = 5;

/** The clusters of a program. `order`: its nodes, inputs first. */
export function clustersOf(roots: readonly Node[], order: readonly Node[], largeBytes: number): Cluster[] {
  const isRoot = new Set(roots), users = usersOf(order), free = freeNodes(order);
  const wiring = wiringOf(order);
  const clusters: Cluster[] = [];
  for (const large of components(order, largeBytes)) {
    const cluster = clusterOf(large, order, wiring, users, isRoot, free);
    if (cluster) clusters.push(cluster);
  }
  return clusters;
}

const isSeed = (node: Node, largeBytes: number): node is Node<"contract"> =>
  isOp(node, "contract") && node.dtype === "f32" && 4 * sizeOf(node.shape) > largeBytes &&
  node.inputs.every((input) => isArgument(storedAs(input)) || sizeOf(node.shape) >= growth * sizeOf(input.shape));

const baseOf = (node: Node): Node => isAffineView(node) ? baseOf(node.inputs[0]) : node;

/** Weights of 16 bits as f32: products read them as they are stored, so that this takes no memory. */
const isWidening = (node: Node): boolean => isOp(node, "cast") && isHalf(node.inputs[0].dtype) && node.dtype === "f32";

/** What a product reads. */
const storedAs = (node: Node): Node => {
  const base = baseOf(node);
  return isWidening(base) ? baseOf(base.inputs[0]) : base;
};

/** Same elements, one by one: scalar operations, and views that only repeat, reorder or wait. */
const isElementwise = (node: Node): boolean =>
  isOp(node, "expand") || isOp(node, "barrier") ||
  (node.inputs.length > 0 && primitiveOf(node.op).lower !== undefined && !isReduction(node) && node.op !== "copy");

/** Seeds and the elementwise work on them, as connected sets. */
function components(order: readonly Node[], largeBytes: number): Set<Node>[] {
  const parent = new NodeMap<Node>(order);
  const find = (node: Node): Node => {
    let at = node;
    while (parent.get(at) !== at) at = parent.get(at)!;
    parent.set(node, at);
    return at;
  };
  for (const node of order) {
    if (isSeed(node, largeBytes)) parent.set(node, node);
    else if (node.inputs.some((input) => parent.has(input)) && isElementwise(node)) {
      const from = node.inputs.filter((input) => parent.has(input));
      parent.set(node, node);
      for (const input of from) parent.set(find(input), node);
    }
  }
  const sets = new Map<Node, Set<Node>>();
  for (const node of order) {
    if (!parent.has(node)) continue;
    const root = find(node);
    (sets.get(root) ?? sets.set(root, new Set()).get(root)!).add(node);
  }
  return [...sets.values()];
}

/** The cluster around large values, if a loop can hold them. */
function clusterOf(
  large: ReadonlySet<Node>,
  order: readonly Node[],
  wiring: Wiring,
  users: NodeMap<Node[]>,
  isRoot: ReadonlySet<Node>,
  free: NodeSet,
): Cluster | undefined {
  const seeds = [...large].filter((node) => isOp(node, "contract")) as unknown as Node<"contract">[];
  const exits = new Set<Node>();
  for (const node of large) {
    if (isRoot.has(node)) return undefined;
    for (const user of users.get(node) ?? []) {
      if (large.has(user)) continue;
      if (!isOp(user, "contract") && !isReduction(user)) return undefined;
      exits.add(user);
    }
  }
  if (exits.size === 0) return undefined;
  const between = nodesBetween(large, exits), levels = levelsOf(order, wiring, large, exits, between);
  const isInside = (node: Node): boolean => large.has(node) || exits.has(node) || between.has(node);
  const last = Math.max(...[...exits].map((exit) => levels.get(exit)!));
  const until = lastPhases();
  const leaves = (exit: Node): boolean => isUsedOutside(exit) || until.get(exit)! > levels.get(exit)!;
  const phases = Array.from(
    { length: last + 1 },
    (_, phase) => [...exits].filter((exit) => levels.get(exit) === phase && leaves(exit)),
  );
  const again = seeds.filter((seed) => until.get(seed)! > levels.get(seed)!);
  if (again.some((seed) => depthOf(seed) > cheapDepth)) return undefined;

  const computes = (node: Node, phase: number, cut: string | undefined): boolean => {
    if (large.has(node) || between.has(node)) return true;
    if (exits.has(node)) return levels.get(node) === phase;
    if (isOp(node, "expand") || isOp(node, "rename") || isOp(node, "stop")) return true;
    if (isWidening(node)) return isArgument(storedAs(node));
    if (isOp(node, "slice")) return cut !== node.attributes.axis;
    return isElementwise(node) && (free.has(node) || isSpread(node));
  };
  // Loops look through elementwise work and views outside of the cluster (a mask), never further than to what is stored.
  const role = (node: Node): number => {
    if (large.has(node)) return 2;
    if (exits.has(node)) return 4 + 2 * levels.get(node)! + Number(leaves(node));
    if (between.has(node)) return 3;
    return Number(!isArgument(node) && !isTemplate(node) && !isReduction(node) && node.op !== "take");
  };
  return { seeds, large, exits, axes: axesFor(), phases, computes, role };

  function isUsedOutside(node: Node): boolean {
    return isRoot.has(node) ||
      (users.get(node) ?? []).some((user) => !isInside(user) || (between.has(user) && isUsedOutside(user)));
  }

  /** The last phase that needs each node: large and small values are computed again, exits are stored. */
  function lastPhases(): Map<Node, number> {
    const until = new Map<Node, number>();
    const nodes = [...large, ...exits, ...between].sort((a, b) => b.id - a.id);
    for (const node of nodes) {
      const inside = (users.get(node) ?? []).filter(isInside);
      const needed = inside.map((user) => exits.has(user) ? levels.get(user)! : until.get(user)!);
      until.set(node, Math.max(levels.get(node)!, ...needed));
    }
    return until;
  }

  /** Axes of all large values along which every exit is kept, or is a plain sum that nothing in the loop needs. */
  function axesFor(): string[] {
    const common = axesOf(seeds[0].shape).filter((axis) => [...large].every(({ shape }) => axis in shape));
    const added = (axis: string): Node[] => [...exits].filter(({ shape }) => !(axis in shape));
    const summable = (exit: Node): boolean =>
      (isOp(exit, "contract") || isOp(exit, "sum")) &&
      (users.get(exit) ?? []).every((user) => !isInside(user) || levels.get(user) !== levels.get(exit));
    const extent = (axis: string): number => seeds[0].shape[axis];
    return common.filter((axis) =>
      extent(axis) > 1 && added(axis).every(summable) && [...between].every(({ shape }) => axis in shape)
    ).sort((a, b) => Math.sign(added(a).length) - Math.sign(added(b).length));
  }
}

/** Is it made of much smaller values, as a mask is? Then it is computed where it is needed, not stored. */
const isSpread = (node: Node): boolean =>
  isElementwise(node) && node.inputs.every((input) => {
    const base = baseOf(input);
    return base.op === "constant" || base.op === "iota" || 4 * sizeOf(base.shape) <= sizeOf(node.shape) ||
      isSpread(base);
  });

const depthOf = ({ attributes: { over }, inputs: [x] }: Node<"contract">): number =>
  over.reduce((depth, axis) => depth * x.shape[axis], 1);

/** Elementwise work by which an exit's values come back to large ones: softmax's normaliser, its gradient's sum. */
function nodesBetween(large: ReadonlySet<Node>, exits: ReadonlySet<Node>): Set<Node> {
  const reaches = new Map<Node, boolean>();
  const visit = (start: Node): void => {
    const stack = [start];
    while (stack.length > 0) {
      const node = stack[stack.length - 1];
      if (reaches.has(node)) {
        stack.pop();
        continue;
      }
      if (large.has(node) || exits.has(node) || !isElementwise(node)) {
        reaches.set(node, exits.has(node));
        stack.pop();
        continue;
      }
      const open = node.inputs.filter((input) => !reaches.has(input));
      if (open.length > 0) stack.push(...open);
      else {
        reaches.set(node, node.inputs.some((input) => reaches.get(input)));
        stack.pop();
      }
    }
  };
  for (const node of large) {
    if (isOp(node, "contract")) continue;
    for (const input of node.inputs) if (!large.has(input)) visit(input);
  }
  return new Set([...reaches].filter(([node, found]) => found && !exits.has(node)).map(([node]) => node));
}

/** For every node of the cluster, how often the way to it has left the cluster and come back. */
function levelsOf(
  order: readonly Node[],
  { placeOf, inputs, first }: Wiring,
  large: ReadonlySet<Node>,
  exits: ReadonlySet<Node>,
  between: ReadonlySet<Node>,
): ReadonlyMap<Node, number> {
  const inside = new Set([...large, ...exits, ...between]), places = [...inside].map(placeOf);
  const start = places.reduce((a, b) => Math.min(a, b)), end = places.reduce((a, b) => Math.max(a, b));
  // From the cluster's first node to its last: is it of the cluster, and its level (one more; 0: no way leads to it).
  const within = new Uint8Array(end - start + 1), levels = new Int32Array(end - start + 1);
  for (const place of places) within[place - start] = 1;
  for (let place = start; place <= end; place++) {
    const own = within[place - start];
    let level = own;
    for (let i = first[place]; i < first[place + 1]; i++) {
      const input = inputs[i] - start;
      if (input >= 0 && levels[input] > 0) level = Math.max(level, levels[input] + (own ? 0 : within[input]));
    }
    levels[place - start] = level;
  }
  return new Map(places.map((place) => [order[place], levels[place - start] - 1]));
}
