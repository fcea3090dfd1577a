/**
 * @file Checks what `group` made: every value is computed by one kernel, kernels need each other in no circle, what
 * crosses from one to another lies in memory, and no kernel needs more buffers than the device binds.
 */
import { type Node, topological } from "../../../dsl/node.ts";
import { circleIn } from "../ordering/circles.ts";
import { isArgument, isReduction, isTemplate } from "../kinds.ts";
import type { Group, Grouping, LoopGroup, Resolver } from "../group.ts";
import { eachInput, identity, type IndexMap } from "../views.ts";
import { fault } from "./fault.ts";

/** A grouping that tells how a kernel gets at a value. */
type Resolved = Grouping & { readonly resolve: Resolver };

/** A grouping of a lowered program, for a device that binds so many. @throws Error that names the first fault */
export function validateGrouping(grouping: Resolved, maxBindings: number): void {
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
  for (const group of groups) if (group.kind === "loop") validateBindings(group, grouping, maxBindings);
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

/** Does a loop bind few enough, and is all that it loads in memory? */
function validateBindings(group: LoopGroup, { groupOf, resolve, stored }: Resolved, maxBindings: number): void {
  const writes = group.nodes.filter((node) => stored.has(node)), bound = new Set(writes);
  const met = new Set<string>();
  const load = (node: Node): void => {
    if (!stored.has(node)) fault("group", node, "is loaded, but nothing stores it");
    if (groupOf.get(node) === group) fault("group", node, "is loaded by the kernel that computes it");
    bound.add(node);
  };
  const compute = (node: Node, map: IndexMap): void => {
    if (node.op === "take") load(node.inputs[0]);
    eachInput(node, map, (input, at) => {
      const place = `${input.id} ${JSON.stringify(at)}`;
      if (met.has(place)) return;
      met.add(place);
      if (resolve(group, input, at) === "load") load(input);
      else compute(input, at);
    });
  };
  for (const node of writes) compute(node, identity(node.shape));
  if (bound.size > maxBindings) {
    fault("group", writes[0], `is in a kernel of ${bound.size} buffers, the device allows ${maxBindings}`);
  }
}
