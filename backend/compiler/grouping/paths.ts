/**
 * @file Searches for paths between groups: tens of thousands over a large program. Nodes and groups are numbers here,
 * and what is known of them lies in arrays.
 */
import { wiringOf } from "../../../dsl/graph/wiring.ts";
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
  /** Told of each group that took in another. */
  readonly merged: (whole: LoopGroup, part: LoopGroup) => void;
}

/** What a node waits for, by places in the program's order. */
interface Needs {
  readonly read: readonly number[];
  readonly barriers: readonly number[];
}

/** Paths in a program of groups with numbers below `count`. */
export function pathsIn({ order, limits: { thorough = false }, groupOf, sourcesOf }: Facts, count: number): Paths {
  const { placeOf, inputs, first } = wiringOf(order);
  // By place of a node: its number, its group (−1: none), what it waits for, and the last search that came by.
  const ids = new Int32Array(order.length), groupAt = new Int32Array(order.length);
  const needs: (Needs | undefined)[] = [], nodeSeen = new Int32Array(order.length);
  order.forEach((node, place) => {
    ids[place] = node.id;
    groupAt[place] = groupOf.get(node)?.number ?? -1;
  });
  // By number of a group: its nodes, what they need from outside, the number of its youngest node if it is a loop (else
  // −1), the last list of such needs that it is in, and the last search that came by.
  const members: number[][] = [], outside: (readonly number[] | undefined)[] = [];
  const youngest = new Int32Array(count).fill(-1), listed = new Int32Array(count), groupSeen = new Int32Array(count);
  let lists = 0;
  for (const node of order) {
    const group = groupOf.get(node);
    if (!group || members[group.number]) continue;
    members[group.number] = group.nodes.map(placeOf);
    if (group.kind === "loop") youngest[group.number] = group.youngest;
  }

  function needsOf(at: number): Needs {
    const known = needs[at];
    if (known) return known;
    const { read, barriers } = sourcesOf(order[at]);
    return needs[at] = { read: read.map(({ source }) => placeOf(source)), barriers: barriers.map(placeOf) };
  }

  /** Each node, or one node of each loop, that a group needs from outside. */
  function outsideOf(group: number): readonly number[] {
    const known = outside[group];
    if (known) return known;
    const made: number[] = [], list = ++lists;
    for (const at of members[group]) {
      for (let i = first[at]; i < first[at + 1]; i++) {
        const from = groupAt[inputs[i]];
        if (from === group) continue;
        // Whoever comes by a loop comes by all of it, now and when it has grown.
        if (from >= 0 && youngest[from] >= 0) {
          if (listed[from] === list) continue;
          listed[from] = list;
        }
        made.push(inputs[i]);
      }
    }
    return outside[group] = made;
  }

  // The search in progress: its number, where it goes from and to, what it came by (nodes, and ~group) and has yet to go
  // on from (so many are waiting), and how much it has seen.
  const stack = new Int32Array(order.length + count);
  let waiting = 0, search = 0, producer = 0, consumer = 0, oldest = 0, seen = 0, found = false;

  /** Comes by a node: goes on from its group, or from the node. What is older than the producer rarely waits for it. */
  function enter(at: number): void {
    const group = groupAt[at];
    if (group === producer) found = true;
    else if (group < 0) {
      if (nodeSeen[at] === search || (ids[at] < oldest && !thorough)) return;
      nodeSeen[at] = search;
      seen++;
      stack[waiting++] = at;
    } else if (group !== consumer && groupSeen[group] !== search) {
      // Where what is older did wait, `circleIn` finds out and all is searched.
      if ((youngest[group] >= 0 ? youngest[group] : ids[at]) < oldest && !thorough) return;
      groupSeen[group] = search;
      seen++;
      stack[waiting++] = ~group;
    }
  }

  return {
    merged: ({ number: whole, youngest: last }, { number: part }) => {
      for (const at of members[part]) {
        members[whole].push(at);
        groupAt[at] = whole;
      }
      youngest[whole] = last;
      outside[whole] = undefined;
    },
    lead: (from, to) => {
      search++;
      producer = from.number;
      consumer = to.number;
      oldest = from.oldest;
      seen = 0;
      found = false;
      waiting = 0;
      for (const member of members[consumer]) {
        const { read, barriers } = needsOf(member);
        for (const at of read) if (groupAt[at] !== producer) enter(at);
        // What a barrier waits for may be made in the same kernel: then nothing comes before it either.
        for (const at of barriers) if (groupAt[at] !== producer) enter(at);
      }
      while (!found && waiting > 0 && seen <= longestSearch) {
        const next = stack[--waiting];
        if (next < 0) { for (const at of outsideOf(~next)) enter(at); }
        else for (let i = first[next]; i < first[next + 1]; i++) enter(inputs[i]);
      }
      return found || seen > longestSearch;
    },
  };
}
