/**
 * @file What is known of a program's nodes, found by their numbers: as `Map` and `Set`, but without hashing, which is
 * most of the time of a pass over a large program.
 */
import type { Node } from "../node.ts";

/** Numbers between a program's first and last node, for each of its nodes, that tables make room for. */
const sparsest = 16;

/**
 * Numbers from which on a table serves. A program's nodes are made one after the other; leaves that are much older
 * than all others are left to a map.
 */
function firstOf(order: readonly Node[]): number {
  const last = order.length - 1;
  if (last < 0) return 0;
  let first = 0;
  while (order[last].id - order[first].id > sparsest * (last - first + 64)) first++;
  return order[first].id;
}

/** Values by node. Any node can be a key; those of one program are found fast. */
export class NodeMap<V> {
  private readonly first: number;
  private readonly values: (V | undefined)[];
  private readonly others: Map<Node, V> = new Map<Node, V>();

  /** An empty table for the nodes of a program, in the order of their making. */
  constructor(order: readonly Node[], entries: Iterable<readonly [Node, V]> = []) {
    this.first = firstOf(order);
    this.values = new Array(order.length > 0 ? order[order.length - 1].id - this.first + 1 : 0).fill(undefined);
    for (const [node, value] of entries) this.set(node, value);
  }

  /** A node's value, if it has one. */
  get(node: Node): V | undefined {
    const at = node.id - this.first;
    return at >= 0 && at < this.values.length ? this.values[at] : this.others.get(node);
  }

  /** Has a node a value (other than undefined)? */
  has(node: Node): boolean {
    return this.get(node) !== undefined;
  }

  /** Gives a node a value. */
  set(node: Node, value: V): this {
    const at = node.id - this.first;
    if (at >= 0 && at < this.values.length) this.values[at] = value;
    else this.others.set(node, value);
    return this;
  }
}

/** A set of nodes. */
export class NodeSet {
  private readonly members: NodeMap<true>;

  /** An empty set of nodes of a program, in the order of their making; `nodes` are put into it. */
  constructor(order: readonly Node[], nodes: Iterable<Node> = []) {
    this.members = new NodeMap<true>(order);
    for (const node of nodes) this.add(node);
  }

  /** Is a node in it? */
  has(node: Node): boolean {
    return this.members.has(node);
  }

  /** Puts a node into it. */
  add(node: Node): this {
    this.members.set(node, true);
    return this;
  }
}
