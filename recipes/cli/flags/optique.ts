/**
 * @file Turns the table of commands into Optique's parsers: the only file that knows Optique. Another library (Cliffy,
 * once JSR is in reach) would replace this file.
 */
import { resolve } from "node:path";
import { object, or } from "npm:@optique/core@1.3.6/constructs";
import { runParser } from "npm:@optique/core@1.3.6/facade";
import { formatMessage, lineBreak, type Message, message, text } from "npm:@optique/core@1.3.6/message";
import { multiple, optional } from "npm:@optique/core@1.3.6/modifiers";
import type { Parser } from "npm:@optique/core@1.3.6/parser";
import { argument, command, constant, flag, option } from "npm:@optique/core@1.3.6/primitives";
import { findSimilar } from "npm:@optique/core@1.3.6/suggestion";
import type { ValueParser } from "npm:@optique/core@1.3.6/valueparser";
import { UserError } from "../../../dsl/errors.ts";
import { isHubAddress } from "../../hub/address.ts";
import { type Command, COMMON_FLAGS, type Field, type Fields, flagName } from "./schema.ts";

/** How a checkout's command line is called, for examples that can be copied. */
const CALL = "deno task xft";

type AnyParser = Parser<"sync", unknown, unknown>;

/** What a command line asks for: a command with its values, or a text to print (help, version, completion). */
export type Parsed =
  | { readonly kind: "run"; readonly name: string; readonly values: Record<string, unknown> }
  | { readonly kind: "show"; readonly text: string };

/** How a command line is read. */
export interface ParseOptions {
  /** Name and version of the program. */
  readonly program: { readonly name: string; readonly version: string; readonly summary: string };
  /** Folder that relative paths start from. */
  readonly cwd: string;
  /** Columns that help is wrapped to. */
  readonly width?: number;
}

/**
 * Reads a command line by the table.
 *
 * @throws {UserError} (usage) in one sentence, with a suggestion where a word is like a known one
 */
export function parseCommandLine(table: Record<string, Command>, words: string[], options: ParseOptions): Parsed {
  const { program, width } = options;
  const shown: string[] = [];
  const known = table[words[0]];
  // One command's parser is enough where the command is known: making them all costs more than running some commands.
  const wanted = known ? { [words[0]]: known } : table;
  const branches = Object.entries(wanted).map(([name, entry]) => branch(name, entry, options.cwd));
  const shows = (): Parsed => ({ kind: "show", text: shown.join("\n") });
  const parser = (known ? branches[0] : or(...branches as [AnyParser, AnyParser])) as Parser<"sync", Parsed, unknown>;
  return runParser(parser, program.name, words, {
    help: { option: true, command: true, onShow: shows },
    completion: { command: true, onShow: shows },
    version: { option: true, value: program.version, onShow: shows },
    brief: message`${text(program.summary)}`,
    usageLine: [{ type: "ellipsis" }],
    footer: message`${text(`${program.name} COMMAND --help says more, with an example.`)}`,
    commandList: "top-level",
    aboveError: "none",
    showDefault: true,
    termWidth: "auto",
    colors: false,
    maxWidth: width,
    stdout: (part) => void shown.push(part),
    stderr: () => {},
    onError: (_code, error): never => {
      throw new UserError(sentence(error, words, table, known), { usage: true });
    },
  });
}

/** One command's parser: its value is what `parseCommandLine` returns. */
function branch(name: string, entry: Command, cwd: string): AnyParser {
  const members: Record<string, AnyParser> = {};
  for (const [key, field] of Object.entries(entry.positionals)) members[key] = positional(field);
  for (const [key, field] of Object.entries({ ...entry.flags, ...COMMON_FLAGS })) members[key] = named(key, field);
  const fields: Fields = { ...entry.positionals, ...entry.flags, ...COMMON_FLAGS };
  const inner = object(members).map((raw) => {
    const values: Record<string, unknown> = {};
    for (const [key, field] of Object.entries(fields)) values[key] = finish(field, raw[key], cwd);
    return { kind: "run", name, values };
  });
  const examples = entry.examples.flatMap((example) => [lineBreak(), text(`  ${CALL} ${example}`)]);
  return command(name, object({ command: constant(name), inner }).map((value) => value.inner), {
    brief: message`${text(entry.summary)}`,
    description: entry.description === undefined ? undefined : message`${text(entry.description)}`,
    usageLine: (whole) => [...whole.filter(({ type }) => type !== "optional"), { type: "ellipsis" }],
    footer: [text(entry.examples.length > 1 ? "Examples:" : "Example:"), ...examples],
  }) as AnyParser;
}

