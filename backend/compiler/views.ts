/**
 * @file Views: structure operations as index arithmetic. A node's element is addressed by an affine index per axis;
 * walking down through renames, slices, expansions and unflattenings changes indices, never memory.
 */
import type { Node } from "../../dsl/node.ts";
import { isOp } from "../../dsl/node.ts";
import { memoryStrides } from "../../dsl/primitives/tiled.ts";
import { axesOf, type Shape, stridesOf } from "../../dsl/shape.ts";

/** offset + Σ terms[axis] · loop index. */
export interface Index {
  readonly offset: number;
  readonly terms: Readonly<Record<string, number>>;
}

/** Index of each axis of a node, in terms of a loop's axes. */
export type IndexMap = Readonly<Record<string, Index>>;

/** The index that is the loop axis itself. */
export const axisIndex = (axis: string): Index => ({ offset: 0, terms: { [axis]: 1 } });

/** Every axis of a shape indexed by the loop axis of its name. */
export function identity(shape: Shape): IndexMap {
  const known = identities.get(shape);
  if (known) return known;
  const made = Object.fromEntries(axesOf(shape).map((axis) => [axis, axisIndex(axis)]));
  identities.set(shape, made);
  return made;
}
// Passes ask for the same shapes' identities again and again.
const identities = new WeakMap<Shape, IndexMap>();

/** Σ scale · index. */
export function combine(parts: readonly (readonly [Index, number])[], offset = 0): Index {
  const terms: Record<string, number> = {};
  for (const [index, scale] of parts) {
    offset += index.offset * scale;
    for (const axis in index.terms) {
      const term = (terms[axis] ?? 0) + index.terms[axis] * scale;
      if (term === 0) delete terms[axis];
      else terms[axis] = term;
    }
  }
  return { offset, terms };
}

/** A view whose input's index is affine in its own; the others (flatten, pad, concat) are handled where they are met. */
export type AffineView =
  | Node<"expand">
  | Node<"rename">
  | Node<"slice">
  | Node<"unflatten">
  | Node<"barrier">
  | Node<"stop">;

/** Is it a view with an affine index? */
export const isAffineView = (node: Node): node is AffineView =>
  isOp(node, "expand") || isOp(node, "rename") || isOp(node, "slice") || isOp(node, "unflatten") ||
  isOp(node, "barrier") || isOp(node, "stop");

/** Is it computed by addressing alone? */
export const isView = (node: Node): boolean =>
  isAffineView(node) || node.op === "flatten" || node.op === "pad" || node.op === "concat";

/** Indices of a view's input, from those of the view. */
export function throughView(view: AffineView, map: IndexMap): IndexMap {
  const [x] = view.inputs;
  if (isOp(view, "rename")) {
    const { names } = view.attributes;
    return Object.fromEntries(axesOf(x.shape).map((axis) => [axis, map[names[axis] ?? axis]]));
  }
  if (isOp(view, "slice")) {
    const { axis, start } = view.attributes;
    return { ...map, [axis]: combine([[map[axis], 1]], start) };
  }
  if (isOp(view, "unflatten")) {
    const { axis, sizes } = view.attributes, strides = stridesOf(sizes);
    const whole = combine(axesOf(sizes).map((part) => [map[part], strides[part]]));
    return Object.fromEntries(axesOf(x.shape).map((name) => [name, name === axis ? whole : map[name]]));
  }
  return Object.fromEntries(axesOf(x.shape).map((axis) => [axis, map[axis]]));
}

/** Address of a stored node's element. */
export const address = (node: Node, map: IndexMap): Index => addressIn(node.shape, memoryStrides(node), map);

function addressIn(shape: Shape, strides: Readonly<Record<string, number>>, map: IndexMap): Index {
  // An axis of one element has index 0, whatever its formula says.
  return combine(axesOf(shape).filter((axis) => shape[axis] !== 1).map((axis) => [map[axis], strides[axis]]));
}

/** Does every axis of the node follow the loop axis of its own name, from 0 on? */
export const isAligned = (shape: Shape, map: IndexMap): boolean =>
  axesOf(shape).every((axis) => {
    const { offset, terms } = map[axis], names = Object.keys(terms);
    return offset === 0 && names.length === 1 && names[0] === axis && terms[axis] === 1;
  });

/** A stored node read through affine views: where each axis of the view lies in its memory. */
export interface Operand {
  readonly base: Node;
  readonly offset: number;
  readonly strides: Readonly<Record<string, number>>;
}

/** The stored node that a chain of affine views (and flattenings of stored nodes) reads; undefined if it is none. */
export function operandOf(node: Node): Operand | undefined {
  let map: IndexMap = identity(node.shape), at = node;
  for (;;) {
    if (isAffineView(at)) {
      map = throughView(at, map);
      at = at.inputs[0];
    } else if (isOp(at, "flatten") && !isView(at.inputs[0])) {
      const { offset, terms } = flattened(at, map);
      return { base: at.inputs[0], offset, strides: zeroFilled(node.shape, terms) };
    } else if (isView(at) || at.op === "constant" || at.op === "iota") {
      return undefined;
    } else {
      const { offset, terms } = address(at, map);
      return { base: at, offset, strides: zeroFilled(node.shape, terms) };
    }
  }
}

/** Address in the memory of a flatten's stored input, whose axes end with the flattened ones (see `lower`). */
export function flattened(view: Node<"flatten">, map: IndexMap): Index {
  return addressIn(view.shape, stridesOf(view.shape), map);
}

const zeroFilled = (shape: Shape, terms: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(axesOf(shape).map((axis) => [axis, terms[axis] ?? 0]));
