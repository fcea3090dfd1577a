/**
 * @file Checks what `group` made: every value is computed by one kernel, kernels need each other in no circle, and
 * what crosses from one to another lies in memory.
 */
import { type Node, topological } from "../../../dsl/node.ts";
import { circleIn } from "../circles.ts";
import { isArgument, isReduction, isTemplate } from "../costs.ts";
import type { Group, Grouping } from "../group.ts";
import { fault } from "./fault.ts";

/** A grouping of a lowered program. @throws Error that names the first value that is wrong */
export function validateGrouping(grouping: Grouping): void {
  const { roots, groupOf, stored, groups } = grouping, order = topological(roots), owners = new Map<Node, Group>();
  for (const group of groups) {
    for (const node of group.nodes) {
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
  const circle = circleIn(grouping);
  if (circle) fault("group", circle, "is part of a kernel that waits for itself");
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
