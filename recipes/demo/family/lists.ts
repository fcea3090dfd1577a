/** @file The domain of lists of whole numbers, `xs`. */
import { type Domain, domain } from "./domain.ts";
import { modulo } from "./python.ts";

const largest = (xs: number[]): number => xs.length ? Math.max(...xs) : 0;
const smallest = (xs: number[]): number => xs.length ? Math.min(...xs) : 0;
const total = (xs: number[]): number => xs.reduce((sum, x) => sum + x, 0);

/** Lists of whole numbers: filters, maps, slices and orders; sums, counts, extremes and memberships. */
export const lists: Domain = domain<number[]>({
  name: "list",
  variable: "xs",
  introductions: ["a list of numbers", "a list xs", "numbers xs", "some numbers"],
  transforms: [
    {
      name: "even",
      code: "xs = [x for x in xs if x % 2 == 0]",
      phrases: [
        "keep only the even numbers",
        "keep the even values",
        "remove the odd numbers",
        "drop every odd value",
        "discard items that are odd",
        "select all even items",
      ],
      apply: (xs) => xs.filter((x) => modulo(x, 2) === 0),
    },
    {
      name: "odd",
      code: "xs = [x for x in xs if x % 2 == 1]",
      phrases: [
        "keep only the odd numbers",
        "keep the odd values",
        "remove the even numbers",
        "drop every even value",
        "discard items that are even",
        "select all odd items",
      ],
      apply: (xs) => xs.filter((x) => modulo(x, 2) === 1),
    },
    {
      name: "above",
      code: "xs = [x for x in xs if x > {small}]",
      phrases: [
        "keep only numbers greater than {small}",
        "keep the values above {small}",
        "remove numbers that are at most {small}",
        "drop every value not above {small}",
        "select all items over {small}",
      ],
      apply: (xs, { small }) => xs.filter((x) => x > small),
    },
    {
      name: "below",
      code: "xs = [x for x in xs if x < {small}]",
      phrases: [
        "keep only numbers less than {small}",
        "keep the values below {small}",
        "remove numbers that are at least {small}",
        "drop every value not below {small}",
        "select all items under {small}",
      ],
      apply: (xs, { small }) => xs.filter((x) => x < small),
    },
    {
      name: "multiples",
      code: "xs = [x for x in xs if x % {factor} == 0]",
      phrases: [
        "keep only multiples of {factor}",
        "keep the values divisible by {factor}",
        "remove numbers not divisible by {factor}",
        "select all multiples of {factor}",
      ],
      apply: (xs, { factor }) => xs.filter((x) => modulo(x, factor) === 0),
    },
    {
      name: "add",
      code: "xs = [x + {small} for x in xs]",
      phrases: [
        "add {small} to each number",
        "increase every value by {small}",
        "raise all items by {small}",
        "replace each x with x plus {small}",
      ],
      apply: (xs, { small }) => xs.map((x) => x + small),
    },
    {
      name: "subtract",
      code: "xs = [x - {small} for x in xs]",
      phrases: [
        "subtract {small} from each number",
        "decrease every value by {small}",
        "lower all items by {small}",
        "replace each x with x minus {small}",
      ],
      apply: (xs, { small }) => xs.map((x) => x - small),
    },
    {
      name: "multiply",
      code: "xs = [x * {factor} for x in xs]",
      phrases: [
        "multiply each number by {factor}",
        "scale every value by {factor}",
        "make all items {factor} times larger",
        "replace each x with x times {factor}",
      ],
      apply: (xs, { factor }) => xs.map((x) => x * factor),
    },
    {
      name: "square",
      code: "xs = [x * x for x in xs]",
      phrases: [
        "square each number",
        "replace every value with its square",
        "multiply each item by itself",
        "raise each number to the second power",
      ],
      apply: (xs) => xs.map((x) => x * x),
    },
    {
      name: "negate",
      code: "xs = [-x for x in xs]",
      phrases: ["negate each number", "flip the sign of every value", "replace each x with minus x"],
      apply: (xs) => xs.map((x) => 0 - x),
    },
    {
      name: "absolute",
      code: "xs = [abs(x) for x in xs]",
      phrases: [
        "take the absolute value of each number",
        "replace every value with its distance from zero",
        "remove the sign of all items",
      ],
      apply: (xs) => xs.map(Math.abs),
    },
    {
      name: "remainder",
      code: "xs = [x % {factor} for x in xs]",
      phrases: [
        "take each number modulo {factor}",
        "replace every value with the remainder by {factor}",
        "reduce all items modulo {factor}",
      ],
      apply: (xs, { factor }) => xs.map((x) => modulo(x, factor)),
    },
    {
      name: "cap",
      code: "xs = [min(x, {small}) for x in xs]",
      phrases: [
        "limit each number to at most {small}",
        "cap every value at {small}",
        "lower items over {small} to {small}",
      ],
      apply: (xs, { small }) => xs.map((x) => Math.min(x, small)),
    },
    {
      name: "floor",
      code: "xs = [max(x, {small}) for x in xs]",
      phrases: [
        "limit each number to at least {small}",
        "make every value no less than {small}",
        "raise items under {small} to {small}",
      ],
      apply: (xs, { small }) => xs.map((x) => Math.max(x, small)),
    },
    {
      name: "reverse",
      code: "xs = xs[::-1]",
      phrases: [
        "reverse the list",
        "flip the order of the items",
        "put the numbers in reverse order",
        "turn the list around",
      ],
      apply: (xs) => [...xs].reverse(),
    },
    {
      name: "sort",
      code: "xs = sorted(xs)",
      phrases: [
        "sort the list",
        "put the numbers in increasing order",
        "sort from small to large",
        "order the values with the smallest first",
      ],
      apply: (xs) => [...xs].sort((a, b) => a - b),
    },
    {
      name: "sort-down",
      code: "xs = sorted(xs, reverse=True)",
      phrases: [
        "sort the list in reverse",
        "put the numbers in decreasing order",
        "sort from large to small",
        "order the values with the largest first",
      ],
      apply: (xs) => [...xs].sort((a, b) => b - a),
    },
    {
      name: "first",
      code: "xs = xs[:{factor}]",
      phrases: [
        "take the first {factor} items",
        "keep only the first {factor} values",
        "drop all but the first {factor}",
        "cut the list to the first {factor}",
      ],
      apply: (xs, { factor }) => xs.slice(0, factor),
    },
    {
      name: "last",
      code: "xs = xs[-{factor}:]",
      phrases: [
        "take the last {factor} items",
        "keep only the last {factor} values",
        "drop all but the last {factor}",
        "cut the list to the last {factor}",
      ],
      apply: (xs, { factor }) => xs.slice(-factor),
    },
    {
      name: "skip",
      code: "xs = xs[{factor}:]",
      phrases: [
        "skip the first {factor} items",
        "drop the first {factor} values",
        "remove {factor} items from the start",
        "discard the first {factor}",
      ],
      apply: (xs, { factor }) => xs.slice(factor),
    },
    {
      name: "chop",
      code: "xs = xs[:-{factor}]",
      phrases: [
        "skip the last {factor} items",
        "drop the last {factor} values",
        "remove {factor} items from the end",
        "discard the last {factor}",
      ],
      apply: (xs, { factor }) => xs.slice(0, -factor),
    },
    {
      name: "stride",
      code: "xs = xs[::{factor}]",
      phrases: [
        "take one of every {factor} items",
        "keep one value in {factor}",
        "step through the list by {factor}",
      ],
      apply: (xs, { factor }) => xs.filter((_, index) => index % factor === 0),
    },
    {
      name: "unique",
      code: "xs = list(dict.fromkeys(xs))",
      phrases: [
        "remove repeated items",
        "keep each value once",
        "drop later copies of a value",
        "make the values unique",
      ],
      apply: (xs) => [...new Set(xs)],
    },
  ],
  reducers: [
    {
      name: "sum",
      code: "return sum(xs)",
      phrases: ["return the sum", "return the total", "add all of them up", "give back what they add up to"],
      apply: total,
    },
    {
      name: "length",
      code: "return len(xs)",
      phrases: ["return the count", "return how many there are", "count them", "give back the length"],
      apply: (xs) => xs.length,
    },
    {
      name: "maximum",
      code: "return max(xs, default=0)",
      phrases: ["return the maximum", "return the largest", "find the greatest one", "give back the biggest"],
      apply: largest,
    },
    {
      name: "minimum",
      code: "return min(xs, default=0)",
      phrases: ["return the minimum", "return the smallest", "find the least one", "give back the tiniest"],
      apply: smallest,
    },
    {
      name: "itself",
      code: "return xs",
      phrases: ["return the list", "return the result", "give it back", "return what is left"],
      apply: (xs) => xs,
    },
    {
      name: "count",
      code: "return xs.count({small})",
      phrases: ["return how many equal {small}", "count the ones equal to {small}", "give back the count of {small}"],
      apply: (xs, { small }) => xs.filter((x) => x === small).length,
    },
    {
      name: "contains",
      code: "return {small} in xs",
      phrases: ["return whether {small} is present", "check that {small} is in it", "tell whether it has {small}"],
      apply: (xs, { small }) => xs.includes(small),
    },
    {
      name: "span",
      code: "return max(xs, default=0) - min(xs, default=0)",
      phrases: [
        "return the range",
        "return the maximum minus the minimum",
        "give back the largest less the smallest",
      ],
      apply: (xs) => largest(xs) - smallest(xs),
    },
  ],
  inputs(random) {
    const run = (low: number, high: number, length: number): number[] =>
      Array.from({ length }, () => random.integer(low, high));
    return [
      run(-9, 15, random.integer(7, 11)),
      run(-9, 15, random.integer(7, 11)),
      run(0, 9, random.integer(6, 10)),
      run(1, 5, random.integer(7, 10)), // rich in repeats
      run(-20, 40, random.integer(5, 9)),
      run(-9, 15, random.integer(4, 6)),
      run(-9, 15, 1),
      [],
    ];
  },
});
