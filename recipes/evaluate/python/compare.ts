/** @file When two Python values are the same: `==` and `numpy.allclose`, outside Python. */
import { Opaque, PyBytes, PyComplex, PyDict, PySet, type PythonValue, Tuple } from "./values.ts";

type Numeric = boolean | bigint | number;

/** Whether the value is a number that Python compares by size. */
function isNumeric(value: PythonValue): value is Numeric {
  return typeof value === "number" || typeof value === "bigint" || typeof value === "boolean";
}

/** JavaScript's `==` between bigint and number is exact, as Python's is between int and float. */
function sameNumber(a: Numeric, b: Numeric): boolean {
  const [x, y] = [typeof a === "boolean" ? BigInt(a) : a, typeof b === "boolean" ? BigInt(b) : b];
  // deno-lint-ignore eqeqeq -- 1n == 1 is meant
  return x == y;
}

/**
 * Python's `==`. Numbers are compared across their types (`1 == 1.0 == True`), a list never equals a tuple, sets and
 * dictionaries ignore order, NaN equals nothing, an {@link Opaque} only one of the same type and (non-empty) text.
 */
export function equal(a: PythonValue, b: PythonValue): boolean {
  if (isNumeric(a) && isNumeric(b)) return sameNumber(a, b);
  if (a instanceof PyComplex || b instanceof PyComplex) {
    const [x, y] = [asComplex(a), asComplex(b)];
    return x !== undefined && y !== undefined && sameNumber(x.real, y.real) && sameNumber(x.imaginary, y.imaginary);
  }
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object") return a === b;
  if (Array.isArray(a)) return Array.isArray(b) && equalItems(a, b);
  if (a instanceof Tuple) return b instanceof Tuple && equalItems(a.items, b.items);
  if (a instanceof PyBytes) {
    return b instanceof PyBytes && a.bytes.length === b.bytes.length && a.bytes.every((byte, i) => byte === b.bytes[i]);
  }
  if (a instanceof Opaque) return b instanceof Opaque && a.text !== "" && a.type === b.type && a.text === b.text;
  if (a instanceof PySet) {
    if (!(b instanceof PySet) || a.items.length !== b.items.length) return false;
    const keys = new Set(b.items.map(hashKey));
    return a.items.every((item) => keys.has(hashKey(item)));
  }
  if (!(b instanceof PyDict) || a.entries.length !== b.entries.length) return false;
  const other = new Map(b.entries.map(([key, value]) => [hashKey(key), value]));
  return a.entries.every(([key, value]) => {
    const found = other.get(hashKey(key));
    return found !== undefined && equal(value, found);
  });
}

function equalItems(a: readonly PythonValue[], b: readonly PythonValue[]): boolean {
  return a.length === b.length && a.every((item, i) => equal(item, b[i]));
}

function asComplex(value: PythonValue): { real: Numeric; imaginary: number } | undefined {
  if (value instanceof PyComplex) return value;
  return isNumeric(value) ? { real: value, imaginary: 0 } : undefined;
}

/** A text that two hashable values share exactly when Python holds them equal. */
export function hashKey(value: PythonValue): string {
  if (value === null) return "N";
  if (typeof value === "string") return "s" + JSON.stringify(value);
  if (typeof value === "boolean") return "n" + Number(value);
  if (typeof value === "bigint") return "n" + value;
  if (typeof value === "number") return Number.isInteger(value) ? "n" + BigInt(value) : "n" + value;
  if (value instanceof PyComplex) {
    return value.imaginary === 0 ? hashKey(value.real) : `c${hashKey(value.real)},${hashKey(value.imaginary)}`;
  }
  if (value instanceof Tuple) return `(${value.items.map(hashKey).join()})`;
  if (value instanceof PySet) return `{${value.items.map(hashKey).sort().join()}}`;
  if (value instanceof PyBytes) return "b" + value.bytes.toHex();
  if (value instanceof Opaque) return "o" + JSON.stringify([value.type, value.text]);
  // Lists and dictionaries cannot be keys in Python; they still need a name of their own here.
  if (Array.isArray(value)) return `[${value.map(hashKey).join()}]`;
  return `d${value.entries.map((entry) => entry.map(hashKey).join(":")).sort().join()}`;
}

/** Relative tolerance of `numpy.testing.assert_allclose`, which evalplus uses. */
const relative = 1e-7;

/**
 * `numpy.allclose(out, expected, rtol=1e-7, atol)` for numbers and for lists and tuples of numbers of one shape; false
 * where numpy would refuse the values. Infinities are close to themselves, NaN to nothing.
 */
export function allClose(out: PythonValue, expected: PythonValue, atol: number): boolean {
  const [x, y] = [itemsOf(out), itemsOf(expected)];
  if (x && y) return x.length === y.length && x.every((item, i) => allClose(item, y[i], atol));
  const [a, b] = [asComplex(out), asComplex(expected)];
  if (!a || !b) return false;
  const [ar, br] = [Number(a.real), Number(b.real)];
  if (a.imaginary === 0 && b.imaginary === 0) {
    return ar === br || (Number.isFinite(br) && Math.abs(ar - br) <= atol + relative * Math.abs(br));
  }
  const distance = Math.hypot(ar - br, a.imaginary - b.imaginary);
  return distance <= atol + relative * Math.hypot(br, b.imaginary);
}

/** The items of a list or tuple. */
export function itemsOf(value: PythonValue): readonly PythonValue[] | undefined {
  return Array.isArray(value) ? value : value instanceof Tuple ? value.items : undefined;
}

/** Python's `type(a) == type(b)`, by the types that leave an interpreter. */
export function sameType(a: PythonValue, b: PythonValue): boolean {
  const kind = (value: PythonValue): unknown =>
    value !== null && typeof value === "object"
      ? value instanceof PySet ? `set ${value.frozen}` : value instanceof Opaque ? value.type : value.constructor
      : value === null
      ? null
      : typeof value;
  return kind(a) === kind(b);
}
