/** @file Writes the kernels of groups; groups that are built alike share theirs. */
import type { Node } from "../../../dsl/node.ts";
import { axesOf } from "../../../dsl/shape.ts";
import { type LoopBody, loopBody } from "./body.ts";
import { isReduction } from "../kinds.ts";
import type { Grouping, LoopGroup, Resolver } from "../group.ts";
import { Structures } from "./structure.ts";
import { type TemplateStep, templateSteps } from "./templates.ts";
import { isView, misaligned } from "../views.ts";

/** Writers of kernels. */
export interface Kernels {
  /** The kernel of a loop that stores `writes`. */
  readonly loop: (group: LoopGroup, writes: readonly Node[]) => LoopBody;
  /** The steps of a template. `inPlace`: the result of a `write` lies in the memory of its first input. */
  readonly template: (node: Node, inPlace: boolean) => readonly TemplateStep[];
}

/** A kernel, and where the nodes behind its slots stand in the structure that it was written for. */
interface Pattern<K> {
  readonly kernel: K;
  readonly slots: readonly number[];
}

const patternOf = <K>(
  { kernel, slots }: { kernel: K; slots: readonly Node[] },
  nodes: readonly Node[],
): Pattern<K> => ({
  kernel,
  slots: slots.map((slot) => nodes.indexOf(slot)),
});

/** Writers of a program's kernels. `steady`: see `LowerOptions`. */
export function kernelsOf(
  { order, groupOf, resolve }: Grouping & { readonly resolve: Resolver },
  { steady = false }: { readonly steady?: boolean } = {},
): Kernels {
  const structures = new Structures(order);
  const loops = new Map<string, Pattern<LoopBody["kernel"]>>();
  const templates = new Map<string, readonly Pattern<TemplateStep["kernel"]>[]>();
  return {
    loop: (group, writes) => {
      // Is it computed here at the loop's own index (2), at others (1)? Else it is loaded.
      const { name, nodes } = structures.part(writes, (node) => {
        const mine = groupOf.get(node) === group ? 2 : 0;
        return mine + Number(resolve(group, node, misaligned(node.shape)) === "compute");
      });
      const operand = group.nodes.find(isReduction)?.inputs[0].shape;
      const whole = `${name}|${JSON.stringify([group.space, group.reduced, operand && axesOf(operand)])}`;
      const known = loops.get(whole);
      if (known) return { kernel: known.kernel, slots: known.slots.map((place) => nodes[place]), writes };
      const made = loopBody(group, writes, resolve, steady);
      loops.set(whole, patternOf(made, nodes));
      return made;
    },
    template: (node, inPlace) => {
      const { name, nodes } = structures.part([node], (each) => Number(each === node || isView(each)));
      const whole = `${name}|${inPlace}`, known = templates.get(whole);
      if (known) return known.map(({ kernel, slots }) => ({ kernel, slots: slots.map((place) => nodes[place]) }));
      const made = templateSteps(node, inPlace);
      templates.set(whole, made.map((step) => patternOf(step, nodes)));
      return made;
    },
  };
}
