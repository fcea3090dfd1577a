/**
 * @file The running error bound: a program's value in f64, and how far an evaluation in f32 may be off, element by
 * element. What a device computes is right if it lies within `tolerance` × that bound.
 *
 * The bound allows any order of summation, fused multiply-add, recomputation and the devices' own accuracy of exp, log
 * and the like. It is derived, not listed: a primitive with a scalar body is that body under the rules of
 * `bound_scalar.ts`; every other one is a polynomial of its real inputs without negative coefficients (a product, a sum,
 * a copy), whose error follows from evaluating it at the inputs' magnitudes. Only top-k has a rule of its own.
 *
 * A decision (a comparison, an index, a whole number) that rounding could change has an error above 0; what depends on
 * it gets the difference it makes, or infinity: such elements say nothing about a device.
 */
import { primitiveOf } from "../build.ts";
import { isOp, type Node, topological } from "../node.ts";
import { isReal, type Values } from "../primitive.ts";
import { accumulated, type Bounded, hostError, scalarError, stored, unit } from "./bound_scalar.ts";
import { along, loop } from "../primitives/loop.ts";
import { stridesOf, without } from "../shape.ts";

export type { Bounded } from "./bound_scalar.ts";

/**
 * Devices may be off by this many bounds. The bound is of first order and for rounding to nearest; WGSL leaves the
 * direction of rounding open (a factor of 2). Seen: 1.0 at most (one rounding of one product), and a
 * twentieth in the median of random programs.
 */
export const tolerance = 2;

/** Values of a node, and how far off they are (host values are as far off as storing them makes them). */
type Given = Values & { readonly error?: Float64Array };

/** Values of `roots` with their bounds, given the values of some nodes. */
export function evaluateBounded(roots: readonly Node[], given: ReadonlyMap<Node, Given> = new Map()): Bounded[] {
  const values = new Map<Node, Bounded>();
  for (const [node, { shape, data, error = hostError(data, node.dtype) }] of given) {
    values.set(node, stored({ shape, data, error }, node.dtype));
  }
  for (const node of topological(roots, (node) => given.has(node))) {
    if (!values.has(node)) values.set(node, boundOf(node, node.inputs.map((input) => values.get(input)!)));
  }
  return roots.map((root) => values.get(root)!);
}

/** One node's value and bound, from those of its inputs. */
function boundOf(node: Node, inputs: readonly Bounded[]): Bounded {
  if (isOp(node, "call")) {
    const { parameters, result } = node.attributes.func;
    const [{ data, error }] = evaluateBounded([result], new Map(parameters.map((each, i) => [each, inputs[i]])));
    return { shape: node.shape, data, error };
  }
  const { interpret, lower } = primitiveOf(node.op), data = interpret(node, inputs);
  const error = lower
    ? scalarError(node, inputs)
    : isOp(node, "topk")
    ? topkError(node, inputs[0])
    : node.inputs.length === 0
    ? hostError(data, node.dtype)
    : templateError(node, inputs, data);
  return stored({ shape: node.shape, data, error }, node.dtype);
}

/**
 * The error of a primitive without a scalar body. With |x| ≤ |x̂| + e for every real input, a polynomial p without
 * negative coefficients is off by p(|x| + e) − p(|x|), and each of its roundings adds a unit of p(|x| + e). Its value at
 * ones counts its terms, its value at twos tells its degree: that is how many roundings there are.
 */
function templateError(node: Node, inputs: readonly Bounded[], data: Float64Array): Float64Array {
  const exact = new Float64Array(data.length), unknown = (): Float64Array => exact.fill(Infinity);
  // A wrong index may reach any element.
  if (node.inputs.some((input, i) => !isReal(input) && inputs[i].error.some((error) => error > 0))) return unknown();
  if (!isReal(node)) return exact;
  const at = (value: (x: Bounded, i: number) => number): Float64Array =>
    primitiveOf(node.op).interpret(
      node,
      inputs.map((x, i) => isReal(node.inputs[i]) ? { shape: x.shape, data: x.data.map((_, j) => value(x, j)) } : x),
    );
  const terms = at(() => 1), doubled = at(() => 2);
  const roundings = terms.map((count, j) => count === 0 ? 0 : count - 1 + Math.log2(doubled[j] / count) - 1);
  const given = inputs.every((input) => input.error.every((error) => error === 0));
  // Copies of exact values are exact.
  if (given && roundings.every((count) => count === 0)) return exact;
  const magnitude = at((x, j) => Math.abs(x.data[j]));
  const most = given ? magnitude : at((x, j) => Math.abs(x.data[j]) + x.error[j]);
  return exact.map((_, j) => {
    const rounded = roundings[j] > 0 ? accumulated(roundings[j]) * unit * most[j] : 0;
    const error = Math.max(0, most[j] - magnitude[j]) + rounded;
    return Number.isNaN(error) ? Infinity : error;
  });
}

/** A slot of top-k is sure if no other element comes as close to the chosen one as their errors reach. */
function topkError(node: Node<"topk">, x: Bounded): Float64Array {
  const { axis, slot, count } = node.attributes, size = x.shape[axis], stride = stridesOf(x.shape)[axis];
  const rows = without(x.shape, [axis]), to = stridesOf(node.shape)[slot];
  const chosen = primitiveOf("topk").interpret(node as unknown as Node, [x]), error = new Float64Array(chosen.length);
  loop(rows, [along(rows, node.shape), along(rows, x.shape)], ([out, from]) => {
    for (let place = 0; place < count; place++) {
      const best = from + chosen[out + place * to] * stride;
      for (let i = 0; i < size; i++) {
        const other = from + i * stride, reach = x.error[best] + x.error[other];
        if (other !== best && reach > 0 && !(Math.abs(x.data[best] - x.data[other]) > reach)) {
          error[out + place * to] = size;
        }
      }
    }
  });
  return error;
}
