/**
 * @file Rewrites what has no kernel of its own in terms of what has one.
 * In: a program without calls. Out: the same values, with
 * - products of nothing as zeros, products without rows or without columns as multiply and sum,
 * - grouped contractions as `grouped.ts` has them,
 * - sums, maxima, products and look-up gradients of 16-bit tensors as those of f32 ones, with casts around them,
 * - a row of more pieces than a kernel can bind as rows of rows,
 * - every operand of a template readable as strided memory, every result a node of its own.
 */
import { cast, constant, expand, mul, node as make, ordered, rebuilt, sum } from "../../dsl/build.ts";
import { NodeMap } from "../../dsl/graph/node_map.ts";
import { isHalf } from "../../dsl/half.ts";
import { isOp, type Node, standingFor, topological } from "../../dsl/node.ts";
import { axesOf, sizeOf } from "../../dsl/shape.ts";
import { lowerContractAt, lowerContractInto } from "./lowering/grouped.ts";
import { contiguous, copy, flattened, narrow, operands, stored } from "./lowering/storage.ts";
import { isView } from "./views.ts";

/** What a device can do that decides how programs are lowered. */
export interface LowerOptions {
  /** Buffers that one kernel binds at most. */
  readonly maxBindings: number;
  /** Whether a sum is cut, and how, depends on its terms alone, not on how many sums there are. */
  readonly steady?: boolean;
}

function lowerContract(node: Node<"contract">, options: LowerOptions): Node {
  const { over, into } = node.attributes, [x, y] = node.inputs;
  const kept = axesOf(node.shape);
  const rows = kept.some((axis) => axis in x.shape && !(axis in y.shape));
  const columns = kept.some((axis) => axis in y.shape && !(axis in x.shape));
  if (over.length === 0 || !rows || !columns || x.dtype !== "f32") {
    const wide = { ...node.shape, ...ordered(x.shape, over) };
    const total = sum(mul(expand(x, wide), expand(y, wide)), over, kept);
    const result = isOp(total, "sum") ? lowerLong(total, options) : total;
    return into ? make("placed", [result], { into }) : result;
  }
  const { nodes, wide } = operands([x, y]);
  return make("contract", nodes, { ...node.attributes, order: kept, ...wide });
}

/** So many sums side by side keep a device busy, */
const manyResults = 256;
/** where each is a loop that every driver runs to its end. */
const longestLoop = 65_535;

/**
 * A long sum (or search for the largest) into few results, in two: parts first, then the parts. Every device gets rows
 * to work on side by side, errors of rounding grow more slowly, and no loop of a shader is longer than a software driver
 * lets it be (lavapipe stops an invocation's loops after 65,535 rounds, without a word).
 */
function lowerLong(node: Node<"sum"> | Node<"max">, { steady }: LowerOptions): Node {
  const { over } = node.attributes, [x] = node.inputs, kept = axesOf(node.shape);
  const reduce = (from: Node, axes: readonly string[], order: readonly string[]): Node =>
    node.op === "sum"
      ? sum(from, axes, order)
      : expand(make("max", [from], { over: axes }), ordered(from.shape, order));
  const results = sizeOf(node.shape), terms = sizeOf(ordered(x.shape, over));
  const shared = results >= 4096 || (results >= manyResults && terms <= longestLoop);
  const isWhole = steady ? terms <= longestLoop : shared || terms < 1024 || results * terms < 32768;
  if (node.dtype !== "f32" || isWhole) return node;
  const parts = over.map((axis) => ({ axis, count: partsOf(x.shape[axis]) })).sort((a, b) => b.count - a.count);
  const [{ axis, count }] = parts;
  if (count === 1) return node;
  const whole = count === x.shape[axis], part = whole ? axis : `${axis}′`;
  const cut = whole ? x : make("unflatten", [x], { axis, sizes: { [part]: count, [axis]: x.shape[axis] / count } });
  const first = reduce(cut, whole ? over.filter((name) => name !== axis) : over, [part, ...kept]);
  return reduce(first, [part], kept);
}

/** The largest number of equal parts, up to 64, that an axis can be cut into. */
function partsOf(size: number): number {
  for (let count = Math.min(64, size); count > 3; count--) if (size % count === 0) return count;
  return 1;
}

