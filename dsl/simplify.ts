/**
 * @file Algebra on graphs: constants folded, neutral elements and empty structure dropped.
 * In: any program. Out: the same values (also for NaN and infinities). Idempotent.
 */
import { constant, expand, node as make, primitiveOf, rebuilt, scale } from "./build.ts";
import { NodeMap } from "./graph/node_map.ts";
import { evaluate } from "./interpret/interpret.ts";
import { isOp, type Node, standingFor, topological } from "./node.ts";
import { axesOf, sameOrder } from "./shape.ts";

/** The value of a constant, also of one that is broadcast. */
function constantValue(node: Node): number | undefined {
  const inner = isOp(node, "expand") ? node.inputs[0] : node;
  return isOp(inner, "constant") ? inner.attributes.value : undefined;
}

/** One node, whose inputs are simple already, as a simpler one. */
function rewrite(node: Node): Node {
  const [x, y, z] = node.inputs;
  if (primitiveOf(node.op).elementwise && node.inputs.every((input) => constantValue(input) !== undefined)) {
    const scalars = node.inputs.map((input) => isOp(input, "expand") ? input.inputs[0] : input);
    const [{ data }] = evaluate([make(node.op, scalars, node.attributes)]);
    return expand(constant(data[0], node.dtype), node.shape);
  }
  if (isOp(node, "mul")) {
    if (constantValue(y) === 1) return x;
    if (constantValue(x) === 1) return expand(y, node.shape);
  }
  if (isOp(node, "add")) {
    if (isZero(y)) return x;
    if (isZero(x)) return expand(y, node.shape);
  }
  if (isOp(node, "neg") && isOp(x, "neg")) return x.inputs[0];
  // Compute first, repeat then: one spelling of what can be spelled twice, and the cheaper one.
  if (node.inputs.length === 1 && primitiveOf(node.op).elementwise && isOp(x, "expand")) {
    return expand(make(node.op, x.inputs, node.attributes), node.shape);
  }
  if (isOp(node, "stop")) return x;
  if (isOp(node, "expand")) {
    if (sameOrder(x.shape, node.shape)) return x;
    if (isOp(x, "expand")) return expand(x.inputs[0], node.shape);
  }
  if (isOp(node, "cast") && x.dtype === node.dtype) return x;
  if (isOp(node, "where")) {
    const condition = constantValue(x);
    if (condition !== undefined) return expand(condition ? y : z, node.shape);
  }
  if (isOp(node, "pad") && node.attributes.before === 0 && node.attributes.after === 0) return x;
  if (isOp(node, "slice") && node.attributes.stop - node.attributes.start === x.shape[node.attributes.axis]) return x;
  if (isOp(node, "sum")) {
    const { over } = node.attributes;
    if (over.length === 0 || (over.every((axis) => x.shape[axis] === 1) && isOp(x, "expand"))) {
      const inner = isOp(x, "expand") ? x.inputs[0] : x;
      if (axesOf(inner.shape).every((axis) => axis in node.shape)) return expand(inner, node.shape);
    }
    if (isOp(x, "expand") && x.dtype === "f32") {
      const [inner] = x.inputs;
      if (over.every((axis) => !(axis in inner.shape))) {
        return scale(expand(inner, node.shape), over.reduce((count, axis) => count * x.shape[axis], 1));
      }
    }
  }
  return node;
}

// x + (−0) keeps the sign of a zero x; x + 0 does not, but no rule of ours tells the two apart.
const isZero = (node: Node): boolean => constantValue(node) === 0;

/** The same roots, simpler. */
export function simplify(roots: readonly Node[]): Node[] {
  const order = topological(roots), simple = new NodeMap<Node>(order);
  for (const node of order) {
    const simpler = standingFor(node, () => {
      let result = rebuilt(node, simple);
      for (let next = rewrite(result); next !== result; next = rewrite(result)) result = next;
      return result;
    });
    simple.set(node, simpler);
  }
  return roots.map((root) => simple.get(root)!);
}
