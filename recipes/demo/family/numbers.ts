/** @file The domain of whole numbers, `n`. */
import { type Domain, domain } from "./domain.ts";
import { floorDivide, modulo, reversed } from "./python.ts";

const digits = (n: number): number[] => [...String(Math.abs(n))].map(Number);

/** Whole numbers: arithmetic, bounds and digits; parities, comparisons and digit lists. */
export const numbers: Domain = domain<number>({
  name: "number",
  variable: "n",
  introductions: ["a number", "a number n", "some number", "an int n"],
  transforms: [
    {
      name: "add",
      code: "n = n + {small}",
      phrases: ["add {small}", "increase it by {small}", "raise it by {small}"],
      apply: (n, { small }) => n + small,
    },
    {
      name: "subtract",
      code: "n = n - {small}",
      phrases: ["subtract {small}", "decrease it by {small}", "lower it by {small}"],
      apply: (n, { small }) => n - small,
    },
    {
      name: "multiply",
      code: "n = n * {factor}",
      phrases: ["multiply it by {factor}", "scale it by {factor}", "make it {factor} times larger"],
      apply: (n, { factor }) => n * factor,
    },
    {
      name: "divide",
      code: "n = n // {factor}",
      phrases: ["divide it by {factor}", "split it by {factor}", "make it {factor} times smaller"],
      apply: (n, { factor }) => floorDivide(n, factor),
    },
    {
      name: "remainder",
      code: "n = n % {divisor}",
      phrases: ["take it modulo {divisor}", "take the remainder by {divisor}", "reduce it modulo {divisor}"],
      apply: (n, { divisor }) => modulo(n, divisor),
    },
    {
      name: "square",
      code: "n = n * n",
      phrases: ["square it", "multiply it by itself", "raise it to the second power"],
      apply: (n) => n * n,
    },
    {
      name: "negate",
      code: "n = -n",
      phrases: ["negate it", "flip the sign", "change its sign"],
      apply: (n) => 0 - n,
    },
    {
      name: "absolute",
      code: "n = abs(n)",
      phrases: ["take the absolute value", "replace it with its distance from zero", "remove the sign"],
      apply: Math.abs,
    },
    {
      name: "cap",
      code: "n = min(n, {small})",
      phrases: ["limit it to at most {small}", "cap it at {small}"],
      apply: (n, { small }) => Math.min(n, small),
    },
    {
      name: "floor",
      code: "n = max(n, {small})",
      phrases: ["limit it to at least {small}", "make it no less than {small}"],
      apply: (n, { small }) => Math.max(n, small),
    },
    {
      name: "sum-digits",
      code: "n = sum(int(c) for c in str(abs(n)))",
      phrases: ["add up its digits", "replace it with the sum of its digits", "take the total of the digits"],
      apply: (n) => digits(n).reduce((sum, digit) => sum + digit, 0),
    },
    {
      name: "reverse-digits",
      code: "n = int(str(abs(n))[::-1])",
      phrases: ["reverse its digits", "flip the order of the digits", "put the digits in reverse order"],
      apply: (n) => Number(reversed(String(Math.abs(n)))),
    },
  ],
  reducers: [
    {
      name: "itself",
      code: "return n",
      phrases: ["return the number", "return the result", "give it back", "return what is left"],
      apply: (n) => n,
    },
    {
      name: "even",
      code: "return n % 2 == 0",
      phrases: ["return whether it is even", "check that it is even", "tell whether it is not odd"],
      apply: (n) => modulo(n, 2) === 0,
    },
    {
      name: "odd",
      code: "return n % 2 == 1",
      phrases: ["return whether it is odd", "check that it is odd", "tell whether it is not even"],
      apply: (n) => modulo(n, 2) === 1,
    },
    {
      name: "divisible",
      code: "return n % {factor} == 0",
      phrases: [
        "return whether it is divisible by {factor}",
        "check that it is a multiple of {factor}",
        "tell whether {factor} divides it",
      ],
      apply: (n, { factor }) => modulo(n, factor) === 0,
    },
    {
      name: "above",
      code: "return n > {small}",
      phrases: [
        "return whether it is greater than {small}",
        "check that it is above {small}",
        "tell whether it is over {small}",
      ],
      apply: (n, { small }) => n > small,
    },
    {
      name: "below",
      code: "return n < {small}",
      phrases: [
        "return whether it is less than {small}",
        "check that it is below {small}",
        "tell whether it is under {small}",
      ],
      apply: (n, { small }) => n < small,
    },
    {
      name: "count-digits",
      code: "return len(str(abs(n)))",
      phrases: ["return how many digits it has", "count the digits", "give back the count of digits"],
      apply: (n) => digits(n).length,
    },
    {
      name: "digits",
      code: "return [int(c) for c in str(abs(n))]",
      phrases: ["return the list of digits", "give back the digits", "split it to digits"],
      apply: digits,
    },
    {
      name: "text",
      code: "return str(n)",
      phrases: ["return it as text", "convert it to text", "give back the text of it"],
      apply: String,
    },
  ],
  inputs(random) {
    return [
      random.integer(10, 150),
      random.integer(10, 150),
      random.integer(-60, -10),
      random.integer(-60, -1),
      random.integer(1, 9),
      random.integer(2, 30) * 10, // ends in 0: reversing its digits loses one
      random.integer(101, 999),
      0,
    ];
  },
});
