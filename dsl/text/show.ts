/**
 * @file Prints a program in administrative normal form: one assignment per line, every operand a name or a number, with
 * axes and sizes. `parse` reads it back.
 */
import type { Node, Op } from "../node.ts";
import { isOp } from "../node.ts";
import type { Shape } from "../shape.ts";
import { type AnyTensor, tensorOf } from "../tensor.ts";
import { entriesOf } from "../tree.ts";

/** Attributes that a line's type states already. */
export const implied: { readonly [O in Op]?: readonly ("shape" | "dtype")[] } = {
  data: ["shape", "dtype"],
  variable: ["shape", "dtype"],
  buffer: ["shape", "dtype"],
  expand: ["shape"],
  cast: ["dtype"],
};

/** Data of so many elements is printed; more of it is named. */
const PRINTED_VALUES = 16;

/** Nodes that are themselves and not what is written about them: `parse` makes new ones, or takes given ones. */
export const isLeaf = (node: Node): boolean =>
  node.op === "variable" || node.op === "data" || node.op === "buffer" || node.op === "call";

/** Every node under some roots, each before its users; the order depends on the program alone, not on its making. */
function written(roots: readonly Node[]): Node[] {
  const done = new Set<Node>(), stack = roots.toReversed();
  while (stack.length > 0) {
    const node = stack[stack.length - 1];
    const next = done.has(node) ? undefined : node.inputs.find((input) => !done.has(input));
    if (next) stack.push(next);
    else {
      done.add(node);
      stack.pop();
    }
  }
  return [...done];
}

/**
 * What a program cannot say in text: its variables, data, device memory and functions, in the order in which `show`
 * prints them. With them `parse` gives back the very same program.
 *
 * @example
 * ```ts
 * import { leavesIn, mul, parse, show, tensor } from "../mod.ts";
 * const x = tensor({ seq: 20 }, new Float32Array(20)), y = mul(x, x);
 * console.assert(leavesIn(y)[0] === x);
 * console.assert(parse(show(y), leavesIn(y)).results[0][1] === y);
 * ```
 */
export const leavesIn = (tree: unknown): AnyTensor[] =>
  written(entriesOf(tree).map(([, root]) => root)).filter(isLeaf).map((leaf) => tensorOf<string, "real">(leaf));

const isPlain = (name: string): boolean => /^[^\s:[\]"=]+$/.test(name);
const showName = (name: string): string => isPlain(name) ? name : JSON.stringify(name);
const showType = ({ dtype, shape }: { dtype: string; shape: Shape }): string =>
  `${dtype}[${Object.entries(shape).map(([axis, size]) => `${showName(axis)}:${size}`).join(" ")}]`;

/** A number that reads back as itself: JSON has no −0, NaN and infinities. */
const showNumber = (value: number): string => Object.is(value, -0) ? "-0" : String(value);

function showValue(value: unknown): string {
  if (typeof value === "number") return showNumber(value);
  if (Array.isArray(value)) return `[${value.map(showValue).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if ("op" in value || "parameters" in value || "nodes" in value) return "…";
  return `{${Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}:${showValue(each)}`).join(",")}}`;
}

function showAttributes(node: Node): string {
  const hidden: readonly string[] = implied[node.op] ?? [];
  return Object.entries(node.attributes).flatMap(([name, value]): string[] => {
    if (hidden.includes(name) || value === undefined || name === "memory" || name === "func") return [];
    if (ArrayBuffer.isView(value)) {
      const values = Array.from(value as Float64Array);
      return values.length <= PRINTED_VALUES ? [` ${name}=${showValue(values)}`] : [` ${name}=…`];
    }
    return [` ${name}=${showValue(value)}`];
  }).join("");
}

/** A constant stands where it is used: `0.5`, or `3:i32`. */
const showConstant = ({ attributes: { value, dtype } }: Node<"constant">): string =>
  `${showNumber(value)}${dtype === "f32" ? "" : `:${dtype}`}`;

function showLines(results: readonly (readonly [path: string, root: Node])[], first: readonly Node[]): string[] {
  const names = new Map<Node, string>(), lines: string[] = [];
  let next = 0;
  for (const node of written([...first, ...results.map(([, root]) => root)])) {
    if (isOp(node, "constant")) {
      names.set(node, showConstant(node));
      continue;
    }
    const name = `%${next++}`;
    const inputs = node.inputs.map((input) => ` ${names.get(input)}`).join("");
    const line = `${name} = ${node.op}${inputs}${showAttributes(node)} : ${showType(node)}`;
    names.set(node, name);
    if (!isOp(node, "call")) {
      lines.push(line);
      continue;
    }
    const { kind, parameters, result } = node.attributes.func;
    const body = showLines([["", result]], parameters);
    lines.push(
      `${line} ${kind}(${parameters.map((_, i) => `%${i}`).join(" ")}) {`,
      ...body.map((each) => `  ${each}`),
      "}",
    );
  }
  const returned = results.map(([path, root]) => `${path ? `${showName(path)}=` : ""}${names.get(root)}`);
  return [...lines, `return ${returned.join(" ")}`];
}

/**
 * The program that computes the leaves of a tree, as text: one line for each operation with its operands, attributes,
 * storage, axes and sizes; functions (`checkpoint`) as blocks. `parse` reads it back. Data of more than 16 elements,
 * device memory and the gradient of `customVjp` are no part of the text.
 *
 * @example
 * ```ts
 * import { contract, show, tensor } from "../mod.ts";
 * const x = tensor({ seq: 1, embed: 2 }, [1, 2]), w = tensor({ embed: 2 }, [3, 4]);
 * console.assert(show(contract(x, w, "embed")) === `%0 = data values=[1,2] : f32[seq:1 embed:2]
 * %1 = data values=[3,4] : f32[embed:2]
 * %2 = contract %0 %1 over=["embed"] : f32[seq:1]
 * return %2`);
 * ```
 */
export const show = (tree: unknown): string => showLines(entriesOf(tree), []).join("\n");
