/** @file Trees: parameters are plain records and arrays of tensors. */
import { contract, expand, node } from "./build.ts";
import { isNode, mistake, type Node } from "./node.ts";
import { type AnyTensor, nodeOf, type Stacked, type Tensor, tensorOf, type Unstacked } from "./tensor.ts";
import { axesOf } from "./shape.ts";

/** Every leaf with its path, in the order of the tree. Anything that is no tensor, record or array is skipped. */
export function entriesOf(tree: unknown, path = ""): [path: string, leaf: Node][] {
  if (isNode(tree)) return [[path, tree]];
  if (typeof tree !== "object" || tree === null || ArrayBuffer.isView(tree)) return [];
  return Object.entries(tree).flatMap(([key, value]) => entriesOf(value, path ? `${path}.${key}` : key));
}

/** Every leaf of a tree. `unique` names the transform that cannot have one tensor twice. */
export function leavesOf(tree: unknown, unique: string | undefined): Node[] {
  const entries = entriesOf(tree);
  if (unique) {
    const seen = new Map<Node, string>();
    for (const [path, leaf] of entries) {
      const first = seen.get(leaf);
      if (first !== undefined) {
        mistake(unique, `one tensor stands at "${first}" and at "${path}"; leave one out, or copy it`);
      }
      seen.set(leaf, path);
    }
  }
  return entries.map(([, leaf]) => leaf);
}

/** The same tree with every leaf replaced by `f` of it and of the leaves at the same place in `more`. */
export function mapLeaves(
  f: (leaf: Node, ...more: Node[]) => unknown,
  tree: unknown,
  ...more: readonly unknown[]
): unknown {
  if (isNode(tree)) return f(tree, ...more as Node[]);
  if (typeof tree !== "object" || tree === null || ArrayBuffer.isView(tree)) return tree;
  const at = (key: string | number): unknown[] => more.map((other) => (other as Record<string | number, unknown>)[key]);
  if (Array.isArray(tree)) return tree.map((value, i) => mapLeaves(f, value, ...at(i)));
  return Object.fromEntries(Object.entries(tree).map(([key, value]) => [key, mapLeaves(f, value, ...at(key))]));
}

/** The same tree with other leaves, in order. */
export function refill<P>(tree: P, leaves: readonly Node[]): P {
  let next = 0;
  return mapLeaves(() => leaves[next++], tree) as P;
}

/**
 * Every leaf of a tree with its path.
 *
 * @example
 * ```ts
 * import { entries, scalar } from "./mod.ts";
 * console.assert(entries({ a: [scalar(1)], b: scalar(2) }).map(([path]) => path).join() === "a.0,b");
 * ```
 */
export const entries = (tree: unknown): readonly (readonly [path: string, leaf: AnyTensor])[] =>
  entriesOf(tree).map(([path, leaf]) => [path, tensorOf<string, "real">(leaf)]);

/**
 * Leaf by leaf over trees of one type; the function must work for every leaf's axes.
 *
 * @param more further trees of the same structure; the function gets the leaves at the same place
 * @example
 * ```ts
 * import { item, mapTree, mul, scalar } from "./mod.ts";
 * console.assert(item(mapTree((x) => mul(x, 2), { a: scalar(3) }).a) === 6);
 * ```
 */
export const mapTree = <P>(f: <A extends string>(...xs: Tensor<A>[]) => Tensor<A>, tree: P, ...more: NoInfer<P>[]): P =>
  mapLeaves((...leaves) => nodeOf(f(...leaves.map((leaf) => tensorOf<string, "real">(leaf)))), tree, ...more) as P;

/**
 * Trees of one type, one after the other along a new axis (outermost).
 *
 * @throws TypeError when there is no tree or their leaves differ in shape
 * @example
 * ```ts
 * import { atTree, read, stack, tensor } from "./mod.ts";
 * const experts = [1, 2].map((each) => ({ weight: tensor({ embed: 2 }, [each, -each]) }));
 * const { weight } = stack("expert", experts);
 * console.assert(read(weight).join() === "1,-1,2,-2");
 * ```
 */
export function stack<const N extends string, P>(axis: N, trees: readonly P[]): Stacked<P, N> {
  if (trees.length === 0) mistake("stack", "there is nothing to stack");
  const one = (leaf: Node): Node => expand(leaf, { [axis]: 1, ...leaf.shape });
  return mapLeaves(
    (...leaves) => leaves.length === 1 ? one(leaves[0]) : node("concat", leaves.map(one), { axis }),
    trees[0],
    ...trees.slice(1),
  ) as Stacked<P, N>;
}

/**
 * One element of a stacked tree: `at`, leaf by leaf.
 *
 * @throws TypeError when the index is outside the axis
 * @example
 * ```ts
 * import { atTree, read, tensor } from "./mod.ts";
 * const stacked = { weight: tensor({ expert: 2, embed: 2 }, [[1, 2], [3, 4]]) };
 * console.assert(read(atTree(stacked, "expert", 1).weight).join() === "3,4");
 * ```
 */
export const atTree = <P, N extends string>(tree: P, axis: N, index: number): Unstacked<P, N> =>
  mapLeaves((leaf) => {
    const piece = node("slice", [leaf], { axis, start: index, stop: index + 1 });
    return node("sum", [piece], { over: [axis] });
  }, tree) as Unstacked<P, N>;

/**
 * Σ over `axis` of weights · tree, leaf by leaf: experts merged with coefficients.
 *
 * @throws TypeError when a leaf lacks the axis or has another size
 * @example
 * ```ts
 * import { mix, read, tensor } from "./mod.ts";
 * const experts = { weight: tensor({ expert: 2, embed: 2 }, [[1, 2], [3, 4]]) };
 * console.assert(read(mix(experts, tensor({ expert: 2 }, [0.5, 0.5]), "expert").weight).join() === "2,3");
 * ```
 */
export const mix = <P, N extends string>(tree: P, weights: Tensor<N>, axis: N): Unstacked<P, N> =>
  mapLeaves(
    (leaf) => contract(leaf, nodeOf(weights), [axis], axesOf(leaf.shape).filter((name) => name !== axis)),
    tree,
  ) as Unstacked<P, N>;
