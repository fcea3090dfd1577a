/** @file Finds kernels that wait for each other in a circle: no order of them could be run. */
import { NodeMap } from "../../../dsl/graph/node_map.ts";
import type { Node } from "../../../dsl/node.ts";
import { isArgument } from "../kinds.ts";
import type { Group, Grouping } from "../group.ts";

/** A kernel that another one reads, and the value of that other for which it does. */
type Need = readonly [kernel: Group, value: Node];

/** Tells whose stored values a kernel reads. It is to be asked once for each kernel. */
function needsIn({ order, groups, groupOf, stored }: Grouping): (group: Group) => Need[] {
  // By node and by number of a kernel: the last kernel that came by.
  const seen = new NodeMap<number>(order), met = new Int32Array(countOf(groups)).fill(-1), stack: Node[] = [];
  return (group) => {
    const needs: Need[] = [];
    for (const root of group.nodes) {
      if (!stored.has(root)) continue;
      stack.push(root);
      while (stack.length > 0) {
        for (const input of stack.pop()!.inputs) {
          const owner = groupOf.get(input);
          // What another kernel stores is read there; everything else is computed where it is needed.
          if (owner && owner !== group && stored.has(input)) {
            if (met[owner.number] !== group.number) needs.push([owner, root]);
            met[owner.number] = group.number;
          } else if (seen.get(input) !== group.number && !isArgument(input)) {
            seen.set(input, group.number);
            stack.push(input);
          }
        }
      }
    }
    return needs;
  };
}

/** More than any kernel's number. */
const countOf = (groups: readonly Group[]): number =>
  groups.reduce((most, { number }) => Math.max(most, number + 1), 0);

/** How far the search for a circle has come with a kernel. */
const unknown = 0, open = 1, done = 2;

/** A value for which a kernel waits, through others, for itself; undefined where no kernel does. */
export function circleIn(grouping: Grouping): Node | undefined {
  const needsOf = needsIn(grouping), state = new Uint8Array(countOf(grouping.groups));
  const stack: { group: Group; rest: Need[] }[] = [];
  const enter = (group: Group): void => {
    state[group.number] = open;
    stack.push({ group, rest: needsOf(group) });
  };
  for (const start of grouping.groups) {
    if (state[start.number] === unknown) enter(start);
    while (stack.length > 0) {
      const { group, rest } = stack[stack.length - 1], next = rest.pop();
      if (!next) {
        state[group.number] = done;
        stack.pop();
      } else if (state[next[0].number] === open) return next[1];
      else if (state[next[0].number] === unknown) enter(next[0]);
    }
  }
  return undefined;
}
