/** @file Untyped builders of nodes, used by gradient rules and by the typed surface. */
import type { DType } from "./tensor.ts";
import { type Attributes, intern, mistake, type Node, type Op } from "./node.ts";
import { axesOf, missing, sameOrder, type Shape, showShape, sizeOf, without } from "./shape.ts";
import type { Primitive } from "./primitive.ts";

// The table is filled by primitives/mod.ts: records use builders, builders use records.
const table = new Map<Op, Primitive<Op>>();

/** Makes the primitives known to the builders. */
export function register(primitives: { readonly [O in Op]: Primitive<O> }): void {
  for (const op in primitives) table.set(op as Op, primitives[op as Op] as unknown as Primitive<Op>);
}

/** The record of a primitive. */
export const primitiveOf = (op: Op): Primitive<Op> => table.get(op)!;

/** A primitive applied to inputs: the existing node if there is one. @throws TypeError on axes that do not fit. */
export function node<O extends Op>(op: O, inputs: readonly Node[], attributes: Attributes[O]): Node<O> {
  const primitive = table.get(op) as unknown as Primitive<O>;
  return intern(op, attributes, inputs, () => {
    const type = primitive.type(attributes, inputs);
    checkSizes(op, type.shape);
    return type;
  });
}

/** The same primitive on other inputs; the node itself if they are its own. */
function reapply(old: Node, inputs: readonly Node[]): Node {
  let same = true, alike = true;
  for (let i = 0; i < inputs.length; i++) {
    const input = inputs[i], before = old.inputs[i];
    if (input === before) continue;
    same = false;
    alike &&= input.dtype === before.dtype && sameOrder(input.shape, before.shape);
  }
  if (same) return old;
  // Inputs of the same types give a result of the same type.
  return alike ? intern(old.op, old.attributes, inputs, () => old) : node(old.op, inputs, old.attributes);
}

/** The same primitive on what its inputs became; the node itself if none of them changed. */
export function rebuilt(old: Node, became: Pick<ReadonlyMap<Node, Node>, "get">): Node {
  for (let i = 0; i < old.inputs.length; i++) {
    if (became.get(old.inputs[i]) !== old.inputs[i]) return reapply(old, old.inputs.map((input) => became.get(input)!));
  }
  return old;
}

/** The most elements of one axis: indices are i32. */
const longestAxis = 2 ** 31 - 1;

function checkSizes(op: Op, shape: Shape): void {
  for (const axis in shape) {
    const size = shape[axis];
    if (!Number.isInteger(size) || size < 0) {
      mistake(op, `axis "${axis}" has ${size} elements, which is no whole number`);
    }
    if (size > longestAxis) {
      mistake(op, `axis "${axis}" has ${size} elements, at most ${longestAxis} can be counted; make two axes of it`);
    }
  }
}

/** A number as a node without axes. */
export const constant = (value: number, dtype: DType = "f32"): Node => node("constant", [], { value, dtype });
/** To `shape` (also another order of the same axes); itself if it has that shape already. */
export const expand = (x: Node, shape: Shape): Node => sameOrder(x.shape, shape) ? x : node("expand", [x], { shape });
/** A value everywhere. */
export const fill = (value: number, like: Node): Node => expand(constant(value, like.dtype), like.shape);
/** x + y. */
export const add = (x: Node, y: Node): Node => node("add", [x, y], {});
/** x · y. */
export const mul = (x: Node, y: Node): Node => node("mul", [x, y], {});
/** −x. */
export const neg = (x: Node): Node => node("neg", [x], {});
/** 1 / x. */
export const recip = (x: Node): Node => node("recip", [x], {});
/** x · value. */
export const scale = (x: Node, value: number): Node => mul(x, fill(value, x));
/** x + value. */
export const shift = (x: Node, value: number): Node => add(x, fill(value, x));
/** condition ? x : y. */
export const where = (condition: Node, x: Node, y: Node): Node => node("where", [condition, x, y], {});
/** In another storage type. */
export const cast = (x: Node, dtype: DType): Node => x.dtype === dtype ? x : node("cast", [x], { dtype });
/** Sum over axes; the result's axes in `order` if given. */
export const sum = (x: Node, over: readonly string[], order?: readonly string[]): Node =>
  over.length === 0
    ? (order ? expand(x, ordered(x.shape, order)) : x)
    : node("sum", [x], { over, ...(order && { order }) });
/** Σ x·y over axes; the result's axes in `order` if given. */
export function contract(x: Node, y: Node, over: readonly string[], order?: readonly string[]): Node {
  const combined = combine(x, y, over) ?? combine(y, x, over);
  if (combined) return order ? expand(combined, ordered(combined.shape, order)) : combined;
  return node("contract", [x, y], { over, ...(order && { order }) });
}

/**
 * Σ over axes of weights · rows·W[index] as rows that are weighted before their product (a mixture's gates): the
 * gradient of a weight is then ⟨row, W[index]ᵀ·cotangent⟩, so that backward needs no row's result, and the cotangent
 * goes into both products of backward as it is.
 */
function combine(result: Node, weights: Node, over: readonly string[]): Node | undefined {
  if (result.op !== "contractAt" || over.length === 0) return;
  const { inputs: [rows, w, index], attributes } = result as Node<"contractAt">;
  const fits = axesOf(weights.shape).every((axis) => axis in rows.shape && axis in result.shape) &&
    over.every((axis) => axis in index.shape && !(axis in w.shape) && axis in weights.shape) &&
    weights.dtype === rows.dtype && result.dtype === w.dtype;
  if (!fits) return;
  const weighted = mul(rows, expand(weights, rows.shape));
  return node("contractAt", [weighted, w, index], { ...attributes, over: [...attributes.over, ...over] });
}

/** The same axes in another order. */
export const ordered = (shape: Shape, order: readonly string[]): Shape =>
  Object.fromEntries(order.map((axis) => [axis, shape[axis]]));

/** A cotangent summed to `shape`: the adjoint of broadcasting into the cotangent's shape. */
export const reduceTo = (cotangent: Node, shape: Shape): Node =>
  sum(cotangent, missing(shape, cotangent.shape), axesOf(shape));

/** A number becomes a constant; a smaller operand is broadcast into `like`. */
export function into(op: string, like: Node, y: Node | number): Node {
  if (typeof y === "number") return fill(y, like);
  const extra = missing(like.shape, y.shape);
  if (extra.length > 0) {
    const shapes = `${showShape(like.shape)} and ${showShape(y.shape)}`;
    mistake(
      op,
      `the right operand has axis "${extra[0]}" that the left one lacks (${shapes}); swap them, or expand the left one`,
    );
  }
  for (const axis of axesOf(y.shape)) {
    if (y.shape[axis] !== like.shape[axis]) {
      const shapes = `${showShape(like.shape)} vs ${showShape(y.shape)}`;
      mistake(op, `axis "${axis}" is ${like.shape[axis]} in one operand and ${y.shape[axis]} in the other (${shapes})`);
    }
  }
  return expand(y, like.shape);
}

export { axesOf, missing, sizeOf, without };
