/** @file A GGUF file's metadata, read with checks. */
import type { Checkpoint } from "../../../backend/checkpoint.ts";
import { UserError } from "../../../dsl/errors.ts";
import { type Architecture, architectures } from "./tensors.ts";

/** Metadata by key, with types; every mistake names the file and the key. */
export class Metadata {
  /** The model's architecture, which its keys begin with. */
  readonly architecture: Architecture;

  constructor(private readonly checkpoint: Checkpoint) {
    const named = this.text("general.architecture");
    const known = architectures.find((each) => each === named);
    this.architecture = known ??
      this.fail(`architecture "${named}" is not supported (${architectures.join(" and ")} are).`);
  }

  /** A key of the architecture. */
  own(name: string): string {
    return `${this.architecture}.${name}`;
  }

  /** Ends in the error. */
  fail(sentence: string): never {
    throw new UserError(`${this.checkpoint.path}: ${sentence}`);
  }

  /** Is the key there? */
  has(key: string): boolean {
    return this.checkpoint.metadata[key] !== undefined;
  }

  private typed<T>(key: string, is: (value: unknown) => value is T, what: string): T | undefined {
    const value = this.checkpoint.metadata[key];
    if (value === undefined) return undefined;
    if (!is(value)) this.fail(`"${key}" in the metadata is not ${what}.`);
    return value;
  }

  /** A number. */
  number(key: string): number | undefined {
    return this.typed(key, (value): value is number => typeof value === "number", "a number");
  }

  /** A whole number from 1 up. */
  size(key: string): number {
    const value = this.number(key);
    if (value === undefined) return this.fail(`the metadata has no "${key}".`);
    if (!Number.isInteger(value) || value < 1) {
      this.fail(`"${key}" is ${value}, a whole number from 1 up was expected.`);
    }
    return value;
  }

  /** A text. */
  text(key: string): string | undefined {
    return this.typed(key, (value): value is string => typeof value === "string", "a text");
  }

  /** True or false. */
  flag(key: string): boolean | undefined {
    return this.typed(key, (value): value is boolean => typeof value === "boolean", "true or false");
  }

  /** A list of texts. */
  texts(key: string): readonly string[] | undefined {
    const all = (value: unknown): value is string[] =>
      Array.isArray(value) && value.every((entry) => typeof entry === "string");
    return this.typed(key, all, "a list of texts");
  }

  /** A list of numbers. */
  numbers(key: string): readonly number[] | undefined {
    const all = (value: unknown): value is number[] =>
      Array.isArray(value) && value.every((entry) => typeof entry === "number");
    return this.typed(key, all, "a list of numbers");
  }
}
