/**
 * @file What a domain of the task family is: a variable, steps that change it, and endings that return something.
 * Each step carries its Python line, its phrasings and its meaning, so that the expected output of a task is known
 * without running Python (domains_test.ts holds the meanings against Pyodide).
 */
import type { Random } from "../../random.ts";

/** What the family's functions take and return; JSON, with Python's int, str, bool and list. */
export type Value = number | string | boolean | number[] | string[];

/** The arguments a step may use, written in its code and phrasings as `{small}`, `{factor}`, … */
export interface Arguments {
  /** 1 to 9: thresholds and summands. */
  readonly small: number;
  /** 2 to 5: factors, counts and strides. */
  readonly factor: number;
  /** 2 to 9: divisors. */
  readonly divisor: number;
  /** One of the letters that texts are rich in. */
  readonly letter: string;
  /** Another letter than `letter`. */
  readonly other: string;
}

/** One line of Python: how it reads, how people ask for it, and what it does. */
export interface Step<Input, Output> {
  /** Unique within its table. */
  readonly name: string;
  /** The line, with arguments as `{small}` etc. */
  readonly code: string;
  /** Ways to ask for it, most usual first: pretraining sees the first ones only. */
  readonly phrases: readonly string[];
  /** What the line does, exactly as Python does it. */
  readonly apply: (value: Input, use: Arguments) => Output;
}

/** A domain as its file writes it, typed by its variable's value. */
export interface DomainTable<V extends Value> {
  /** Unique among the domains. */
  readonly name: DomainName;
  /** The variable's name in the code. */
  readonly variable: string;
  /** How an instruction introduces the variable. */
  readonly introductions: readonly string[];
  /** Lines that change the variable. */
  readonly transforms: readonly Step<V, V>[];
  /** Last lines, `return …`. */
  readonly reducers: readonly Step<V, Value>[];
  /** Draws the test inputs: edge cases and values rich in what the steps look for. */
  readonly inputs: (random: Random) => V[];
}

/** The three domains. */
export type DomainName = "list" | "text" | "number";

/** A domain with its value's type erased, as the generator uses it. */
export type Domain = Omit<DomainTable<Value>, "inputs"> & { readonly inputs: (random: Random) => Value[] };

/**
 * Erases the type of a domain's value. Sound because the generator gives a step only what the same domain's inputs
 * and transforms made.
 *
 * @param table the typed table
 * @returns the same table
 */
export function domain<V extends Value>(table: DomainTable<V>): Domain {
  const erase = <Output extends Value>(step: Step<V, Output>): Step<Value, Output> => ({
    ...step,
    apply: (value, use) => step.apply(value as V, use),
  });
  return { ...table, transforms: table.transforms.map(erase), reducers: table.reducers.map(erase) };
}

/** Letters that texts are rich in, so that steps about a letter find it. */
export const letters: readonly string[] = [..."aeotsrn"];

/**
 * Draws every kind of argument; a step uses those that its code names.
 *
 * @param random the stream to draw from
 * @returns one value of each kind
 */
export function drawArguments(random: Random): Arguments {
  const [letter, other] = random.sample(letters, 2);
  return {
    small: random.integer(1, 9),
    factor: random.integer(2, 5),
    divisor: random.integer(2, 9),
    letter,
    other,
  };
}

/**
 * Writes arguments into a line of code or a phrase.
 *
 * @param template text with `{small}`, `{factor}`, `{divisor}`, `{letter}` or `{other}`
 * @param use the arguments
 * @returns the text without braces
 */
export function fill(template: string, use: Arguments): string {
  return template.replace(/\{(small|factor|divisor|letter|other)\}/g, (_, kind: keyof Arguments) => String(use[kind]));
}
