/**
 * @file Rewrites products whose weights an index chooses until their templates can walk them.
 * In: `contractAt` and `contractInto` with whatever axes they may have. Out: the same values, with
 * - the sorted index as last input, every row with an index of its own,
 * - axes that both operands keep, or that the index has too, folded into the axis that the index chooses,
 * - rows, columns and depth each together in memory, copied where they are not.
 */
import { add, axesOf, constant, expand, mul, node as make, ordered, sum, where } from "../../../dsl/build.ts";
import { type Node, unite } from "../../../dsl/node.ts";
import { missing, type Shape, sizeOf, without } from "../../../dsl/shape.ts";
import { contiguous, flattened, operands, packed } from "./storage.ts";

/** An index into an axis that `shared` axes were folded into; −1 stays −1, what is out of range stays so. */
function foldedIndex(index: Node, shared: Shape): Node {
  const space = { ...index.shape, ...shared }, number = (value: number): Node => expand(constant(value, "i32"), space);
  let folded = expand(index, space);
  for (const [axis, size] of Object.entries(shared)) {
    folded = add(mul(folded, number(size)), expand(make("iota", [], { axis, size }), space));
  }
  return where(make("less", [expand(index, space), number(0)], {}), expand(index, space), folded);
}

/** Rows of x times the weights that the index chooses. */
export function lowerContractAt(node: Node<"contractAt">): Node {
  const { axis, over } = node.attributes, [x, w, index] = node.inputs;
  const both = axesOf(w.shape).filter((name) =>
    name !== axis && (name in index.shape || (name in x.shape && !over.includes(name)))
  );
  if (both.length > 0) {
    const chosen = contiguous(foldedIndex(index, ordered(w.shape, both)));
    const folded = make("contractAt", [x, flattened(w, [axis, ...both], axis), chosen], { axis, over });
    return expand(lowerContractAt(folded), node.shape);
  }
  const depth = axesOf(w.shape).filter((name) => over.includes(name) && name in x.shape);
  const free = axesOf(w.shape).filter((name) => name !== axis && !depth.includes(name));
  // Rows that the index does not tell apart get an index each.
  const more = missing(index.shape, without(x.shape, depth));
  const chosen = contiguous(expand(index, { ...index.shape, ...ordered(x.shape, more) }));
  const order = make("order", [chosen], { groups: w.shape[axis] });
  const { nodes, wide } = operands([x, w]);
  const result = make("contractAt", [packed(nodes[0], depth), packed(nodes[1], depth, free), chosen, order], {
    axis,
    over: depth,
    ...wide,
  });
  return sum(result, over.filter((name) => !depth.includes(name)), axesOf(node.shape));
}

/** Products of rows, added up where the index says. */
export function lowerContractInto(node: Node<"contractInto">): Node {
  const { axis, size, over, order } = node.attributes, [x, y, index] = node.inputs;
  const kept = order.filter((name) => name !== axis);
  const both = kept.filter((name) => name in index.shape || (name in x.shape && name in y.shape));
  if (both.length > 0) {
    const shared = ordered(node.shape, both);
    const folded = make("contractInto", [x, y, contiguous(foldedIndex(index, shared))], {
      axis,
      size: size * sizeOf(shared),
      over: [...over, ...both],
      order: [axis, ...kept.filter((name) => !both.includes(name))],
    });
    const parts = make("unflatten", [lowerContractInto(folded)], { axis, sizes: { [axis]: size, ...shared } });
    return expand(parts, node.shape);
  }
  const rows = kept.filter((name) => name in x.shape), columns = kept.filter((name) => name in y.shape);
  const adjacent = (names: readonly string[]): boolean =>
    names.every((name, i) => i === 0 || order.indexOf(name) === order.indexOf(names[i - 1]) + 1);
  const walkable = adjacent(rows) && adjacent(columns);
  const space = unite("contractInto", index.shape, x.shape, y.shape);
  const more = over.filter((name) => !(name in index.shape));
  const chosen = contiguous(expand(index, { ...index.shape, ...ordered(space, more) }));
  const sorted = make("order", [chosen], { groups: size });
  const { nodes, wide } = operands([x, y]);
  const result = make("contractInto", [packed(nodes[0], rows), packed(nodes[1], columns), chosen, sorted], {
    axis,
    size,
    over,
    order: walkable ? order : [axis, ...rows, ...columns],
    ...wide,
  });
  return expand(result, node.shape);
}
