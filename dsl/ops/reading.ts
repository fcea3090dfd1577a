/** @file Values by the interpreter: for tests and small sums, on the host. */
import { expand } from "../build.ts";
import { evaluate } from "../interpret/interpret.ts";
import { mistake } from "../node.ts";
import { axesOf, showShape } from "../shape.ts";
import { type AnyTensor, type Kind, nodeOf, type Tensor } from "../tensor.ts";

/**
 * Values by the f64 interpreter, row-major in the order of axes named (as stored if none is). Variables of a traced
 * program have no value.
 *
 * @throws TypeError when the axes named are not all axes of x, or x lies on a device
 * @example
 * ```ts
 * import { read, tensor } from "../mod.ts";
 * const x = tensor({ batch: 2, seq: 2 }, [[1, 2], [3, 4]]);
 * console.assert(read(x, "seq", "batch").join() === "1,3,2,4");
 * ```
 */
export function read<A extends string>(x: Tensor<A, Kind>, ...order: A[]): Float64Array {
  const { shape } = nodeOf(x), names = order.length > 0 ? order : axesOf(shape);
  if (names.length !== axesOf(shape).length) {
    mistake("read", `${names.join(" ")} are not all axes of ${showShape(shape)}`);
  }
  const asked = Object.fromEntries(names.map((axis) => [axis, shape[axis as A]]));
  return evaluate([expand(nodeOf(x), asked)])[0].data;
}

/**
 * The value of a tensor without axes, by the f64 interpreter.
 *
 * @throws TypeError when x lies on a device
 * @example
 * ```ts
 * import { item, scalar } from "../mod.ts";
 * console.assert(item(scalar(2)) === 2);
 * ```
 */
export const item = (x: Tensor<never, Kind>): number => read(x)[0];

/**
 * Values of several tensors at once, as they are stored, by the f64 interpreter: shared parts are computed once.
 *
 * @throws TypeError when one of them lies on a device
 * @example
 * ```ts
 * import { add, readAll, tensor } from "../mod.ts";
 * const x = tensor({ seq: 2 }, [1, 2]);
 * console.assert(readAll([x, add(x, 1)]).join("|") === "1,2|2,3");
 * ```
 */
export const readAll = (xs: readonly AnyTensor[]): Float64Array[] => evaluate(xs.map(nodeOf)).map(({ data }) => data);
