/** @file Records as examples to learn from, whatever their fields are called. */
import { UserError } from "../../../dsl/errors.ts";

/** One turn of a conversation. */
export interface Turn {
  /** `system`, `user`, `assistant`, or what else the data has. */
  readonly role: string;
  /** What was said. */
  readonly content: string;
}

/** One example to learn from: a conversation whose last turn is the assistant's. */
export interface Example {
  /** In order, at least two. */
  readonly turns: readonly Turn[];
  /** The text before the answer stands as it is (prompt/completion data): no template around it. */
  readonly raw: boolean;
}

/** Names of fields that are understood, in the sets that make an example. */
const SETS = [
  ["messages"],
  ["conversations"],
  ["instruction", "response"],
  ["instruction", "output"],
  ["prompt", "completion"],
] as const;
type FieldName = (typeof SETS)[number][number] | "input";
const NAMES: readonly FieldName[] = [...new Set(SETS.flat()), "input"];
const EXPECTED = "expected instruction and response, instruction, input and output, prompt and completion, or messages";

/** Which field of the data stands for which of ours. */
export type Fields = Readonly<Partial<Record<FieldName, string>>>;

/**
 * Reads a mapping of fields, as the flag has it.
 *
 * @throws {UserError} if a name of ours is unknown, or the names together make no example
 * @example
 * ```ts
 * import { parseFields } from "./examples.ts";
 * console.assert(parseFields("instruction=question,response=answer").response === "answer");
 * ```
 */
export function parseFields(text: string): Fields {
  const pairs = text.split(",").map((part): [string, string] => {
    const [ours, theirs, ...more] = part.split("=").map((word) => word.trim());
    if (!ours || !theirs || more.length > 0) {
      throw new UserError(`--fields ${text}: expected OURS=THEIRS,…, such as instruction=question,response=answer.`);
    }
    if (!NAMES.some((name) => name === ours)) {
      throw new UserError(`--fields ${text}: "${ours}" is none of ${NAMES.join(", ")}.`);
    }
    return [ours, theirs];
  });
  const fields: Fields = Object.fromEntries(pairs);
  if (!SETS.some((set) => set.every((name) => name in fields))) {
    throw new UserError(`--fields ${text}: ${EXPECTED} on the left of the equals signs.`);
  }
  return fields;
}

/**
 * A record as an example. Without `fields`, they are found by name: `messages` (or `conversations`, with `from` and
 * `value`), `instruction`/`response`, `instruction`/`input`/`output` (an input follows the instruction after a blank
 * line), or `prompt`/`completion` (used as they are).
 *
 * @param where file and line, for messages
 * @throws {UserError} if it has none of the known sets of fields, or a field is no text
 */
export function toExample(record: unknown, where: string, fields?: Fields): Example {
  if (typeof record !== "object" || record === null || Array.isArray(record)) {
    throw new UserError(`${where}: an object was expected, not ${describe(record)}.`);
  }
  const found = record as Record<string, unknown>;
  const theirs = (name: FieldName): string => fields?.[name] ?? name;
  const has = (name: FieldName): boolean => (!fields || name in fields) && theirs(name) in found;
  const set = SETS.find((names) => names.every(has));
  if (!set) {
    const names = Object.keys(found), wanted = fields ? `--fields names ${Object.values(fields).join(", ")}` : EXPECTED;
    throw new UserError(`${where}: ${names.length ? `it has ${names.join(", ")}` : "it has no fields"}; ${wanted}.`);
  }
  if (set.length === 1) return fromMessages(found[theirs(set[0])], where);
  const text = (name: FieldName): string => {
    const value = found[theirs(name)];
    if (typeof value === "string") return value;
    throw new UserError(`${where}: field "${theirs(name)}" is ${describe(value)}, expected a text.`);
  };
  const [asked, answer] = set, input = has("input") && (found[theirs("input")] ?? "") !== "" ? text("input") : "";
  const question = input === "" ? text(asked) : `${text(asked)}\n\n${input}`;
  const turns = [{ role: "user", content: question }, { role: "assistant", content: text(answer) }];
  return { turns, raw: asked === "prompt" };
}

/** Roles as ShareGPT calls them. */
const ROLES: Readonly<Record<string, string>> = { human: "user", gpt: "assistant" };

function fromMessages(messages: unknown, where: string): Example {
  if (!Array.isArray(messages)) throw new UserError(`${where}: messages is ${describe(messages)}, expected a list.`);
  const turns = messages.map((message: unknown, index): Turn => {
    const turn = (message ?? {}) as Record<string, unknown>;
    const role = turn.role ?? turn.from, content = turn.content ?? turn.value;
    if (typeof role === "string" && typeof content === "string") return { role: ROLES[role] ?? role, content };
    throw new UserError(`${where}: message ${index + 1} needs a role and a content, both texts.`);
  });
  if (turns.length < 2 || turns.at(-1)?.role !== "assistant") {
    throw new UserError(`${where}: messages must end with the assistant's, after at least one other.`);
  }
  return { turns, raw: false };
}

/** What is asked for: all that comes before the last answer. */
export const questionOf = ({ turns }: Example): string => turns.slice(0, -1).map(({ content }) => content).join("\n\n");

/** The last answer. */
export const answerOf = ({ turns }: Example): string => turns[turns.length - 1].content;

function describe(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "null";
  return Array.isArray(value) ? "a list" : `a ${typeof value}`;
}