/** Is it a product or a look-up's gradient with nothing to add up? */
const addsNothing = (node: Node): boolean =>
  (isOp(node, "contract") || isOp(node, "contractAt") || isOp(node, "contractInto") || isOp(node, "scatter")) &&
  node.inputs.some((input) => sizeOf(input.shape) === 0);

/** Operations that add up many products or terms, or compare them: they work on f32, whatever is stored. */
const accumulating = new Set<Node["op"]>([
  "sum",
  "max",
  "logSumExp",
  "contract",
  "contractAt",
  "contractInto",
  "scatter",
  "topk",
]);

/** The same on f32 operands: 16-bit ones are widened by a cast, the result is rounded once. */
function lowerHalf(node: Node, options: LowerOptions): Node {
  const inputs = node.inputs.map((input) => isHalf(input.dtype) ? cast(input, "f32") : input);
  return cast(lowerOne(make(node.op, inputs, node.attributes), options), node.dtype);
}

/** Pieces in rows of so few that a kernel binds them, and what else it reads. */
function lowerConcat(node: Node<"concat">, { maxBindings }: LowerOptions): Node {
  const most = Math.max(2, Math.floor(maxBindings / 2));
  let pieces = node.inputs;
  while (pieces.length > most) {
    const rows = Array.from(
      { length: Math.ceil(pieces.length / most) },
      (_, i) => pieces.slice(i * most, (i + 1) * most),
    );
    pieces = rows.map((row) => row.length === 1 ? row[0] : copy(make("concat", row, node.attributes)));
  }
  return make("concat", pieces, node.attributes);
}

/** Rows are widened when they are found, not a whole table for some of them. */
function lowerTake(node: Node<"take">): Node {
  const [table, index] = node.inputs, found = make("take", [contiguous(narrow(table)), index], node.attributes);
  return cast(found, node.dtype);
}

function lowerOne(node: Node, options: LowerOptions): Node {
  if (addsNothing(node)) return expand(constant(0, node.dtype), node.shape);
  if (accumulating.has(node.op) && node.inputs.some(({ dtype }) => isHalf(dtype))) return lowerHalf(node, options);
  if (isOp(node, "sum") || isOp(node, "max")) return lowerLong(node, options);
  if (isOp(node, "contract")) return lowerContract(node, options);
  if (isOp(node, "contractAt") && node.inputs.length === 3) return lowerContractAt(node);
  if (isOp(node, "contractInto") && node.inputs.length === 3) return lowerContractInto(node);
  if (isOp(node, "flatten")) {
    return flattened(node.inputs[0], node.attributes.axes, node.attributes.axis);
  }
  if (isOp(node, "concat")) return lowerConcat(node, options);
  if (isOp(node, "take")) return lowerTake(node);
  if (isOp(node, "scatter")) {
    const [x, index] = node.inputs;
    return make("scatter", [stored(x), contiguous(index)], node.attributes);
  }
  if (isOp(node, "tiled")) return make("tiled", node.inputs.map(contiguous), node.attributes);
  if (isOp(node, "order")) return make("order", [contiguous(node.inputs[0])], node.attributes);
  if (isOp(node, "topk")) return make("topk", [stored(node.inputs[0])], node.attributes);
  if (isOp(node, "write")) {
    const [x, start, value] = node.inputs;
    return make("write", [contiguous(x), contiguous(start), stored(value)], node.attributes);
  }
  return node;
}

/** The same results of a program without calls, ready for grouping. */
export function lower(plain: readonly Node[], options: LowerOptions): Node[] {
  const order = topological(plain), lowered = new NodeMap<Node>(order);
  for (const node of order) {
    lowered.set(node, standingFor(node, () => lowerOne(rebuilt(node, lowered), options)));
  }
  const seen = new Set<Node>();
  return plain.map((root) => {
    let result = lowered.get(root)!;
    const given = result.op === "variable" || result.op === "data" || result.op === "buffer";
    if (given || isView(result) || result.op === "constant" || result.op === "iota") result = copy(result);
    while (seen.has(result)) result = copy(result);
    seen.add(result);
    return result;
  });
}
