/** @file Prints the instructions of a loop kernel's body as WGSL statements: register 7 is the value `r7`. */
import type { Access, Instruction, ReduceInstruction, RegisterType, StorageType } from "../../kernel.ts";
import { isHalf } from "../../../../dsl/half.ts";
import { mathDeclarations, type MathFunction } from "./math.ts";
import { affine, type Binding, type ElementType, elementType, integer } from "./shader.ts";

/** Which of the lanes that share a row store. */
export interface StoreRule {
  /** Condition under which this lane stores, if not always. */
  readonly when?: string;
}

/** The word in which a 16-bit store gathers an invocation's two elements; the loop over them is `half`. */
export const wordOf = (register: number): string => `word${register}`;

/** Prints bodies; collects the bindings, functions and the status word that they need. */
export class BodyPrinter {
  readonly #names: readonly string[];
  readonly #body: readonly Instruction[];
  readonly #given: ReadonlyMap<number, string>;
  readonly #bindings = new Map<number, Binding>();
  readonly #functions = new Set<MathFunction>();
  #status = false;

  /**
   * @param names one i32 name per loop axis
   * @param given expressions for loads that need no buffer, by register
   */
  constructor(body: readonly Instruction[], names: readonly string[], given: ReadonlyMap<number, string> = new Map()) {
    this.#body = body;
    this.#names = names;
    this.#given = given;
    const types = new Map<number, ElementType>();
    for (const [register, instruction] of body.entries()) {
      if ((instruction.op !== "load" && instruction.op !== "store") || given.has(register)) continue;
      const { slot, dtype } = instruction.access;
      const type = elementType(dtype);
      // One buffer read as two types is declared as plain words.
      types.set(slot, types.has(slot) && types.get(slot) !== type ? "u32" : type);
    }
    for (const [slot, type] of [...types].sort(([a], [b]) => a - b)) {
      this.#bindings.set(slot, { slot, name: `b${slot}`, type });
    }
  }

