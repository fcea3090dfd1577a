/** @file What transforms trace functions with, and the trees of changes that they are given. */
import { expand, node } from "../build.ts";
import { mistake, type Node } from "../node.ts";
import { isReal } from "../primitive.ts";
import { sameAxes, showShape } from "../shape.ts";
import { leavesOf } from "../tree.ts";

/** A fresh variable of the same shape and storage: what is differentiated by it depends on nothing else. */
export const variableLike = ({ shape, dtype }: Node, name: string | number): Node<"variable"> =>
  node("variable", [], { shape, dtype, name: typeof name === "number" ? `parameter ${name}` : name });

/** Leaves of a tree of tangents or cotangents, each in the order of its leaf. @throws TypeError when they differ */
export function alignedLeaves(op: string, like: readonly Node[], tree: unknown): Node[] {
  const leaves = leavesOf(tree, undefined);
  if (leaves.length !== like.length) {
    mistake(op, `${like.length} tensors change, but ${leaves.length} changes are given`);
  }
  return leaves.map((leaf, i) => {
    if (isReal(like[i]) && !(sameAxes(leaf.shape, like[i].shape) && leaf.dtype === like[i].dtype)) {
      const [is, of] = [leaf, like[i]].map(({ dtype, shape }) => `${dtype}${showShape(shape)}`);
      mistake(op, `tensor ${i} is ${of}, but its change is ${is}`);
    }
    return isReal(like[i]) ? expand(leaf, like[i].shape) : leaf;
  });
}
