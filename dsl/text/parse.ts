/** @file Reads the text of a program that `show` printed. */
import { constant, node as make, primitiveOf } from "../build.ts";
import { UserError } from "../errors.ts";
import type { Attributes, Node, Op } from "../node.ts";
import { checkpointed } from "../transforms/checkpoint.ts";
import { sameOrder, type Shape, showShape } from "../shape.ts";
import { type AnyTensor, type DType, nodeOf, tensorOf } from "../tensor.ts";
import { implied, isLeaf } from "./show.ts";

/** A program that was read. */
export interface Parsed {
  /** Its results, each with its path in the tree that was shown. */
  readonly results: readonly (readonly [path: string, result: AnyTensor])[];
  /** Its variables, in the order of the text. */
  readonly variables: readonly AnyTensor[];
}

/** Walks one line from left to right. */
class Scanner {
  at = 0;
  constructor(readonly line: string, readonly number: number) {}

  fail(why: string): never {
    throw new UserError(`line ${this.number} of the program, column ${this.at + 1}: ${why}: ${this.line.trim()}`);
  }

  /** What a pattern matches from here on, if it does. */
  take(pattern: RegExp): string | undefined {
    const sticky = new RegExp(pattern, "y");
    sticky.lastIndex = this.at;
    const found = sticky.exec(this.line);
    if (!found) return undefined;
    this.at = sticky.lastIndex;
    return found[0];
  }

  expect(pattern: RegExp, what: string): string {
    return this.take(pattern) ?? this.fail(`expected ${what}`);
  }

  space(): void {
    this.take(/\s+/);
  }

  /** What is still to be read. */
  get rest(): string {
    return this.line.slice(this.at);
  }

  get ended(): boolean {
    return this.at >= this.line.length;
  }

  /** A name, in quotes if it has other than plain characters. */
  name(): string {
    const quoted = this.take(/"(?:[^"\\]|\\.)*"/);
    return quoted ? JSON.parse(quoted) : this.expect(/[^\s:[\]"=]+/, "a name");
  }

  numeral(): number {
    const text = this.expect(/-?(?:Infinity|NaN|\d+(?:\.\d+)?(?:e[+-]?\d+)?)/, "a number");
    return text === "-0" ? -0 : Number(text);
  }

  /** A number, string, list or record. */
  value(): unknown {
    if (this.take(/\[/)) return this.#list(/\]/, () => this.value());
    if (this.take(/\{/)) {
      return Object.fromEntries(this.#list(/\}/, () => {
        const key = this.name();
        this.expect(/:/, "a colon");
        return [key, this.value()] as const;
      }));
    }
    const quoted = this.take(/"(?:[^"\\]|\\.)*"/);
    return quoted ? JSON.parse(quoted) : this.numeral();
  }

  #list<T>(end: RegExp, element: () => T): T[] {
    const out: T[] = [];
    while (!this.take(end)) {
      if (out.length > 0) this.expect(/,/, "a comma");
      out.push(element());
    }
    return out;
  }

  type(): { dtype: DType; shape: Shape } {
    const dtype = this.expect(/f32|f16|bf16|i32|u32|bool/, "a storage type") as DType,
      shape: Record<string, number> = {};
    this.expect(/\[/, "[");
    while (!this.take(/\]/)) {
      this.space();
      const axis = this.name();
      this.expect(/:/, "a colon");
      shape[axis] = Number(this.expect(/\d+/, "a size"));
    }
    return { dtype, shape };
  }
}

class Reader {
  at = 0;
  nextLeaf = 0;
  readonly variables: Node[] = [];
  constructor(readonly lines: readonly string[], readonly leaves: readonly Node[] | undefined) {}

  /** Lines up to a `return`. */
  block(variables: Node[]): (readonly [string, Node])[] {
    const names = new Map<string, Node>();
    for (; this.at < this.lines.length; this.at++) {
      if (this.lines[this.at].trim() === "") continue;
      const scan = new Scanner(this.lines[this.at], this.at + 1);
      scan.space();
      if (scan.take(/return\b/)) {
        this.at++;
        return this.#returned(scan, names);
      }
      const name = scan.expect(/%\d+/, "%, a number and =");
      scan.expect(/ = /, "=");
      const made = this.#assignment(scan, names);
      names.set(name, made);
      if (made.op === "variable") variables.push(made);
    }
    throw new UserError("the program ends without a return: it is cut short.");
  }

  #returned(scan: Scanner, names: ReadonlyMap<string, Node>): (readonly [string, Node])[] {
    const results: (readonly [string, Node])[] = [];
    for (scan.space(); !scan.ended; scan.space()) {
      const path = /^(?:"|[^\s:[\]"=]+=)/.test(scan.rest) ? scan.name() : "";
      if (path) scan.expect(/=/, "=");
      results.push([path, this.#operand(scan, names) ?? scan.fail("expected a name like %1")]);
    }
    return results;
  }

