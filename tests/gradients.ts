/** @file Gradients against finite differences, in f64 on the interpreter. */
import { assert } from "@std/assert";
import { item, read, type Scalar, tensor, valueAndGrad } from "../dsl/mod.ts";
import type { Node } from "../dsl/node.ts";
import { nodeOf, tensorOf } from "../dsl/tensor.ts";
import { entriesOf, refill } from "../dsl/tree.ts";
import { seeded } from "../recipes/random.ts";

/**
 * For every leaf of a tree: the derivative along a random direction, by the gradient and by central differences.
 * It fails too if a leaf has no influence at all (unless it is named in `still`), for then nothing was checked.
 */
export function checkGradients<P>(f: (parameters: P) => Scalar, tree: P, still: readonly string[] = []): void {
  const random = seeded(7), { grad } = valueAndGrad(f)(tree);
  const entries = entriesOf(tree), gradients = new Map(entriesOf(grad));
  for (const [i, [path, leaf]] of entries.entries()) {
    const at = read(tensorOf<string, "real">(leaf)), direction = at.map(() => random.normal());
    const slope = read(tensorOf<string, "real">(gradients.get(path)!)).reduce((sum, g, j) => sum + g * direction[j], 0);
    const value = (h: number): number => {
      const moved: Node = nodeOf(tensor(leaf.shape, at.map((x, j) => x + h * direction[j])));
      return item(f(refill(tree, entries.map(([, other], j) => j === i ? moved : other))));
    };
    const h = 1e-5, wanted = (value(h) - value(-h)) / (2 * h);
    assert(still.includes(path) || Math.abs(wanted) > 1e-9, `${path} has no influence`);
    const error = Math.abs(slope - wanted), scale = Math.max(Math.abs(wanted), Math.abs(slope), 1e-6);
    assert(error <= 1e-4 * scale, `${path}: the gradient says ${slope}, differences say ${wanted}`);
  }
}