  /** Buffers of the body, by slot. */
  get bindings(): readonly Binding[] {
    return [...this.#bindings.values()];
  }

  /** Does what was printed report indices out of range? */
  get status(): boolean {
    return this.#status;
  }

  /** Functions that what was printed calls. */
  get declarations(): string[] {
    return mathDeclarations(this.#functions);
  }

  /** Name of a register. */
  name(register: number): string {
    return `r${register}`;
  }

  /** Type of a register. */
  typeOf(register: number): RegisterType {
    return this.#body[register].type;
  }

  /** The value that a reduction starts from. */
  identity(by: ReduceInstruction, type: RegisterType): string {
    if (type === "bool") return by === "min" ? "true" : "false";
    if (by === "sum") return type === "f32" ? "0f" : type === "i32" ? "0" : "0u";
    if (type === "f32") return this.constant("f32", by === "max" ? 0xff800000 : 0x7f800000);
    if (type === "i32") return by === "max" ? "i32(-2147483648)" : "2147483647";
    return by === "max" ? "0u" : "4294967295u";
  }

  /** Joins two partial results of a reduction. WGSL leaves open what max and min make of NaN; sums keep it. */
  combine(by: ReduceInstruction, type: RegisterType, a: string, b: string): string {
    if (type === "bool") return by === "min" ? `${a} && ${b}` : `${a} || ${b}`;
    return by === "sum" ? `${a} + ${b}` : `${by}(${a}, ${b})`;
  }

  /** A literal with these 32 bits. */
  constant(type: RegisterType, bits: number): string {
    const word = bits >>> 0;
    if (type === "bool") return word === 0 ? "false" : "true";
    if (type === "u32") return `${word}u`;
    if (type === "i32") return (word | 0) === -2147483648 ? "i32(-2147483648)" : `${word | 0}`;
    const exponent = (word >>> 23) & 0xff;
    if (exponent === 0xff || (exponent === 0 && word << 1 !== 0)) {
      this.#functions.add("bits");
      return `bits(0x${word.toString(16).padStart(8, "0")}u)`;
    }
    const value = new Float32Array(Uint32Array.of(word).buffer)[0];
    return Object.is(value, -0) ? "-0f" : `${String(value).replace("e+", "e")}f`;
  }

  /** Statements of one instruction; `reduce` belongs to the loop template. */
  print(register: number, rule: StoreRule = {}): string[] {
    const instruction = this.#body[register];
    const name = this.name(register), given = this.#given.get(register);
    if (given !== undefined) return [`let ${name} = ${given};`];
    switch (instruction.op) {
      case "load":
        return this.#load(register, instruction.access);
      case "store":
        return this.#store(register, instruction.access, this.name(instruction.a), rule);
      case "index":
        return [`let ${name} = ${affine(instruction.index, this.#names)};`];
      case "const":
        return [`let ${name} = ${this.constant(instruction.type, instruction.bits)};`];
      case "reduce":
        throw new Error("WGSL: reduce outside a loop");
      case "select": {
        const { a, b, c } = instruction;
        return [`let ${name} = select(${this.name(b)}, ${this.name(a)}, ${this.name(c)});`];
      }
      case "cast":
        return [`let ${name} = ${this.#cast(this.typeOf(instruction.a), instruction.type, this.name(instruction.a))};`];
      default:
        return "b" in instruction
          ? [`let ${name} = ${this.#binary(instruction.op, instruction.a, instruction.b)};`]
          : [`let ${name} = ${this.#unary(instruction.op, instruction.a)};`];
    }
  }

  /** An f32 value as the 16 bits that are stored (u32). */
  halfBits(dtype: StorageType, value: string): string {
    return this.#call(dtype === "f16" ? "toF16" : "toBf16", value);
  }

  #call(name: MathFunction, ...args: readonly string[]): string {
    this.#functions.add(name);
    return `${name}(${args.join(", ")})`;
  }

  #unary(op: string, register: number): string {
    const a = this.name(register);
    const type = this.typeOf(register);
    switch (op) {
      case "neg":
        return type === "u32" ? `0u - ${a}` : `-${a}`;
      case "not":
        return type === "bool" ? `!${a}` : `~${a}`;
      case "recip":
        return `1f / ${a}`;
      case "exp":
        return this.#call("expOf", a);
      case "log":
        return this.#call("logOf", a);
      case "sin":
        return this.#call("sinOf", a);
      case "cos":
        return this.#call("cosOf", a);
      case "tanh":
        return this.#call("tanhOf", a);
      case "roundF16":
        return this.#call("fromF16", this.#call("toF16", a));
      case "roundBf16":
        return this.#call("bits", `${this.#call("toBf16", a)} << 16u`);
      default:
        return `${op}(${a})`;
    }
  }

