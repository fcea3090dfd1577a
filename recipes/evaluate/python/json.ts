/** @file JSON as Python reads it: ints apart from floats, keys in the order they stand in, NaN and Infinity. */
import { type Dictionary, PyDict, type PythonValue } from "./values.ts";

/**
 * JSON text as Python's `json.loads` reads it: `1` is an int of any size, `1.0` and `1e3` are floats. (`JSON.parse`
 * would lose that, and would reorder keys such as `"2"` and `"1"`, over which a solution may iterate.)
 *
 * @throws SyntaxError naming the place where the text stops being JSON
 *
 * @example
 * ```ts
 * import { parsePythonJson } from "./json.ts";
 * console.assert(parsePythonJson("12345678901234567890") === 12345678901234567890n);
 * ```
 */
export function parsePythonJson(text: string): PythonValue {
  // Each token is one match at the cursor; white space is skipped with it.
  const token = /\s*(?:([[\]{},:])|("(?:[^"\\]|\\.)*")|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(-?[A-Za-z]+))/y;
  let found: RegExpExecArray | null = null;
  const fail = (): never => {
    throw new SyntaxError(
      `JSON: unexpected text at ${token.lastIndex}: ${
        JSON.stringify(text.slice(token.lastIndex, token.lastIndex + 20))
      }`,
    );
  };
  const advance = (): RegExpExecArray => {
    const at = token.lastIndex;
    found = token.exec(text);
    if (!found) {
      token.lastIndex = at;
      fail();
    }
    return found!;
  };
  const words: Record<string, PythonValue> = {
    null: null,
    true: true,
    false: false,
    NaN: NaN,
    Infinity: Infinity,
    "-Infinity": -Infinity,
  };
  /** The value that begins with this token. */
  const value = (first: RegExpExecArray): PythonValue => {
    const [, sign, quoted, number, word] = first;
    if (quoted !== undefined) return JSON.parse(quoted);
    if (number !== undefined) return /[.eE]/.test(number) ? Number(number) : BigInt(number);
    if (word !== undefined) return word in words ? words[word] : fail();
    if (sign === "[") return list();
    if (sign === "{") return dictionary();
    return fail();
  };
  const list = (): PythonValue[] => {
    const items: PythonValue[] = [];
    let next = advance();
    if (next[1] === "]") return items;
    for (;;) {
      items.push(value(next));
      const separator = advance()[1];
      if (separator === "]") return items;
      if (separator !== ",") fail();
      next = advance();
    }
  };
  const dictionary = (): PyDict => {
    const entries = new Map<string, PythonValue>();
    const done = (): PyDict => new PyDict([...entries] as Dictionary);
    let next = advance();
    if (next[1] === "}") return done();
    for (;;) {
      if (next[2] === undefined) fail();
      const key: string = JSON.parse(next[2]);
      if (advance()[1] !== ":") fail();
      entries.set(key, value(advance()));
      const separator = advance()[1];
      if (separator === "}") return done();
      if (separator !== ",") fail();
      next = advance();
    }
  };
  const result = value(advance());
  if (text.slice(token.lastIndex).trim() !== "") fail();
  return result;
}
