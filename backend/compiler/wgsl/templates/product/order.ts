/** @file What products by groups share: their slots, and where the position at a place of the order has its elements. */
import type { Address } from "../product.ts";
import { type Binding, split, sum } from "../shader.ts";

/** Factors, order and result. */
export const groupedBindings: readonly Binding[] = [
  { slot: 0, name: "a", type: "f32" },
  { slot: 1, name: "b", type: "f32" },
  { slot: 2, name: "order", type: "i32" },
  { slot: 3, name: "c", type: "f32" },
];

/**
 * Addresses by a position's place in its group, whose stretch of the order begins at `first`. Of the positions' axes,
 * `name` says the stride in the operand that is addressed; `offset` is its first element.
 */
export function throughOrder<Name extends string>(
  first: string,
  axes: readonly Readonly<Record<Name | "size", number>>[],
  name: Name,
  offset: number,
): (index: string, id: string) => Address {
  return (index, id) => {
    const names = axes.map((_, axis) => `p${axis}_${id}`);
    return {
      lines: [
        `let p_${id} = u32(order[${first} + ${index}]);`,
        ...split(`p_${id}`, axes.map(({ size }) => size), names),
      ],
      at: sum(offset, axes.map((axis, at) => [axis[name], names[at]] as const)),
    };
  };
}
