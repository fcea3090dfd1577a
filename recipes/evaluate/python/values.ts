/** @file Python values outside Python: what goes into an interpreter and what comes back. */

/**
 * A Python value. `None` is `null`, `int` is `bigint`, `float` is `number`, `list` is an array; the rest are the small
 * classes below. Values nest; they are data and never run.
 */
export type PythonValue =
  | null
  | boolean
  | bigint
  | number
  | string
  | PythonValue[]
  | Tuple
  | PySet
  | PyDict
  | PyBytes
  | PyComplex
  | Opaque;

/** The pairs of a dictionary, in insertion order. */
export type Dictionary = [key: PythonValue, value: PythonValue][];

/** A Python tuple. */
export class Tuple {
  /** Makes a tuple of the items. */
  constructor(readonly items: PythonValue[]) {}
}

/** A Python set or frozenset; the order of the items says nothing. */
export class PySet {
  /** Makes a set of items that are pairwise different. */
  constructor(readonly items: PythonValue[], readonly frozen: boolean = false) {}
}

/** A Python dictionary. */
export class PyDict {
  /** Makes a dictionary of pairs whose keys are pairwise different. */
  constructor(readonly entries: Dictionary) {}
}

/** Python bytes (a bytearray comes back as bytes too). */
export class PyBytes {
  /** Wraps the bytes. */
  constructor(readonly bytes: Uint8Array) {}
}

/** A Python complex number. */
export class PyComplex {
  /** Makes the number from its parts. */
  constructor(readonly real: number, readonly imaginary: number) {}
}

/**
 * An object that has no form outside its interpreter (a generator, a match, an instance of a sample's own class). For a
 * few types whose text says everything (`deque`, `Decimal`, `Fraction`, `range`, dates), `text` is their `repr`, and two
 * of them are equal when type and text are; everything else equals nothing.
 */
export class Opaque {
  /** Names the type, and says its text where that is a value. */
  constructor(readonly type: string, readonly text: string = "") {}
}

/**
 * A JavaScript value as a Python value: whole numbers become ints, other numbers floats, `undefined` is `None`, plain
 * objects become dictionaries. Use a class of this file where that is not what is meant.
 *
 * @throws TypeError for functions, symbols and other objects without a Python form
 */
export function toPython(value: unknown): PythonValue {
  if (value === null || value === undefined) return null;
  if (typeof value === "number") return Number.isSafeInteger(value) && !Object.is(value, -0) ? BigInt(value) : value;
  if (typeof value === "boolean" || typeof value === "bigint" || typeof value === "string") return value;
  if (Array.isArray(value)) return value.map(toPython);
  if (value instanceof Uint8Array) return new PyBytes(value);
  if (value instanceof Set) return new PySet([...value].map(toPython));
  if (value instanceof Map) return new PyDict([...value].map(([key, item]) => [toPython(key), toPython(item)]));
  if (value instanceof Tuple) return new Tuple(value.items);
  if (
    value instanceof PySet || value instanceof PyDict || value instanceof PyBytes || value instanceof PyComplex ||
    value instanceof Opaque
  ) return value;
  if (typeof value === "object" && Object.getPrototypeOf(value) === Object.prototype) {
    return new PyDict(Object.entries(value).map(([key, item]) => [key, toPython(item)]));
  }
  throw new TypeError(`no Python form for ${typeof value}`);
}

/** A short text of a value in Python's notation, for messages and reports; long values are cut. */
export function show(value: PythonValue, limit: number = 200): string {
  const text = notation(value);
  return text.length > limit ? text.slice(0, limit) + "…" : text;
}

function notation(value: PythonValue): string {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number") {
    if (Number.isNaN(value)) return "nan";
    if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
    return Number.isInteger(value) && Math.abs(value) < 1e16 ? value.toFixed(1) : String(value);
  }
  if (typeof value === "string") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(notation).join(", ")}]`;
  if (value instanceof Tuple) {
    return value.items.length === 1 ? `(${notation(value.items[0])},)` : `(${value.items.map(notation).join(", ")})`;
  }
  if (value instanceof PySet) {
    const inner = value.items.length > 0 ? `{${value.items.map(notation).join(", ")}}` : "";
    return value.frozen ? `frozenset(${inner})` : inner || "set()";
  }
  if (value instanceof PyDict) {
    return `{${value.entries.map(([key, item]) => `${notation(key)}: ${notation(item)}`).join(", ")}}`;
  }
  if (value instanceof PyBytes) return `bytes(${value.bytes.length})`;
  if (value instanceof PyComplex) return `(${value.real}+${value.imaginary}j)`;
  return value.text === "" ? `<${value.type}>` : value.text;
}
