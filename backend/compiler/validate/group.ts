/**
 * @file Checks what `group` made: every value is computed by one kernel, kernels need each other in no circle, and
 * what crosses from one to another lies in memory.
 */
import { type Node, topological } from "../../../dsl/node.ts";
import { type Group, type Grouping, isArgument, isReduction, isTemplate } from "../group.ts";
import { fault } from "./fault.ts";

const membersOf = (group: Group): readonly Node[] => group.kind === "template" ? [group.node] : [...group.nodes];

/** A grouping of a lowered program. @throws Error that names the first value that is wrong */
export function validateGrouping(grouping: Grouping): void {
  const { roots, groupOf, stored, groups } = grouping, order = topological(roots), owners = new Map<Node, Group>();
  for (const group of groups) {
    for (const node of membersOf(group)) {
      if (owners.has(node)) fault("group", node, "is computed by two kernels");
      if (groupOf.get(node) !== group) fault("group", node, "stands in a kernel that is not its own");
      owners.set(node, group);
      if (group.kind === "loop") validateMember(node, group);
    }
    if (group.kind === "template" && !isTemplate(group.node)) fault("group", group.node, "has no template");
  }
  for (const root of roots) if (!stored.has(root)) fault("group", root, "is a result that nothing stores");
  for (const node of order) {
    if (isArgument(node)) {
      if (groupOf.has(node)) fault("group", node, "is given from outside, yet a kernel computes it");
    } else if (stored.has(node) && !owners.has(node)) fault("group", node, "is stored, but no kernel computes it");
  }
  validateOrder(grouping);
}

/** Does a node fit into the loop that computes it? */
function validateMember(node: Node, { space, reduced }: Extract<Group, { kind: "loop" }>): void {
  const read = isReduction(node) ? node.inputs[0].shape : node.shape;
  const foreign = Object.keys(read).find((axis) => read[axis] !== 1 && space[axis] !== read[axis]);
  if (foreign !== undefined) fault("group", node, `has axis "${foreign}", which its loop lacks or has in another size`);
  if (!isReduction(node)) return;
  const kept = node.attributes.over.find((axis) => node.inputs[0].shape[axis] !== 1 && !reduced.includes(axis));
  if (kept !== undefined) fault("group", node, `goes over axis "${kept}", which is no inner axis of its loop`);
}

/** Kernels whose stored values a kernel reads, each with the value for which it does. */
function needsOf(group: Group, { groupOf, stored }: Grouping): Map<Group, Node> {
  const needs = new Map<Group, Node>(), seen = new Set<Node>();
  for (const root of membersOf(group).filter((node) => stored.has(node))) {
    const stack = [root];
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

/** No kernel may need, through others, what it makes itself. */
function validateOrder(grouping: Grouping): void {
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
      } else if (state.get(next[0]) === "open") fault("group", next[1], "is part of a kernel that waits for itself");
      else if (!state.has(next[0])) enter(next[0]);
    }
  }
}
