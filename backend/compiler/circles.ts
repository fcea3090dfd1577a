/** @file Finds kernels that wait for each other in a circle: no order of them could be run. */
import type { Node } from "../../dsl/node.ts";
import { isArgument } from "./costs.ts";
import type { Group, Grouping } from "./group.ts";

/** Kernels whose stored values a kernel reads, each with the value for which it does. */
function needsOf(group: Group, { groupOf, stored }: Grouping): Map<Group, Node> {
  const needs = new Map<Group, Node>(), seen = new Set<Node>(), stack: Node[] = [];
  for (const root of group.nodes) {
    if (!stored.has(root)) continue;
    stack.push(root);
    while (stack.length > 0) {
      for (const input of stack.pop()!.inputs) {
        const owner = groupOf.get(input);
        // What another kernel stores is read there; everything else is computed where it is needed.
        if (owner && owner !== group && stored.has(input)) {
          if (!needs.has(owner)) needs.set(owner, root);
        } else if (!seen.has(input) && !isArgument(input)) {
          seen.add(input);
          stack.push(input);
        }
      }
    }
  }
  return needs;
}

/** A value for which a kernel waits, through others, for itself; undefined where no kernel does. */
export function circleIn(grouping: Grouping): Node | undefined {
  const needs = new Map(grouping.groups.map((group) => [group, needsOf(group, grouping)]));
  const state = new Map<Group, "open" | "done">();
  const stack: { group: Group; rest: [Group, Node][] }[] = [];
  const enter = (group: Group): void => {
    state.set(group, "open");
    stack.push({ group, rest: [...needs.get(group) ?? []] });
  };
  for (const start of needs.keys()) {
    if (!state.has(start)) enter(start);
    while (stack.length > 0) {
      const { group, rest } = stack[stack.length - 1], next = rest.pop();
      if (!next) {
        state.set(group, "done");
        stack.pop();
      } else if (state.get(next[0]) === "open") return next[1];
      else if (!state.has(next[0])) enter(next[0]);
    }
  }
  return undefined;
}
