/** @file A program's nodes by their places in it, for passes that walk over a large one many times. */
import type { Node } from "../node.ts";
import { NodeMap } from "./node_map.ts";

/** Which nodes a program's nodes are made of. */
export interface Wiring {
  /** A node's place in the order of their making. */
  readonly placeOf: (node: Node) => number;
  /** Places of inputs: those of the node at `place` stand from `first[place]` to before `first[place + 1]`. */
  readonly inputs: Int32Array;
  readonly first: Int32Array;
}

/** The wiring of nodes in the order of their making. */
export function wiringOf(order: readonly Node[]): Wiring {
  const places = new NodeMap<number>(order), first = new Int32Array(order.length + 1), inputs: number[] = [];
  for (let place = 0; place < order.length; place++) {
    places.set(order[place], place);
    for (const input of order[place].inputs) inputs.push(places.get(input)!);
    first[place + 1] = inputs.length;
  }
  return { placeOf: (node) => places.get(node)!, inputs: Int32Array.from(inputs), first };
}

/** The users of each node that has any, in order; one that uses it twice stands there twice. */
export function usersOf(order: readonly Node[]): NodeMap<Node[]> {
  const users = new NodeMap<Node[]>(order);
  for (const node of order) {
    for (const input of node.inputs) {
      const all = users.get(input);
      if (all) all.push(node);
      else users.set(input, [node]);
    }
  }
  return users;
}