  #operand(scan: Scanner, names: ReadonlyMap<string, Node>): Node | undefined {
    const name = scan.take(/%\d+/);
    if (name) return names.get(name) ?? scan.fail(`${name} is not defined above`);
    if (!/^-?(?:\d|Infinity\b|NaN\b)/.test(scan.rest)) return undefined;
    const value = scan.numeral();
    return constant(
      value,
      scan.take(/:(?=\w)/) ? scan.expect(/f16|bf16|i32|u32|bool/, "a storage type") as DType : "f32",
    );
  }

  #assignment(scan: Scanner, names: ReadonlyMap<string, Node>): Node {
    const op = scan.expect(/\w+/, "an operation") as Op, inputs: Node[] = [], attributes: Record<string, unknown> = {};
    if (!primitiveOf(op)) scan.fail(`there is no operation "${op}"`);
    let unwritten = false;
    for (scan.space(); !scan.take(/: /); scan.space()) {
      const operand = this.#operand(scan, names);
      if (operand) inputs.push(operand);
      else {
        const name = scan.name();
        scan.expect(/=/, "=");
        if (scan.take(/…/)) unwritten = true;
        else attributes[name] = scan.value();
      }
    }
    const type = scan.type();
    const made = this.#node(scan, op, inputs, attributes, type, unwritten);
    if (made.dtype !== type.dtype || !sameOrder(made.shape, type.shape)) {
      scan.fail(
        `${op} gives ${made.dtype}${showShape(made.shape)}, the text says ${type.dtype}${showShape(type.shape)}`,
      );
    }
    return made;
  }

  #node(
    scan: Scanner,
    op: Op,
    inputs: readonly Node[],
    attributes: Record<string, unknown>,
    type: { dtype: DType; shape: Shape },
    unwritten: boolean,
  ): Node {
    const given = isLeaf({ op } as Node) ? this.leaves?.[this.nextLeaf++] : undefined;
    if (given && given.op !== op) scan.fail(`the leaf given for it is ${given.op}`);
    if (op === "call") return this.#call(scan, inputs, given as Node<"call"> | undefined);
    if (given) return given;
    if (op === "buffer" || unwritten) {
      scan.fail(`what ${op} holds is no part of the text; give its leaves to parse (see leavesIn)`);
    }
    for (const name of implied[op] ?? []) attributes[name] = type[name];
    if (op === "data") attributes.values = Float64Array.from(attributes.values as number[]);
    return make(op, inputs, attributes as Attributes[Op]);
  }

  #call(scan: Scanner, inputs: readonly Node[], given: Node<"call"> | undefined): Node {
    scan.space();
    const kind = scan.expect(/checkpoint|customVjp/, "checkpoint or customVjp");
    const count = scan.expect(/\([^)]*\)/, "parameters").match(/%/g)?.length ?? 0;
    this.at++;
    if (given) {
      for (let depth = 1; depth > 0; this.at++) {
        if (this.at >= this.lines.length) throw new UserError("the program ends within a function: it is cut short.");
        if (this.lines[this.at].endsWith("{")) depth++;
        else if (this.lines[this.at].trim() === "}") depth--;
      }
      this.at--;
      return inputs.every((input, i) => input === given.inputs[i]) ? given : make("call", inputs, given.attributes);
    }
    const parameters: Node[] = [], inner = new Reader(this.lines, undefined);
    inner.at = this.at;
    const [[, result]] = inner.block(parameters);
    this.at = inner.at;
    if (this.lines[this.at]?.trim() !== "}") throw new UserError(`line ${this.at + 1} of the program: expected }`);
    if (kind === "customVjp") scan.fail("its gradient is no part of the text; give its leaves to parse (see leavesIn)");
    return make("call", inputs, { func: checkpointed({ parameters: parameters.slice(0, count), result }) });
  }
}

/**
 * Reads a program that `show` printed. It is the same program: nodes are shared with what exists already, except for
 * leaves, which are made anew (variables, functions) or from their printed values (data).
 *
 * @param text what `show` returned
 * @param leaves what stands for its variables, data, device memory and functions, in the order of the text (`leavesIn`):
 * then the results are the very same tensors
 * @throws UserError that names line, column and what is wrong there
 * @example
 * ```ts
 * import { item, mul, parse, scalar, show } from "../mod.ts";
 * const x = mul(scalar(2), 3), [[, same]] = parse(show(x)).results;
 * console.assert(same === x);
 * ```
 */
export function parse(text: string, leaves?: readonly AnyTensor[]): Parsed {
  const reader = new Reader(text.split("\n"), leaves?.map(nodeOf)), variables: Node[] = [];
  const results = reader.block(variables);
  return {
    results: results.map(([path, result]) => [path, tensorOf<string, "real">(result)]),
    variables: variables.map((each) => tensorOf<string, "real">(each)),
  };
}