  #binary(op: string, left: number, right: number): string {
    const a = this.name(left);
    const b = this.name(right);
    const type = this.typeOf(left);
    switch (op) {
      case "add":
        return `${a} + ${b}`;
      case "sub":
        return `${a} - ${b}`;
      case "mul":
        return `${a} * ${b}`;
      case "less":
        return type === "bool" ? `!${a} && ${b}` : `${a} < ${b}`;
      case "equal":
        return `${a} == ${b}`;
      case "and":
        return type === "bool" ? `${a} && ${b}` : `${a} & ${b}`;
      case "or":
        return type === "bool" ? `${a} || ${b}` : `${a} | ${b}`;
      case "xor":
        return type === "bool" ? `${a} != ${b}` : `${a} ^ ${b}`;
      case "shl":
        return `${a} << (${this.#amount(right)})`;
      case "shr":
        return type === "i32"
          ? `bitcast<i32>(bitcast<u32>(${a}) >> (${this.#amount(right)}))`
          : `${a} >> (${this.#amount(right)})`;
      case "max":
      case "min":
        if (type === "bool") return op === "max" ? `${a} || ${b}` : `${a} && ${b}`;
        return `${op}(${a}, ${b})`;
      default:
        throw new Error(`WGSL: no instruction "${op}"`);
    }
  }

  #amount(register: number): string {
    const b = this.name(register);
    return this.typeOf(register) === "u32" ? `${b} & 31u` : `bitcast<u32>(${b}) & 31u`;
  }

  #cast(from: RegisterType, to: RegisterType, a: string): string {
    if (from === to) return a;
    if (to === "bool") return `${a} != ${from === "f32" ? "0f" : from === "i32" ? "0" : "0u"}`;
    if (from === "f32") return to === "i32" ? this.#call("toI32", a) : this.#call("toU32", a);
    if (from === "bool" || to === "f32") return `${to}(${a})`;
    return `bitcast<${to}>(${a})`;
  }

  /** Statements that compute the element's address, and the condition under which it may be touched. */
  #address(register: number, access: Access): { lines: string[]; address: string; valid?: string } {
    const lines: string[] = [];
    const checks = (access.guards ?? []).map((guard) => `bitcast<u32>(${affine(guard, this.#names)}) < ${guard.size}u`);
    let address = affine(access, this.#names);
    if (access.gather) {
      const { register: from, stride, size } = access.gather;
      const index = this.name(from);
      const inside = `inside${register}`;
      this.#status = true;
      lines.push(`let ${inside} = bitcast<u32>(${index}) < ${size}u;`);
      const wrong = [`!${inside}`, `${index} != -1`, ...checks].join(" && ");
      lines.push(`if (${wrong}) { outOfRange(); }`);
      checks.push(inside);
      const step = stride === 1 ? index : `${index} * ${integer(stride)}`;
      address = address === "0" ? step : `${address} + ${step}`;
    }
    if (checks.length === 0) return { lines, address };
    const valid = `valid${register}`;
    lines.push(`let ${valid} = ${checks.join(" && ")};`);
    return { lines, address, valid };
  }

  #load(register: number, access: Access): string[] {
    const { lines, address, valid } = this.#address(register, access);
    const type = this.typeOf(register);
    const read = (at: string) => this.#fromWord(access.slot, access.dtype, at);
    if (!valid) return [...lines, `let r${register} = ${read(address)};`];
    // The address is made harmless too: modules may run without bounds checks.
    const zero = type === "f32" ? "0f" : type === "i32" ? "0" : type === "u32" ? "0u" : "false";
    return [
      ...lines,
      `let at${register} = select(0, ${address}, ${valid});`,
      `let r${register} = select(${zero}, ${read(`at${register}`)}, ${valid});`,
    ];
  }

  #store(register: number, access: Access, value: string, rule: StoreRule): string[] {
    const { lines, address, valid } = this.#address(register, access);
    const conditions = [rule.when, valid].filter((text) => text !== undefined);
    const write = isHalf(access.dtype)
      ? `${wordOf(register)} |= ${this.halfBits(access.dtype, value)} << (half * 16u);`
      : `b${access.slot}[${address}] = ${this.#toWord(access.slot, access.dtype, value)};`;
    return [...lines, conditions.length > 0 ? `if (${conditions.join(" && ")}) { ${write} }` : write];
  }

  #fromWord(slot: number, dtype: StorageType, at: string): string {
    const word = `b${slot}[${at}]`;
    if (dtype === "bool") return `${word} != 0u`;
    if (isHalf(dtype)) {
      const pair = `b${slot}[(${at}) >> 1u]`;
      const half = `(${pair} >> (bitcast<u32>((${at}) & 1) << 4u))`;
      return dtype === "f16" ? this.#call("fromF16", `${half} & 0xffffu`) : `bitcast<f32>(${half} << 16u)`;
    }
    const declared = this.#bindings.get(slot)?.type;
    return declared === dtype ? word : `bitcast<${dtype}>(${word})`;
  }

  #toWord(slot: number, dtype: StorageType, value: string): string {
    if (dtype === "bool") return `select(0u, 1u, ${value})`;
    const declared = this.#bindings.get(slot)?.type;
    return declared === dtype ? value : `bitcast<u32>(${value})`;
  }
}
