/** @file Python's `marshal` format, version 2: values in and out of an interpreter, exactly. */
import { type Dictionary, Opaque, PyBytes, PyComplex, PyDict, PySet, type PythonValue, Tuple } from "./values.ts";

/**
 * Writes a value the way `marshal.dumps(value, 2)` does; Python reads it with `marshal.loads`. An {@link Opaque} is
 * written as the tuple `(..., type, text)`: it stands for an object that only lived in its interpreter.
 */
export function encode(value: PythonValue): Uint8Array<ArrayBuffer> {
  const out = new Writer();
  write(out, value);
  return out.bytes();
}

/**
 * Reads what an interpreter wrote.
 *
 * @throws RangeError where the bytes are cut short or are no marshal data (a sample may write anything)
 */
export function decode(bytes: Uint8Array): PythonValue {
  const reader = new Reader(bytes);
  const value = read(reader, 0);
  if (!reader.finished) throw new RangeError("marshal: bytes follow the value");
  return value;
}

class Writer {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  /** Makes room for `count` bytes and returns where they go. */
  #room(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }
  type(letter: string): void {
    const at = this.#room(1);
    this.#bytes[at] = letter.charCodeAt(0);
  }
  int32(value: number): void {
    const at = this.#room(4);
    this.#view.setInt32(at, value, true);
  }
  uint16(value: number): void {
    const at = this.#room(2);
    this.#view.setUint16(at, value, true);
  }
  float64(value: number): void {
    const at = this.#room(8);
    this.#view.setFloat64(at, value, true);
  }
  raw(bytes: Uint8Array): void {
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
  }
  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }
}

function write(out: Writer, value: PythonValue): void {
  if (value === null) return out.type("N");
  if (typeof value === "boolean") return out.type(value ? "T" : "F");
  if (typeof value === "bigint") return writeInt(out, value);
  if (typeof value === "number") {
    out.type("g");
    return out.float64(value);
  }
  if (typeof value === "string") {
    const bytes = encodeText(value);
    out.type("u");
    out.int32(bytes.length);
    return out.raw(bytes);
  }
  if (value instanceof PyComplex) {
    out.type("y");
    out.float64(value.real);
    return out.float64(value.imaginary);
  }
  if (value instanceof PyBytes) {
    out.type("s");
    out.int32(value.bytes.length);
    return out.raw(value.bytes);
  }
  if (value instanceof PyDict) {
    out.type("{");
    for (const [key, item] of value.entries) {
      write(out, key);
      write(out, item);
    }
    return out.type("0");
  }
  if (value instanceof Opaque) {
    out.type("(");
    out.int32(3);
    out.type(".");
    write(out, value.type);
    return write(out, value.text);
  }
  const items = Array.isArray(value) ? value : value.items;
  out.type(Array.isArray(value) ? "[" : value instanceof Tuple ? "(" : value.frozen ? ">" : "<");
  out.int32(items.length);
  for (const item of items) write(out, item);
}

function writeInt(out: Writer, value: bigint): void {
  if (value >= -0x80000000n && value < 0x80000000n) {
    out.type("i");
    return out.int32(Number(value));
  }
  // By way of text, which takes linear time; taking 15 bits off a bigint again and again takes quadratic (outputs of
  // HumanEval+ have millions of bits).
  const bits = (value < 0n ? -value : value).toString(2);
  const digits: number[] = [];
  for (let end = bits.length; end > 0; end -= 15) digits.push(parseInt(bits.slice(Math.max(0, end - 15), end), 2));
  out.type("l");
  out.int32(value < 0n ? -digits.length : digits.length);
  for (const digit of digits) out.uint16(digit);
}

/** UTF-8 in which lone surrogates stand as themselves ("surrogatepass"), as Python's marshal has it. */
function encodeText(text: string): Uint8Array {
  if (text.isWellFormed()) return new TextEncoder().encode(text);
  const out: number[] = [];
  for (const character of text) {
    const code = character.codePointAt(0)!;
    if (code >= 0xd800 && code < 0xe000) out.push(0xe0 | code >> 12, 0x80 | (code >> 6) & 63, 0x80 | code & 63);
    else out.push(...new TextEncoder().encode(character));
  }
  return new Uint8Array(out);
}

