/**
 * @file Searches for paths between groups: tens of thousands over a large program. Nodes and groups are numbers here,
 * and what is known of them lies in arrays.
 */
import { NodeMap } from "../../../dsl/graph/node_map.ts";
import type { Node } from "../../../dsl/node.ts";
import type { LoopGroup } from "../group.ts";
import type { Facts } from "./facts.ts";

/** A search gives up after so many nodes and groups. */
const longestSearch = 400;

/** Paths between the groups of a program. */
export interface Paths {
  /**
   * Does a path lead from a group to another that reads it, through what is in neither? Yes, too, where the search took
   * long: the two are far apart then, and not worth a long-lived kernel.
   */
  readonly lead: (producer: LoopGroup, consumer: LoopGroup) => boolean;
  /** Told of each group that two others became. */
  readonly merged: (group: LoopGroup) => void;
}

/** What a node waits for, by places in the program's order. */
interface Needs {
  readonly read: readonly number[];
  readonly barriers: readonly number[];
}

/** Paths in a program of groups with numbers below `count`; those that are merged have the next numbers. */
export function pathsIn({ order, limits: { thorough = false }, groupOf, sourcesOf }: Facts, count: number): Paths {
  const placeOf = new NodeMap<number>(order), place = (node: Node): number => placeOf.get(node)!;
  order.forEach((node, at) => placeOf.set(node, at));
  // By place of a node: its number, its group (−1: none), its inputs (one node's after the other's), what it waits for,
  // and the last search that came by.
  const ids = Int32Array.from(order, ({ id }) => id), firstInput = new Int32Array(order.length + 1);
  const groupAt = Int32Array.from(order, (node) => groupOf.get(node)?.number ?? -1);
  const inputs: number[] = [], needs: (Needs | undefined)[] = [], nodeSeen = new Int32Array(order.length);
  order.forEach((node, at) => {
    for (const input of node.inputs) inputs.push(place(input));
    firstInput[at + 1] = inputs.length;
  });
  // By number of a group: its nodes, what they need from outside, the number of its youngest node if it is a loop (else
  // −1), the last group that met it among what it needs, and the last search that came by. A merge makes one of two.
  const most = 2 * count, members: (readonly number[])[] = [], outside: (readonly number[] | undefined)[] = [];
  const youngest = new Int32Array(most).fill(-1), metBy = new Int32Array(most).fill(-1);
  const groupSeen = new Int32Array(most);
  let searches = 0;
  for (const node of order) {
    const group = groupOf.get(node);
    if (!group || members[group.number]) continue;
    members[group.number] = group.nodes.map(place);
    if (group.kind === "loop") youngest[group.number] = group.youngest;
  }

  function needsOf(at: number): Needs {
    const known = needs[at];
    if (known) return known;
    const { read, barriers } = sourcesOf(order[at]);
    return needs[at] = { read: read.map(({ source }) => place(source)), barriers: barriers.map(place) };
  }

  /** Each node, or one node of each loop, that a group needs from outside. */
  function outsideOf(group: number): readonly number[] {
    const known = outside[group];
    if (known) return known;
    const made: number[] = [];
    for (const at of members[group]) {
      for (let i = firstInput[at]; i < firstInput[at + 1]; i++) {
        const from = groupAt[inputs[i]];
        if (from === group) continue;
        // Whoever comes by a loop comes by all of it, now and when it has grown.
        if (from >= 0 && youngest[from] >= 0) {
          if (metBy[from] === group) continue;
          metBy[from] = group;
        }
        made.push(inputs[i]);
      }
    }
    return outside[group] = made;
  }

  return {
    merged: (group) => {
      const places = group.nodes.map(place);
      members[group.number] = places;
      youngest[group.number] = group.youngest;
      for (const at of places) groupAt[at] = group.number;
    },
    lead: ({ number: producer, oldest }, { number: consumer }) => {
      const search = ++searches, stack: number[] = [];
      let seen = 0;
      /** Goes on from a node's group, or from the node; what is older than the producer rarely waits for it. */
      const enter = (at: number): void => {
        const group = groupAt[at];
        // Where what is older did wait, `circleIn` finds out and all is searched.
        const isOlder = group >= 0 && youngest[group] >= 0 ? youngest[group] < oldest : ids[at] < oldest;
        if (isOlder && !thorough) return;
        if (group < 0) {
          if (nodeSeen[at] === search) return;
          nodeSeen[at] = search;
          for (let i = firstInput[at]; i < firstInput[at + 1]; i++) stack.push(inputs[i]);
        } else {
          if (group === consumer || groupSeen[group] === search) return;
          groupSeen[group] = search;
          for (const each of outsideOf(group)) stack.push(each);
        }
        seen++;
      };
      for (const member of members[consumer]) {
        const { read, barriers } = needsOf(member);
        for (const at of read) if (groupAt[at] !== producer) enter(at);
        for (const at of barriers) stack.push(at);
      }
      while (stack.length > 0) {
        const at = stack.pop()!;
        if (groupAt[at] === producer) return true;
        enter(at);
        if (seen > longestSearch) return true;
      }
      return false;
    },
  };
}
