/** @file Loops over tiles of an axis, made by the compiler: what is large lives for one tile at a time. */
import { evaluate } from "../interpret/interpret.ts";
import { isOp, type Node } from "../node.ts";
import type { Primitive, Values } from "../primitive.ts";
import { axesOf, type Shape, stridesOf } from "../shape.ts";
import type { DType } from "../tensor.ts";
import { along, fresh, loop } from "./loop.ts";

/** A tile's place in a tensor outside of its loop. */
export interface Placement {
  /** Shape of that tensor. */
  readonly within: Shape;
  /** Adds to what the tiles before it left there. */
  readonly accumulate: boolean;
  /** Where it starts along axes that it has only a part of (default: 0). */
  readonly from?: Readonly<Record<string, number>>;
}

/** The body of a loop, for tiles of one size. */
export interface Tile {
  readonly size: number;
  /** First index of each tile along the loop's axis. */
  readonly starts: readonly number[];
  /** One for each input of the loop. */
  readonly windows: readonly Node<"window">[];
  /** One for each result of the loop; each has a placement. */
  readonly results: readonly Node[];
}

/** A loop over tiles of one axis, in order. */
export interface TiledBody {
  readonly axis: string;
  readonly results: readonly { readonly shape: Shape; readonly dtype: DType; readonly accumulate: boolean }[];
  /** In order; those of equal size that do the same are one. */
  readonly tiles: readonly Tile[];
}

/** Attributes of this family, by primitive. */
export interface TiledAttributes {
  /** Part of a tensor of shape `within`; it moves `along` an axis with the loop's tiles. */
  window: { readonly shape: Shape; readonly dtype: DType; readonly within: Shape; readonly along?: string };
  placed: { readonly into: Placement };
  tiled: { readonly body: TiledBody; readonly result: number };
}

/** Where a node's elements lie: those of a tile lie inside the memory of the whole. */
export function memoryStrides(node: Node): Readonly<Record<string, number>> {
  return stridesOf(isOp(node, "window") ? node.attributes.within : placementOf(node)?.within ?? node.shape);
}

/** How far from the start of the whole a tile's result begins, in elements, for the tile at `start` of an axis. */
export function placeOf({ within, accumulate, from = {} }: Placement, axis: string, start: number): number {
  const strides = stridesOf(within);
  return axesOf(within).reduce(
    (sum, name) => sum + strides[name] * (name === axis && !accumulate ? start : from[name] ?? 0),
    0,
  );
}

/** Where a tile's result belongs, if it is one. */
export function placementOf(node: Node): Placement | undefined {
  if (isOp(node, "placed")) return node.attributes.into;
  return isOp(node, "contract") ? node.attributes.into : undefined;
}

function undifferentiated(): never {
  throw new Error("loops over tiles are made after differentiation");
}

/** A part of a tensor outside of the loop: a parameter of the loop's body. */
export const window: Primitive<"window"> = {
  op: "window",
  type: ({ shape, dtype }) => ({ shape, dtype }),
  vjp: () => [],
  jvp: () => null,
  interpret: () => {
    throw new Error("a window has no value outside of its loop");
  },
  samples: [],
};

/** x, written (or added) into its part of a tensor outside of the loop. */
export const placed: Primitive<"placed"> = {
  op: "placed",
  type: (_, [x]) => ({ shape: x.shape, dtype: x.dtype }),
  vjp: (cotangent) => [cotangent],
  jvp: ([tangent]) => tangent,
  interpret: (_, [x]) => x.data,
  lower: (_, [x]) => x,
  samples: [],
};

/** One result of a loop over tiles. Inputs: what the body's windows look at. */
export const tiled: Primitive<"tiled"> = {
  op: "tiled",
  type: ({ body, result }) => body.results[result],
  vjp: undifferentiated,
  jvp: undifferentiated,
  interpret: (self, inputs) => {
    const { body, result } = self.attributes, out = fresh(self.shape);
    for (const tile of body.tiles) {
      for (const start of tile.starts) {
        const given = new Map<Node, Values>(tile.windows.map((each, i) => [each, cut(each, inputs[i], start)]));
        const root = tile.results[result], [value] = evaluate([root], given), { accumulate } = body.results[result];
        const strides = stridesOf(self.shape), shift = placeOf(placementOf(root)!, body.axis, start);
        const to = axesOf(root.shape).map((axis) => strides[axis]);
        loop(root.shape, [to, along(root.shape, value.shape)], ([o, a]) => {
          if (accumulate) out[o + shift] += value.data[a];
          else out[o + shift] = value.data[a];
        });
      }
    }
    return out;
  },
  samples: [],
};

function cut(window: Node<"window">, from: Values, start: number): Values {
  const { along: axis } = window.attributes, strides = stridesOf(from.shape), shape: Shape = window.shape;
  const shift = axis === undefined ? 0 : strides[axis] * start, out = fresh(shape);
  const read = axesOf(shape).map((name) => strides[name]);
  loop(shape, [along(shape, shape), read], ([o, a]) => out[o] = from.data[a + shift]);
  return { shape, data: out };
}
