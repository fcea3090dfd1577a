/**
 * @file What a command's table entry is made of: typed fields for positionals and flags.
 *
 * A field knows how to read one word of the command line and what it is worth when absent; the types of a command's
 * arguments follow from its entry. Nothing here knows which library parses the command line.
 */
import { UserError } from "../../../dsl/errors.ts";

/** One positional or flag whose value has type T. */
export interface Field<T> {
  /** One line for `--help`. */
  readonly help: string;
  /** What stands for the value in `--help`; a field without one is a switch. */
  readonly metavar?: string;
  /** Must be given. */
  readonly required: boolean;
  /** May be given several times; the value is the list. */
  readonly many: boolean;
  /** Value when absent. */
  readonly fallback: T;
  /** Reads one word; the error it throws says what is expected, without the field's name. */
  readonly parse: (word: string) => unknown;
  /** The only words allowed, for `--help` and completion. */
  readonly choices?: readonly string[];
  /** The word is a path, or may be one: it is made absolute. */
  readonly path?: boolean | ((word: string) => boolean);
  /** Of a repository on the hub every file is wanted, not only what a model's folder needs. */
  readonly whole?: boolean;
}

/** Fields by name; flags are camelCase here and `--kebab-case` on the command line. */
export type Fields = Record<string, Field<unknown>>;

/** The values of fields. */
export type Values<F extends Fields> = { readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };

/** What a field may be told besides its help. */
export interface Settings<T> {
  /** What stands for the value in `--help`. */
  readonly metavar?: string;
  /** Must be given. */
  readonly required?: boolean;
  /** Value when absent. */
  readonly fallback?: T;
}

/** What a number may be told besides its help. */
export interface Range extends Settings<number> {
  /** Smallest value allowed. */
  readonly min?: number;
  /** Largest value allowed. */
  readonly max?: number;
  /** What the number is, for the error: "λ is a share, between 0 and 1." */
  readonly rule?: string;
}

/** T, or also undefined where the settings name neither `required` nor a fallback. */
export type Presence<T, S> = S extends { readonly required: true } ? T : S extends { readonly fallback: T } ? T
: T | undefined;

function field<T, S extends Settings<T>>(
  help: string,
  settings: S,
  metavar: string,
  parse: (word: string) => T,
  more: Partial<Field<unknown>> = {},
): Field<Presence<T, S>> {
  const { required = false, fallback } = settings;
  const named = settings.metavar ?? metavar;
  return { help, metavar: named, required, many: false, parse, ...more, fallback: fallback as Presence<T, S> };
}

/** Any text. */
export function text<const S extends Settings<string>>(
  help: string,
  settings: S = {} as S,
): Field<Presence<string, S>> {
  return field(help, settings, "TEXT", (word) => word);
}

/** A path, made absolute. */
export function path<const S extends Settings<string>>(
  help: string,
  settings: S = {} as S,
): Field<Presence<string, S>> {
  return field(help, settings, "PATH", nonEmpty, { path: true });
}

/** A folder, made absolute; one on the hub with every file of its own. */
export function wholeFolder<const S extends Settings<string>>(help: string, settings: S): Field<Presence<string, S>> {
  return field(help, settings, "FOLDER", nonEmpty, { path: true, whole: true });
}

/** The name of an objective, or a path of a file with one. */
export function objective(help: string): Field<string> {
  const isFile = (word: string): boolean => /\.[mc]?[jt]s$/.test(word);
  const metavar = "NAME|FILE.ts";
  return { help, metavar, required: false, many: false, parse: nonEmpty, fallback: "xft", path: isFile };
}

/** Any number of texts, in order. */
export function texts(help: string, settings: { readonly metavar?: string } = {}): Field<readonly string[]> {
  return {
    help,
    metavar: settings.metavar ?? "TEXT",
    required: false,
    many: true,
    parse: (word) => word,
    fallback: [],
  };
}

/** Any number of paths, in order, made absolute; at least one if required. */
export function paths(
  help: string,
  settings: { readonly metavar?: string; readonly required?: boolean } = {},
): Field<readonly string[]> {
  const { metavar = "PATH", required = false } = settings;
  return { help, metavar, required, many: true, parse: nonEmpty, fallback: [], path: true };
}

/** A whole number. */
export function integer<const S extends Range>(help: string, settings: S = {} as S): Field<Presence<number, S>> {
  return field(help, settings, "N", (word) => {
    const value = Number(word);
    if (!/^[+-]?\d+$/.test(word) || !Number.isSafeInteger(value)) throw new UserError("expected a whole number.");
    return inRange(value, settings);
  });
}

