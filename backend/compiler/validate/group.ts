/**
 * @file Checks what `group` made: every value is computed by one kernel, kernels need each other in no circle, and
 * what crosses from one to another lies in memory.
 */
import { type Node, topological } from "../../../dsl/node.ts";
import { type Group, type Grouping, isArgument, isReduction, isTemplate } from "../group.ts";
import { isView } from "../views.ts";
import { fault } from "./fault.ts";

const membersOf = (group: Group): readonly Node[] => group.kind === "template" ? [group.node] : [...group.nodes];

/** A grouping of a lowered program. @throws Error that names the first value that is wrong */
export function validateGrouping({ roots, groupOf, stored, groups }: Grouping): void {
  const order = topological(roots), owners = new Map<Node, Group>();
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
  validateOrder(order, groupOf);
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

/** No kernel may need, through others, what it makes itself. */
function validateOrder(order: readonly Node[], groupOf: ReadonlyMap<Node, Group>): void {
  // Which kernels a value outside of all kernels (a view, a counter) is made of.
  const sources = new Map<Node, ReadonlySet<Group>>(), needs = new Map<Group, Map<Group, Node>>();
  for (const node of order) {
    const own = groupOf.get(node), from = new Set<Group>();
    for (const input of node.inputs) {
      const made = groupOf.get(input);
      for (const group of made && !isView(input) ? [made] : sources.get(input) ?? []) from.add(group);
    }
    sources.set(node, from);
    if (!own) continue;
    const known = needs.get(own) ?? needs.set(own, new Map()).get(own)!;
    for (const group of from) if (group !== own && !known.has(group)) known.set(group, node);
  }
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
