/** @file What `deno task bench` can be asked for: one table, read by the parser and printed by `--help`. */
import { resolve } from "node:path";
import { UserError } from "../dsl/errors.ts";
import type { RoundOptions } from "./rounds.ts";

/** What the command was asked for. */
export interface Asked {
  /** What to do: measure, or only tell about the suite. */
  readonly task: "measure" | "help" | "list";
  /** Parts of the names of cases that are taken; none: all. */
  readonly only: readonly string[];
  readonly json: boolean;
  readonly peers: boolean;
  /** Names of the peers that take part; none: all. */
  readonly against: readonly string[];
  readonly size: "full" | "toy";
  /** Where results go. */
  readonly out: string;
  readonly options: RoundOptions;
  /** Seconds that the whole run may take. */
  readonly budgetSeconds: number;
}

interface Flag {
  /** What its value is called; none: it takes no value. */
  readonly value?: string;
  readonly summary: string;
}

const flags = {
  only: { value: "NAME[,NAME…]", summary: "only cases whose name contains one of these (as often as wanted)" },
  peers: { summary: "other programs do the same in turns with ours: PyTorch, JAX, llama.cpp, mergekit, burn" },
  against: { value: "NAME", summary: "only peers whose name contains it (as often as wanted; implies --peers)" },
  budget: {
    value: "MINUTES",
    summary: "how long the run may take: shared out over cases (default: as long as it needs)",
  },
  rounds: { value: "N", summary: "quiet rounds that each contestant gets (default 3)" },
  limit: { value: "SECONDS", summary: "work after which a contestant gets no further round (default 60)" },
  size: {
    value: "full|toy",
    summary: "toy: every kind of case, very small, to see that the suite runs (default full)",
  },
  out: { value: "DIR", summary: "where results.json, table.md and page.html go (default runs/bench)" },
  json: { summary: "one object as the last line" },
  list: { summary: "print the names of the cases, and measure none" },
  help: { summary: "print this" },
} as const satisfies Readonly<Record<string, Flag>>;

type FlagName = keyof typeof flags;

/** What `--help` prints. */
export function help(): string {
  const rows = Object.entries<Flag>(flags).map(([name, { value, summary }]) =>
    [`  --${name}${value ? ` ${value}` : ""}`, summary] as const
  );
  const width = Math.max(...rows.map(([flag]) => flag.length));
  return [
    "Usage: deno task bench [FLAGS]",
    "",
    "Times our own work against the machine's roofs, and with --peers other programs that do the same, in turns with ours.",
    "",
    ...rows.map(([flag, summary]) => `${flag.padEnd(width)}  ${summary}`),
    "",
    "Example: deno task bench --only moe/tiny,merge/ --peers --budget 30",
  ].join("\n");
}

const usage = (message: string): UserError => new UserError(`${message} See --help.`, { usage: true });

/** Flags and their values, as they were given. */
function valuesOf(words: readonly string[]): ReadonlyMap<FlagName, readonly string[]> {
  const given = new Map<FlagName, string[]>(), rest = [...words];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    const [, name, inline] = /^--([a-z]+)(?:=(.*))?$/s.exec(word === "-h" ? "--help" : word) ?? [];
    if (name === undefined || !Object.hasOwn(flags, name)) throw usage(`${word}: there is no such flag.`);
    const flag: Flag = flags[name as FlagName];
    if (!flag.value && inline !== undefined) throw usage(`--${name} takes no value.`);
    const value = flag.value ? inline ?? rest.shift() : "";
    if (value === undefined) throw usage(`--${name} needs a value: ${flag.value}.`);
    given.set(name as FlagName, [...given.get(name as FlagName) ?? [], value]);
  }
  return given;
}

/** Reads the command's words. @throws {UserError} naming the one that cannot be */
export function parse(words: readonly string[]): Asked {
  const given = valuesOf(words);
  const positive = (name: FlagName, otherwise: number): number => {
    const text = given.get(name)?.at(-1), value = text === undefined ? otherwise : Number(text);
    if (!(value > 0)) throw usage(`--${name} ${text}: it is a positive number.`);
    return value;
  };
  const size = given.get("size")?.at(-1) ?? "full", against = given.get("against") ?? [];
  if (size !== "full" && size !== "toy") throw usage(`--size ${size}: it is full or toy.`);
  // Toy sizes are never compared, so no round of theirs is repeated.
  const [roundSeconds, quiet] = size === "toy" ? [0, 1] : [0.5, 0.1];
  return {
    task: given.has("help") ? "help" : given.has("list") ? "list" : "measure",
    only: (given.get("only") ?? []).flatMap((value) => value.split(",")).filter((part) => part !== ""),
    json: given.has("json"),
    peers: given.has("peers") || against.length > 0,
    against,
    size,
    out: resolve(Deno.env.get("INIT_CWD") ?? ".", given.get("out")?.at(-1) ?? "runs/bench"),
    options: { rounds: positive("rounds", 3), limitSeconds: positive("limit", 60), roundSeconds, quiet },
    budgetSeconds: 60 * positive("budget", Infinity),
  };
}
