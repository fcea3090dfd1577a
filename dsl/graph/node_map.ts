/**
 * @file What is known of a program's nodes, found by their numbers: as `Map` and `Set`, but without hashing, which is
 * most of the time of a pass over a large program.
 */
import type { Node } from "../node.ts";

/** Numbers between a program's first and last node, for each of its nodes, that a table makes room for. */
const sparsest = 16;

/** Places of a program's nodes in the order of their making, by node. */
interface Places {
  /** The first number in the table: leaves that are much older than all others are not in it. */
  readonly first: number;
  /** By number: the place, plus one (0: none). Few bytes that stay in the cache, however many tables use them. */
  readonly table: Int32Array;
}

const placesOf = new WeakMap<readonly Node[], Places>();

/** Places in a program of nodes in the order of their making. */
function places(order: readonly Node[]): Places {
  const known = placesOf.get(order);
  if (known) return known;
  const last = order.length - 1;
  let oldest = 0;
  while (oldest < last && order[last].id - order[oldest].id > sparsest * (last - oldest + 64)) oldest++;
  const first = last < 0 ? 0 : order[oldest].id, table = new Int32Array(last < 0 ? 0 : order[last].id - first + 1);
  for (let place = oldest; place <= last; place++) table[order[place].id - first] = place + 1;
  const made = { first, table };
  placesOf.set(order, made);
  return made;
}

/** Values by node. Any node can be a key; those of one program are found fast. */
export class NodeMap<V> {
  private readonly first: number;
  private readonly table: Int32Array;
  private readonly values: (V | undefined)[];
  private readonly others: Map<Node, V> = new Map<Node, V>();

  /** An empty table for the nodes of a program, in the order of their making. */
  constructor(order: readonly Node[], entries: Iterable<readonly [Node, V]> = []) {
    const { first, table } = places(order);
    this.first = first;
    this.table = table;
    this.values = new Array(order.length + 1).fill(undefined);
    for (const [node, value] of entries) this.set(node, value);
  }

  /** A node's value, if it has one. */
  get(node: Node): V | undefined {
    const at = node.id - this.first, place = at >= 0 && at < this.table.length ? this.table[at] : 0;
    return place > 0 ? this.values[place] : this.others.get(node);
  }

  /** Has a node a value (other than undefined)? */
  has(node: Node): boolean {
    return this.get(node) !== undefined;
  }

  /** Gives a node a value. */
  set(node: Node, value: V): this {
    const at = node.id - this.first, place = at >= 0 && at < this.table.length ? this.table[at] : 0;
    if (place > 0) this.values[place] = value;
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
