/** @file Sorting, from the one stable counting sort that the language has. */
import { add, cast, constant, expand, fill, neg, node, scale } from "../build.ts";
import { mistake, type Node } from "../node.ts";
import { axesOf, type Shape, showShape, sizeOf, without } from "../shape.ts";
import { nodeOf, type Tensor, tensorOf } from "../tensor.ts";

const DIGIT_BITS = 8, DIGITS = 2 ** DIGIT_BITS;

/** Numbers 0, 1, 2, … of the elements of a shape, in row-major order. */
export function positions(shape: Shape, dtype: "i32" | "u32" = "i32"): Node {
  let stride = 1, sum: Node | undefined;
  for (const axis of axesOf(shape).reverse()) {
    const along = cast(node("iota", [], { axis, size: shape[axis] }), dtype);
    const part = expand(scale(along, stride), shape);
    sum = sum ? add(sum, part) : part;
    stride *= shape[axis];
  }
  return sum ?? constant(0, dtype);
}

/**
 * The indices that sort whole numbers along an axis, smallest first; equal ones keep their order (a stable sort). The
 * result stands on every device in the same order. Use `take` to sort by it.
 *
 * A radix sort: four passes of a counting sort by eight bits each, over all rows at once.
 *
 * @param x whole numbers, i32 or u32
 * @returns for each place along the axis the index of the element that belongs there
 * @throws TypeError when x lacks the axis
 * @example
 * ```ts
 * import { argsort, read, take, tensor } from "../mod.ts";
 * const x = tensor({ seq: 4 }, [30, -5, 7, -5], "i32");
 * console.assert(read(argsort(x, "seq")).join() === "1,3,2,0");
 * console.assert(read(take(x, "seq", argsort(x, "seq"))).join() === "-5,-5,7,30");
 * ```
 */
export function argsort<A extends string>(x: Tensor<A, "int">, axis: NoInfer<A>): Tensor<A, "int"> {
  const given = nodeOf(x);
  if (!(axis in given.shape)) mistake("argsort", `no axis "${axis}" in ${showShape(given.shape)}`);
  const rows = without(given.shape, [axis]), shape: Shape = { ...rows, [axis]: given.shape[axis] };
  const size = shape[axis], count = sizeOf(shape), lane = "lane";
  const line = (each: Node): Node => node("flatten", [expand(each, shape)], { axes: axesOf(shape), axis: lane });
  // As unsigned numbers negative ones come after positive ones, unless the sign bit is turned.
  const unsigned = cast(given, "u32");
  const keys = line(given.dtype === "i32" ? node("xor", [unsigned, fill(2 ** 31, unsigned)], {}) : unsigned);
  const rowOf = axesOf(rows).length > 0 ? line(expand(positions(rows), shape)) : undefined;
  const takeAt = (each: Node, index: Node): Node =>
    node("take", [node("rename", [each], { names: { [lane]: "from" } }), index], { axis: "from" });
  let place = node("iota", [], { axis: lane, size: count }) as unknown as Node;
  for (let shift = 0; shift < 32; shift += DIGIT_BITS) {
    const sorted = takeAt(keys, place);
    const moved = node("shr", [sorted, fill(shift, sorted)], {});
    const digit = cast(node("and", [moved, fill(DIGITS - 1, moved)], {}), "i32");
    const group = rowOf ? add(scale(takeAt(rowOf, place), DIGITS), digit) : digit;
    const order = node("order", [group], { groups: sizeOf(rows) * DIGITS });
    const next = node("rename", [node("slice", [order], { axis: "order", start: 0, stop: count })], {
      names: { order: lane },
    });
    place = takeAt(place, next);
  }
  const sorted = node("unflatten", [place], { axis: lane, sizes: shape });
  const start = scale(expand(positions(rows), shape), size);
  return tensorOf(expand(add(sorted, neg(start)), given.shape));
}