function positional(field: Field<unknown>): AnyParser {
  const one = argument(valueParser(field, field.metavar ?? "VALUE"), {
    description: message`${text(field.help)}`,
    errors: { invalidValue: (error) => error },
  });
  return occurring(one, field, field.metavar ?? "VALUE");
}

function named(key: string, field: Field<unknown>): AnyParser {
  const name = flagName(key);
  if (field.metavar === undefined) {
    return optional(flag(name, { description: message`${text(help(field))}` })) as AnyParser;
  }
  const one = option(name, valueParser(field, name), {
    description: message`${text(help(field))}`,
    errors: { invalidValue: (error) => error },
  });
  return occurring(one, field, `${name} ${field.metavar}`);
}

/** Once, at most once, or several times. */
function occurring(one: AnyParser, field: Field<unknown>, name: string): AnyParser {
  if (!field.many) return (field.required ? one : optional(one)) as AnyParser;
  const tooFew = message`${text(`${name} is missing: ${field.help}.`)}`;
  return multiple(one, { min: field.required ? 1 : 0, errors: { tooFew } }) as AnyParser;
}

/** Many choices and the default stand in one bracket behind the help's text: the table, not the parser, fills them in. */
function help({ help, metavar, many, choices = [], fallback }: Field<unknown>): string {
  if (metavar === undefined) return help;
  const own = / \(([^()]*)\)$/.exec(help), notes = own ? [own[1]] : [];
  if (choices.length > 3) notes.push(`one of ${choices.join(", ")}`);
  if (!many && fallback !== undefined) notes.push(`default: ${fallback}`);
  return notes.length === 0 ? help : `${own ? help.slice(0, own.index) : help} (${notes.join("; ")})`;
}

function valueParser(field: Field<unknown>, name: string): ValueParser<"sync", unknown> {
  return {
    mode: "sync",
    metavar: field.metavar as "VALUE",
    placeholder: field.fallback ?? "",
    parse(word) {
      try {
        return { success: true, value: field.parse(word) };
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        return { success: false, error: message`${text(`${name}${word && ` ${word}`}: ${error.message}`)}` };
      }
    },
    format: (value) => String(value),
    *suggest(prefix) {
      for (const literal of field.choices ?? []) {
        if (literal.startsWith(prefix)) yield { kind: "literal", text: literal };
      }
      if (field.path) yield { kind: "file", type: "any", pattern: prefix };
    },
  };
}

function finish(field: Field<unknown>, value: unknown, cwd: string): unknown {
  if (value === undefined) return field.fallback;
  const { path } = field;
  if (!path) return value;
  const absolute = (word: string): string =>
    !isHubAddress(word) && (path === true || path(word)) ? resolve(cwd, word) : word;
  return Array.isArray(value) ? value.map(absolute) : absolute(value as string);
}

/** Optique's message as one sentence, with a suggestion. */
function sentence(error: Message, words: string[], table: Record<string, Command>, known: Command | undefined): string {
  const names = Object.keys(table);
  if (words.length === 0) return `give a command: ${names.join(", ")} (or --help).`;
  if (!known) return `${words[0]}: there is no such command.${like(words[0], names)} Commands: ${names.join(", ")}.`;
  const flat = formatMessage(error, { quotes: true, colors: false }).replaceAll(/\s+/g, " ").replaceAll("`", "");
  const unexpected = /^Unexpected option or (?:subcommand|argument): "?(.*?)"?\.(?: Did you mean.*)?$/.exec(flat)?.[1];
  if (unexpected === undefined) return sentenceStart(flat, known);
  if (!unexpected.startsWith("-")) return `${words[0]}: "${unexpected}" is one word too many.`;
  const flags = [...Object.keys({ ...known.flags, ...COMMON_FLAGS }).map(flagName), "--help"];
  const [name] = unexpected.split("=");
  return `${name}: ${words[0]} has no such flag.${like(name, flags) || ` It has ${flags.join(", ")}.`}`;
}

function like(word: string, candidates: readonly string[]): string {
  const [best] = findSimilar(word, candidates, { maxDistance: 4, maxSuggestions: 1 });
  return best ? ` Did you mean ${best}?` : "";
}

/** Optique's own sentences that name no flag get the missing positional's help. */
function sentenceStart(flat: string, known: Command): string {
  const missing = /^Expected a (\S+), but too few arguments\.$/.exec(flat)?.[1];
  const field = Object.values(known.positionals).find((one) => one.metavar === missing);
  if (missing && field) return `${missing} is missing: ${field.help}.`;
  const option = /^Missing option (--\S+?)\.$/.exec(flat)?.[1];
  const flagged = Object.entries(known.flags).find(([key]) => flagName(key) === option)?.[1];
  return option && flagged ? `${option} ${flagged.metavar} is missing: ${flagged.help}.` : flat;
}
