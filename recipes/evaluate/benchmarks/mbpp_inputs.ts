/**
 * @file MBPP+'s inputs as its tasks want them: JSON has only lists, the tasks take tuples, sets and complex numbers.
 * (After evalplus' `mbpp_deserialize_inputs`.)
 */
import { itemsOf } from "../python/compare.ts";
import { PyComplex, PyDict, PySet, type PythonValue, Tuple } from "../python/values.ts";

type Input = PythonValue[];

const tuple = (value: PythonValue): PythonValue => {
  if (typeof value === "string") return new Tuple([...value]);
  if (value instanceof PyDict) return new Tuple(value.entries.map(([key]) => key));
  const items = itemsOf(value);
  if (!items) throw new TypeError("mbpp: a list was expected");
  return new Tuple([...items]);
};
const each = (change: (value: PythonValue) => PythonValue) => (value: PythonValue): PythonValue =>
  (itemsOf(value) ?? []).map(change);
const deep = (value: PythonValue): PythonValue => Array.isArray(value) ? new Tuple(value.map(deep)) : value;
const first = (change: (value: PythonValue) => PythonValue) => ([head, ...rest]: Input): Input => [
  change(head),
  ...rest,
];

/** Changes of one call's arguments, by the numbers of the tasks that want them. */
const changes: readonly [tasks: readonly number[], change: (input: Input) => Input][] = [
  [
    [2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809],
    (input) => input.map(tuple),
  ],
  [[63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780], (input) => input.map(each(tuple))],
  [[75, 413, 444, 753], ([list, other]) => [each(tuple)(list), other]],
  [[106, 750], ([list, other]) => [list, tuple(other)]],
  [[115], ([list]) => [each(asSetOrDict)(list)]],
  [[124], ([a, b]) => [Number(a), complex(b)]],
  [[250, 405, 446, 617, 720, 763, 808], ([list, other]) => [tuple(list), other]],
  [[259, 401, 445], (input) => input.map((item) => tuple(each(tuple)(item)))],
  [[278], ([list]) => [tuple(each((item) => Array.isArray(item) ? tuple(item) : item)(list))]],
  [[307], first(tuple)],
  [
    [722],
    first((value) => {
      if (!(value instanceof PyDict)) throw new TypeError("mbpp: a dictionary was expected");
      return new PyDict(value.entries.map(([key, item]) => [key, tuple(item)]));
    }),
  ],
  [[252], ([value]) => [complex(value)]],
  [[580, 615, 791], (input) => input.map(deep)],
];

const byTask = new Map(changes.flatMap(([tasks, change]) => tasks.map((task) => [task, change] as const)));

/** Mbpp/115: lists that are sets; what is empty or no list is an empty dictionary. */
function asSetOrDict(value: PythonValue): PythonValue {
  if (!Array.isArray(value) || value.length === 0) return new PyDict([]);
  const seen = new Map(value.map((item) => [String(item), item]));
  return new PySet([...seen.values()]);
}

/** Python's `complex(text)` for the forms in the data, such as `(1+2j)`, `3j` and `5`. */
function complex(value: PythonValue): PyComplex {
  const text = String(value).trim().replace(/^\((.*)\)$/, "$1");
  // The parts meet at a sign that belongs to no exponent.
  const parts = text.split(/(?<=[^e])(?=[+-])/i);
  const part = (digits: string): number => {
    const number = Number(/^[+-]?$/.test(digits) ? digits + "1" : digits);
    if (digits === "" || Number.isNaN(number)) {
      throw new TypeError(`mbpp: ${JSON.stringify(text)} is no complex number`);
    }
    return number;
  };
  const imaginary = parts.at(-1)!.endsWith("j") ? parts.pop()!.slice(0, -1) : undefined;
  if (parts.length > 1) throw new TypeError(`mbpp: ${JSON.stringify(text)} is no complex number`);
  return new PyComplex(parts.length > 0 ? part(parts[0]) : 0, imaginary === undefined ? 0 : part(imaginary || "+"));
}

/** The arguments of one call of the task. */
export function mbppInput(task: number, input: PythonValue[]): PythonValue[] {
  return byTask.get(task)?.(input) ?? input;
}