/** Numbers with commas between them. */
export function numbers(help: string): Field<readonly number[] | undefined> {
  const parse = (word: string): number[] =>
    word.split(",").map((part) => {
      if (part.trim() === "" || !Number.isFinite(Number(part))) throw new UserError("expected numbers: N,N,….");
      return Number(part);
    });
  return { help, metavar: "N,N,…", required: false, many: false, parse, fallback: undefined };
}

/** Numbers with names. */
export function factors(help: string): Field<Readonly<Record<string, number>> | undefined> {
  const parse = (word: string): Record<string, number> =>
    Object.fromEntries(
      word.split(",").map((part) => {
        const [name, value, ...rest] = part.split("=").map((each) => each.trim());
        if (!name || !value || rest.length > 0 || !(Number(value) >= 0)) {
          throw new UserError("expected names with numbers from 0 on: NAME=N,NAME=N,….");
        }
        return [name, Number(value)];
      }),
    );
  return { help, metavar: "NAME=N,…", required: false, many: false, parse, fallback: undefined };
}

/** A number. */
export function number<const S extends Range>(help: string, settings: S = {} as S): Field<Presence<number, S>> {
  return field(help, settings, "X", (word) => {
    const value = Number(word);
    if (word.trim() === "" || !Number.isFinite(value)) throw new UserError("expected a number.");
    return inRange(value, settings);
  });
}

/** One of some words. */
export function choice<const C extends string, const S extends Settings<C>>(
  help: string,
  choices: readonly C[],
  settings: S = {} as S,
): Field<Presence<C, S>> {
  const parse = (word: string): C => {
    const found = choices.find((one) => one === word);
    if (found === undefined) throw new UserError(`expected one of ${choices.join(", ")}.`);
    return found;
  };
  return field(help, settings, choices.length <= 3 ? choices.join("|") : "NAME", parse, { choices });
}

/** On when given. */
export function toggle(help: string): Field<boolean> {
  return { help, required: false, many: false, fallback: false, parse: () => true };
}

/** A device to run on: `auto`, `cpu`, `wgpu`, `wgpu:NAME` or `webgpu`. */
export type DeviceName = "auto" | "cpu" | "wgpu" | `wgpu:${string}` | "webgpu";

/** A device's name. */
function device(help: string): Field<DeviceName> {
  const parse = (word: string): DeviceName => {
    if (/^(auto|cpu|wgpu|wgpu:.+|webgpu)$/.test(word)) return word as DeviceName;
    throw new UserError("expected auto, cpu, wgpu, wgpu:NAME or webgpu.");
  };
  return { help, metavar: "NAME", required: false, many: false, fallback: "auto", parse };
}

/** The flags that every command has. */
export const COMMON_FLAGS = {
  device: device("where to compute: auto, cpu, wgpu, wgpu:NAME or webgpu"),
  seed: integer("start of every random choice", { fallback: 0, min: 0 }),
  json: toggle("end with one JSON object as the last line of stdout"),
};

/** Flags of a command that writes: where to, and what to do with what is there. */
export function output(help: string): {
  readonly out: Field<string>;
  readonly overwrite: Field<boolean>;
  readonly dryRun: Field<boolean>;
} {
  return {
    out: path(help, { required: true }),
    overwrite: toggle("replace what is at --out (kept until success)"),
    dryRun: toggle("say what would be done, write nothing"),
  };
}

/** A command's table entry. */
export interface Command<P extends Fields = Fields, F extends Fields = Fields> {
  /** One line for the list of commands. */
  readonly summary: string;
  /** What stands above the flags in `--help`. */
  readonly description?: string;
  /** Commands to copy, without `deno task xft`. */
  readonly examples: readonly [string, ...string[]];
  /** By order. */
  readonly positionals: P;
  /** By name, without the common ones. */
  readonly flags: F;
  /** Checks what no single field can: throws what is wrong with the values together. */
  check?(values: Values<P> & Values<F>): void;
}

/** Every value of a command, with the common flags. */
export type Arguments<C extends Command> = Values<C["positionals"]> & Values<C["flags"]> & Values<typeof COMMON_FLAGS>;

/** Makes a table entry; only for its types. */
export function command<P extends Fields, F extends Fields>(entry: Command<P, F>): Command<P, F> {
  return entry;
}

/** `maxTokens` → `--max-tokens`. */
export function flagName(name: string): `--${string}` {
  return `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function inRange(value: number, { min = -Infinity, max = Infinity, rule }: Range): number {
  if (value >= min && value <= max) return value;
  if (rule) throw new UserError(rule);
  if (max === Infinity) throw new UserError(`expected ${min} or more.`);
  throw new UserError(min === -Infinity ? `expected ${max} or less.` : `expected a number between ${min} and ${max}.`);
}

function nonEmpty(word: string): string {
  if (word === "") throw new UserError("expected a name, got an empty word.");
  return word;
}
