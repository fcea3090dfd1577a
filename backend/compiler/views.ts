/**
 * @file Views: structure operations as index arithmetic. A node's element is addressed by an affine index per axis;
 * walking down through renames, slices, expansions and unflattenings changes indices, never memory.
 */
import type { Node } from "../../dsl/node.ts";
import { isOp } from "../../dsl/node.ts";
import { memoryStrides } from "../../dsl/primitives/tiled.ts";
import { axesOf, type Shape, stridesOf } from "../../dsl/shape.ts";
import { isReduction } from "./kinds.ts";

/** offset + Σ terms[axis] · loop index. */
export interface Index {
  readonly offset: number;
  readonly terms: Readonly<Record<string, number>>;
  /** The loop axis that it is, if it is one. */
  readonly own?: string;
}

/** Index of each axis of a node, in terms of a loop's axes. */
export type IndexMap = Readonly<Record<string, Index>>;

/** The index that is the loop axis itself. */
function axisIndex(axis: string): Index {
  const known = axisIndices.get(axis);
  if (known) return known;
  const made = { offset: 0, terms: { [axis]: 1 }, own: axis };
  axisIndices.set(axis, made);
  return made;
}
const axisIndices = new Map<string, Index>();

/** Every axis of a shape indexed by the loop axis of its name. */
export function identity(shape: Shape): IndexMap {
  const known = identities.get(shape);
  if (known) return known;
  const made: Record<string, Index> = {};
  for (const axis in shape) made[axis] = axisIndex(axis);
  identities.set(shape, made);
  return made;
}
// Passes ask for the same shapes' identities again and again.
const identities = new WeakMap<Shape, IndexMap>();

/** An index that is surely not the loop's own, for every axis of a shape. */
export function misaligned(shape: Shape): IndexMap {
  const known = others.get(shape);
  if (known) return known;
  const made: Record<string, Index> = {};
  for (const axis in shape) made[axis] = elsewhere;
  others.set(shape, made);
  return made;
}
const elsewhere: Index = { offset: 1, terms: {} };
const others = new WeakMap<Shape, IndexMap>();

/** Σ scale · index. */
function combine(parts: readonly (readonly [Index, number])[], offset = 0): Index {
  if (parts.length === 1 && parts[0][1] === 1 && offset === 0) return parts[0][0];
  const terms: Record<string, number> = {};
  for (const [index, scale] of parts) {
    offset += index.offset * scale;
    for (const axis in index.terms) {
      const term = (terms[axis] ?? 0) + index.terms[axis] * scale;
      if (term === 0) delete terms[axis];
      else terms[axis] = term;
    }
  }
  if (offset === 0) {
    const [axis, ...more] = Object.keys(terms);
    if (axis !== undefined && more.length === 0 && terms[axis] === 1) return axisIndex(axis);
  }
  return { offset, terms };
}

/** The index map with one axis moved. */
const moved = (map: IndexMap, axis: string, by: number): IndexMap =>
  by === 0 ? map : { ...map, [axis]: combine([[map[axis], 1]], by) };

/** Are two indices equal? */
export function sameIndex(a: Index, b: Index): boolean {
  if (a === b) return true;
  if (a.offset !== b.offset) return false;
  for (const axis in a.terms) if (a.terms[axis] !== b.terms[axis]) return false;
  for (const axis in b.terms) if (!(axis in a.terms)) return false;
  return true;
}

/** Do two index maps agree on every axis of a shape? */
export function sameMap(shape: Shape, a: IndexMap, b: IndexMap): boolean {
  if (a === b) return true;
  for (const axis in shape) if (!sameIndex(a[axis], b[axis])) return false;
  return true;
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

/** Indices of a view's input, from those of the view; they may have more axes than the input. */
export function throughView(view: AffineView, map: IndexMap): IndexMap {
  if (isOp(view, "rename")) {
    const { names } = view.attributes, through: Record<string, Index> = {};
    for (const axis in view.inputs[0].shape) through[axis] = map[names[axis] ?? axis];
    return through;
  }
  if (isOp(view, "slice")) return moved(map, view.attributes.axis, view.attributes.start);
  if (isOp(view, "unflatten")) {
    const { axis, sizes } = view.attributes, strides = stridesOf(sizes);
    return { ...map, [axis]: combine(axesOf(sizes).map((part) => [map[part], strides[part]])) };
  }
  return map;
}

/** Calls `visit` with every input of a node that is computed at `map`, and its index. `take`'s first is memory. */
export function eachInput(node: Node, map: IndexMap, visit: (input: Node, map: IndexMap) => void): void {
  if (isAffineView(node)) visit(node.inputs[0], throughView(node, map));
  else if (isOp(node, "take")) visit(node.inputs[1], map);
  else if (isOp(node, "pad")) visit(node.inputs[0], moved(map, node.attributes.axis, -node.attributes.before));
  else if (isOp(node, "concat")) {
    const { axis } = node.attributes;
    let start = 0;
    for (const input of node.inputs) {
      visit(input, moved(map, axis, -start));
      start += input.shape[axis];
    }
  } else if (isOp(node, "flatten")) visit(node.inputs[0], misaligned(node.inputs[0].shape));
  else if (isReduction(node)) visit(node.inputs[0], identity(node.inputs[0].shape));
  else for (const input of node.inputs) visit(input, map);
}

/** The node in memory behind a template's operand. */
export function storedBase(node: Node): Node {
  let at = node;
  while (isView(at)) at = at.inputs[0];
  return at;
}

/** What barriers in front of a node wait for. */
export function barriersOf(node: Node): Node[] {
  const found: Node[] = [];
  for (let at = node; isAffineView(at); at = at.inputs[0]) if (at.op === "barrier") found.push(...at.inputs.slice(1));
  return found;
}

/** Address of a stored node's element. */
export const address = (node: Node, map: IndexMap): Index => addressIn(node.shape, memoryStrides(node), map);

function addressIn(shape: Shape, strides: Readonly<Record<string, number>>, map: IndexMap): Index {
  // An axis of one element has index 0, whatever its formula says.
  return combine(axesOf(shape).filter((axis) => shape[axis] !== 1).map((axis) => [map[axis], strides[axis]]));
}

/** Does every axis of the node follow the loop axis of its own name, from 0 on? */
export function isAligned(shape: Shape, map: IndexMap): boolean {
  for (const axis in shape) if (map[axis].own !== axis) return false;
  return true;
}

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
function flattened(view: Node<"flatten">, map: IndexMap): Index {
  return addressIn(view.shape, stridesOf(view.shape), map);
}

const zeroFilled = (shape: Shape, terms: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(axesOf(shape).map((axis) => [axis, terms[axis] ?? 0]));
