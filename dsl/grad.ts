/** @file Reverse-mode differentiation: a function from graph to graph. */
import { add, constant, expand, fill, node, primitiveOf } from "./build.ts";
import { mistake, type Node, topological } from "./node.ts";
import { isReal } from "./primitive.ts";
import { substitute } from "./substitute.ts";
import { axesOf, sameOrder } from "./shape.ts";
import { nodeOf, type Scalar } from "./tensor.ts";
import { leavesOf, refill } from "./tree.ts";

/** Cotangents of `wrt` for `out` with cotangent `seed`; only nodes that depend on `wrt` are visited. */
export function backward(out: Node, seed: Node, wrt: readonly Node[]): Node[] {
  const order = topological([out]), live = new Set<Node>(wrt), cotangents = new Map<Node, Node>([[out, seed]]);
  for (const each of order) if (each.inputs.some((input) => live.has(input))) live.add(each);
  for (const each of order.reverse()) {
    const cotangent = cotangents.get(each);
    if (!cotangent || !live.has(each)) continue;
    if (!each.inputs.some((input) => live.has(input))) continue;
    const flows = primitiveOf(each.op).vjp(cotangent, each);
    each.inputs.forEach((input, i) => {
      const flow = flows[i];
      if (!flow || !live.has(input) || !isReal(input)) return;
      const known = cotangents.get(input);
      cotangents.set(input, known ? add(known, flow) : flow);
    });
  }
  return wrt.map((each) => {
    const found = cotangents.get(each);
    if (!found) return fill(0, each);
    // A gradient lies in memory like its parameter.
    return sameOrder(found.shape, each.shape) ? found : expand(found, each.shape);
  });
}

/**
 * Value and gradient of a function whose first argument is a tree of parameters.
 *
 * @throws TypeError when the result is not a scalar or a tensor occurs twice in the tree
 * @example
 * ```ts
 * import { item, mul, scalar, valueAndGrad } from "./mod.ts";
 * const { value, grad } = valueAndGrad((p: { x: ReturnType<typeof scalar> }) => mul(p.x, p.x))({ x: scalar(3) });
 * console.assert(item(value) === 9 && item(grad.x) === 6);
 * ```
 */
export function valueAndGrad<P, R extends readonly unknown[]>(
  f: (parameters: P, ...rest: R) => Scalar,
): (parameters: P, ...rest: R) => { readonly value: Scalar; readonly grad: P } {
  return (parameters, ...rest) => {
    const { value, grad } = valueAndGradWith((p: P, ...r: R) => ({ loss: f(p, ...r) }))(parameters, ...rest);
    return { value: value.loss, grad };
  };
}

/**
 * As `valueAndGrad`, for a function that returns more than its loss (metrics): only `loss` is differentiated.
 *
 * @throws TypeError when the loss is not a scalar or a tensor occurs twice in the tree
 */
export function valueAndGradWith<P, R extends readonly unknown[], V extends { readonly loss: Scalar }>(
  f: (parameters: P, ...rest: R) => V,
): (parameters: P, ...rest: R) => { readonly value: V; readonly grad: P } {
  return (parameters, ...rest) => {
    const given = leavesOf(parameters, "grad");
    const fresh = given.map((leaf, i) =>
      node("variable", [], { shape: leaf.shape, dtype: leaf.dtype, name: `parameter ${i}` })
    );
    const result = f(refill(parameters, fresh), ...rest);
    const loss = nodeOf(result.loss);
    if (axesOf(loss.shape).length > 0) mistake("grad", `the loss must be a scalar, it has axes ${axesOf(loss.shape)}`);
    const values = leavesOf(result, undefined);
    const replaced = substitute(
      [...values, ...backward(loss, constant(1), fresh)],
      new Map(fresh.map((variable, i) => [variable, given[i]])),
    );
    return {
      value: refill(result, replaced.slice(0, values.length)),
      grad: refill(parameters, replaced.slice(values.length)),
    };
  };
}

/**
 * Gradient of a scalar function with respect to its first argument, a tree of parameters.
 *
 * @throws TypeError when the result is not a scalar or a tensor occurs twice in the tree
 */
export const grad =
  <P, R extends readonly unknown[]>(f: (parameters: P, ...rest: R) => Scalar): (parameters: P, ...rest: R) => P =>
  (parameters, ...rest) => valueAndGrad(f)(parameters, ...rest).grad;