class Reader {
  #at = 0;
  readonly #view: DataView;
  constructor(readonly bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }
  get finished(): boolean {
    return this.#at === this.bytes.length;
  }
  #step(count: number): number {
    const at = this.#at;
    if (count < 0 || at + count > this.bytes.length) throw new RangeError("marshal: the data is cut short");
    this.#at += count;
    return at;
  }
  type(): string {
    return String.fromCharCode(this.bytes[this.#step(1)]);
  }
  int32(): number {
    return this.#view.getInt32(this.#step(4), true);
  }
  uint16(): number {
    return this.#view.getUint16(this.#step(2), true);
  }
  float64(): number {
    return this.#view.getFloat64(this.#step(8), true);
  }
  raw(count: number): Uint8Array {
    const at = this.#step(count);
    return this.bytes.slice(at, at + count);
  }
  /** A count of items, each at least a byte long: refused where the data cannot hold so many. */
  count(): number {
    const count = this.int32();
    if (count < 0 || count > this.bytes.length - this.#at) throw new RangeError("marshal: the data is cut short");
    return count;
  }
}

const nothing = Symbol("the end of a dictionary");

function read(reader: Reader, depth: number): PythonValue {
  const value = readOrEnd(reader, depth);
  if (value === nothing) throw new RangeError("marshal: a value is missing");
  return value;
}

function readOrEnd(reader: Reader, depth: number): PythonValue | typeof nothing {
  if (depth > 2000) throw new RangeError("marshal: nested too deeply");
  const items = (): PythonValue[] => Array.from({ length: reader.count() }, () => read(reader, depth + 1));
  const type = reader.type();
  switch (type) {
    case "0":
      return nothing;
    case "N":
      return null;
    case "T":
      return true;
    case "F":
      return false;
    case ".":
      return new Opaque("ellipsis", "...");
    case "i":
      return BigInt(reader.int32());
    case "l":
      return readInt(reader);
    case "g":
      return reader.float64();
    case "y":
      return new PyComplex(reader.float64(), reader.float64());
    case "s":
      return new PyBytes(reader.raw(reader.count()));
    case "u":
    case "t":
      return decodeText(reader.raw(reader.count()));
    case "[":
      return items();
    case "(": {
      const tuple = items();
      const [mark, name, text] = tuple;
      if (tuple.length === 3 && mark instanceof Opaque && typeof name === "string" && typeof text === "string") {
        return new Opaque(name, text);
      }
      return new Tuple(tuple);
    }
    case "<":
      return new PySet(items(), false);
    case ">":
      return new PySet(items(), true);
    case "{": {
      const entries: Dictionary = [];
      for (let key = readOrEnd(reader, depth + 1); key !== nothing; key = readOrEnd(reader, depth + 1)) {
        entries.push([key, read(reader, depth + 1)]);
      }
      return new PyDict(entries);
    }
  }
  throw new RangeError(`marshal: unknown type ${JSON.stringify(type)}`);
}

function readInt(reader: Reader): bigint {
  const count = reader.int32();
  const digits = Array.from({ length: Math.abs(count) }, () => reader.uint16());
  // Joined as text of 15-bit groups: adding shifted bigints one by one would take quadratic time.
  const bits = digits.reverse().map((digit) => digit.toString(2).padStart(15, "0")).join("");
  const value = bits === "" ? 0n : BigInt("0b" + bits);
  return count < 0 ? -value : value;
}

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    let out = "";
    for (let i = 0; i < bytes.length;) {
      const byte = bytes[i];
      const length = byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
      let code = length === 1 ? byte : byte & (0xff >> (length + 1));
      for (let k = 1; k < length; k++) code = code << 6 | (bytes[i + k] ?? 0) & 63;
      if (code > 0x10ffff) throw new RangeError("marshal: text is not UTF-8");
      out += String.fromCodePoint(code);
      i += length;
    }
    return out;
  }
}
