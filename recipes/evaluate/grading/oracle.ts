/**
 * @file Whether an output is right, by the rules of evalplus 0.3.1 (the version that HumanEval+ v0.1.10 and MBPP+ v0.2.0
 * belong to).
 *
 * Two rules differ on purpose. HumanEval/32: after its oracle has accepted an output, evalplus goes on to the next input
 * without counting this one, so that it fails every right solution (seen with its own canonical one); here it passes.
 * And evalplus keeps the tolerance that a float output switched on for all later inputs of the task; here it holds for
 * that input only.
 */
import { allClose, equal, hashKey, itemsOf, sameType } from "../python/compare.ts";
import { PyDict, PySet, type PythonValue } from "../python/values.ts";

/** What the oracle needs to know of a task. */
export interface Rules {
  /** Whose rules hold. */
  readonly benchmark: "humaneval" | "mbpp";
  /** Name of the function that is tested. */
  readonly entry: string;
  /** Absolute tolerance; 0 means exact, but for floats (1e-6). */
  readonly atol: number;
}

/** MBPP tasks whose outputs count as sets: lists without an order of their own. */
const asSets = new Set([
  "similar_elements",
  "find_char_long",
  "common_in_nested_lists",
  "extract_singly",
  "larg_nnum",
  "intersection_array",
  "find_dissimilar",
  "Diff",
]);

/** MBPP tasks that return a match or nothing: only which of the two counts. */
const notNone = new Set(["check_str", "text_match_three", "text_starta_endb"]);

/** Whether `output` is a right answer for `input`, given what the canonical solution returned. */
export function isRight(
  rules: Rules,
  input: readonly PythonValue[],
  output: PythonValue,
  expected: PythonValue,
): boolean {
  const { entry, atol } = rules;
  if (rules.benchmark === "humaneval" && entry === "find_zero") {
    // What the canonical solution returned counts too: for one input its Newton iteration depends on the last bits of
    // `math.pow` and `sum`, and does not converge with those of this Python.
    if (equal(output, expected)) return true;
    const isReal = typeof output === "number" || typeof output === "bigint";
    return isReal && Math.abs(polynomial(itemsOf(input[0]) ?? [], Number(output))) <= atol;
  }
  let exact = equal(output, expected);
  if (rules.benchmark === "mbpp") {
    if (entry === "are_equivalent") exact = true;
    else if (entry === "sum_div") exact ||= equal(output, 0n);
    else if (entry === "surface_Area") exact ||= isNumber(output) && near(output, pyramidSurface(input), atol);
    else if (entry === "digit_distance_nums") exact ||= equal(output, digitDistance(input));
    else if (asSets.has(entry)) exact = equalAsSets(output, expected);
    else if (notNone.has(entry)) {
      exact = typeof output === "boolean" ? output === (expected !== null) : (output !== null) === (expected !== null);
    }
  }
  if (exact) return true;
  const tolerance = atol === 0 && isFloats(expected) ? 1e-6 : atol;
  if (tolerance === 0 || !sameType(output, expected)) return false;
  return allClose(output, expected, tolerance);
}

/** A float, or a list or tuple of nothing but floats (and not empty). */
function isFloats(value: PythonValue): boolean {
  if (typeof value === "number") return true;
  const items = itemsOf(value);
  return items !== undefined && items.length > 0 && items.every((item) => typeof item === "number");
}

/** Python's `set(x)` over anything it can iterate. */
function asSet(value: PythonValue): Set<string> | undefined {
  const items = itemsOf(value) ?? (value instanceof PySet ? value.items : undefined) ??
    (value instanceof PyDict ? value.entries.map(([key]) => key) : undefined) ??
    (typeof value === "string" ? [...value] : undefined);
  return items && new Set(items.map(hashKey));
}

function equalAsSets(output: PythonValue, expected: PythonValue): boolean {
  const [a, b] = [asSet(output), asSet(expected)];
  return a !== undefined && b !== undefined && a.size === b.size && a.isSubsetOf(b);
}

function isNumber(value: PythonValue): value is number | bigint | boolean {
  return typeof value === "number" || typeof value === "bigint" || typeof value === "boolean";
}

function near(a: number | bigint | boolean, b: number, tolerance: number): boolean {
  return Math.abs(Number(a) - b) <= tolerance;
}

/** HumanEval/32: the value of xs[0] + xs[1]·x + xs[2]·x² + … */
function polynomial(xs: readonly PythonValue[], x: number): number {
  return xs.reduce<number>((sum, coefficient, i) => sum + Number(coefficient) * Math.pow(x, i), 0);
}

/** Mbpp/581, where the second number may be the height: Python's `round` goes to the even neighbour. */
function pyramidSurface(input: readonly PythonValue[]): number {
  const [base, height] = input.map(Number);
  const slant = Math.sqrt((base / 2) ** 2 + height ** 2);
  const area = base ** 2 + 4 * (base * slant) / 2;
  const floor = Math.floor(area), rest = area - floor;
  return rest === 0.5 ? floor + floor % 2 : Math.round(area);
}

/** Mbpp/558 with the shorter number filled up with zeros. */
function digitDistance(input: readonly PythonValue[]): bigint {
  const [a, b] = input.map(String);
  const length = Math.max(a.length, b.length);
  const [x, y] = [a.padStart(length, "0"), b.padStart(length, "0")];
  return [...x].reduce((sum, digit, i) => sum + BigInt(Math.abs(Number(digit) - Number(y[i]) || 0)), 0n);
}
