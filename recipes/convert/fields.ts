/** @file Fields of a JSON object, read with checks. */
import { UserError } from "../../dsl/errors.ts";

/** A parsed JSON object whose fields are not yet known. */
export type JsonObject = { readonly [key: string]: unknown };

/** Says whether a parsed JSON value is an object (not null, not a list). */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const isNumbers = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((each) => typeof each === "number");

/** Reads typed fields of a JSON object; every mistake is one sentence naming the file and the field. */
export class Fields {
  constructor(private readonly json: JsonObject, private readonly where: string) {}

  /** Ends in the error. */
  fail(sentence: string): never {
    throw new UserError(`${this.where}: ${sentence}`);
  }

  /** Is the field there, and not null? */
  has(name: string): boolean {
    return this.json[name] !== undefined && this.json[name] !== null;
  }

  /** A number. */
  number(name: string, fallback?: number): number {
    const value = this.json[name];
    if (value === undefined || value === null) {
      return fallback ?? this.fail(`the field "${name}" is missing.`);
    }
    if (typeof value !== "number" || !Number.isFinite(value)) {
      this.fail(`"${name}" is ${JSON.stringify(value)}, a number was expected.`);
    }
    return value;
  }

  /** A number above zero. */
  positive(name: string, fallback?: number): number {
    const value = this.number(name, fallback);
    if (value <= 0) this.fail(`"${name}" is ${value}, it must be above 0.`);
    return value;
  }

  /** A whole number from 1 up. */
  size(name: string, fallback?: number): number {
    const value = this.number(name, fallback);
    if (!Number.isInteger(value) || value < 1 || value > 2 ** 31) {
      this.fail(`"${name}" is ${value}, a whole number from 1 up was expected.`);
    }
    return value;
  }

  /** Numbers. */
  numbers(name: string): number[] {
    const value = this.json[name];
    if (isNumbers(value)) return value;
    return this.fail(`"${name}" is ${JSON.stringify(value)}, a list of numbers was expected.`);
  }

  /** Rows of numbers. */
  rows(name: string): number[][] {
    const value = this.json[name];
    if (Array.isArray(value) && value.every(isNumbers)) return value;
    return this.fail(`"${name}" is ${JSON.stringify(value)}, a list of lists of numbers was expected.`);
  }

  /** Numbers by name. */
  table(name: string): Record<string, number> {
    const value = this.json[name];
    if (isJsonObject(value) && isNumbers(Object.values(value))) return value as Record<string, number>;
    return this.fail(`"${name}" is ${JSON.stringify(value)}, numbers by name were expected.`);
  }

  /** True or false. */
  boolean(name: string, fallback: boolean): boolean {
    const value = this.json[name];
    if (value === undefined || value === null) return fallback;
    if (typeof value !== "boolean") this.fail(`"${name}" is ${JSON.stringify(value)}, true or false was expected.`);
    return value;
  }

  /** Token ids: absent, one, or a list. */
  tokens(name: string): number[] | undefined {
    const value = this.json[name];
    if (value === undefined || value === null) return undefined;
    const list: unknown[] = Array.isArray(value) ? value : [value];
    return list.map((id) => {
      // −1 is how some exporters write "none".
      if (typeof id !== "number" || !Number.isInteger(id) || id < -1) {
        this.fail(`"${name}" holds ${JSON.stringify(id)}, a token id was expected.`);
      }
      return id;
    }).filter((id) => id >= 0);
  }

  /** An object with fields of its own. */
  object(name: string): Fields | undefined {
    const value = this.json[name];
    if (value === undefined || value === null) return undefined;
    if (!isJsonObject(value)) this.fail(`"${name}" is ${JSON.stringify(value)}, an object was expected.`);
    return new Fields(value, `${this.where}: ${name}`);
  }

  /** A text. */
  text(name: string): string | undefined {
    const value = this.json[name];
    if (value === undefined || value === null) return undefined;
    if (typeof value !== "string") this.fail(`"${name}" is ${JSON.stringify(value)}, a text was expected.`);
    return value;
  }
}
