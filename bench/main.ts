/**
 * @file `deno task bench`: times our own work; with `--peers` other programs that do the same, in turns with ours.
 *
 * `--only NAME[,NAME…]` takes the cases whose name contains one of them, `--against NAME` (as often as wanted) lets only
 * these peers take part, `--json` prints one object as the last line, `--size toy` runs every kind of case very small,
 * `--rounds N` says how many rounds count, `--limit SECONDS` after how long a contestant gets no further round,
 * `--out DIR` where results.json, page.html and table.md go (default: runs/bench).
 */
import { join, resolve } from "node:path";
import { UserError } from "../dsl/errors.ts";
import type { Case } from "./case.ts";
import { costOf } from "./costs.ts";
import { denseOf } from "./families/sizes.ts";
import { type Machine, machine } from "./machine.ts";
import { peersPython, pythonWithNumpy } from "./peers/environment.ts";
import { casesOf, contestantsOf, type Surroundings } from "./registry.ts";
import { measure, type Measured, type RoundOptions } from "./rounds.ts";
import { markdownOf, textOf } from "./table.ts";

/** What the command was asked for. */
interface Asked {
  readonly only: readonly string[];
  readonly json: boolean;
  readonly peers: boolean;
  /** Names of the peers that take part; none: all. */
  readonly against: readonly string[];
  readonly size: "full" | "toy";
  readonly out: string;
  readonly options: RoundOptions;
}

/** Everything that a run gives: what results.json holds. */
export interface Results {
  readonly date: string;
  readonly command: string;
  readonly machine: Machine;
  readonly cases: readonly Measured[];
}

function parse(words: readonly string[]): Asked {
  const asked = {
    only: [] as string[],
    against: [] as string[],
    json: false,
    peers: false,
    size: "full",
    out: "runs/bench",
    rounds: 3,
    limit: 60,
  };
  const rest = [...words];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    const [flag, inline] = word.split("=", 2);
    const value = (): string => {
      const given = inline ?? rest.shift();
      if (given === undefined) throw new UserError(`${flag} needs a value.`, { usage: true });
      return given;
    };
    if (flag === "--only") asked.only.push(...value().split(","));
    else if (flag === "--json") asked.json = true;
    else if (flag === "--peers") asked.peers = true;
    else if (flag === "--against") asked.against.push(value());
    else if (flag === "--size") asked.size = value();
    else if (flag === "--out") asked.out = value();
    else if (flag === "--rounds") asked.rounds = Number(value());
    else if (flag === "--limit") asked.limit = Number(value());
    else {throw new UserError(
        `${word}: known are --only, --json, --peers, --against, --size, --rounds, --limit, --out.`,
        {
          usage: true,
        },
      );}
  }
  const { only, against, json, size, rounds, limit } = asked, peers = asked.peers || against.length > 0;
  if (size !== "full" && size !== "toy") throw new UserError(`--size ${size}: it is full or toy.`, { usage: true });
  if (!(rounds >= 1 && limit > 0)) throw new UserError("--rounds and --limit are positive numbers.", { usage: true });
  // Toy sizes are never compared, so no round of theirs is repeated.
  const [roundSeconds, quiet] = size === "toy" ? [0, 1] : [0.5, 0.1];
  const options = { rounds, limitSeconds: limit, roundSeconds, quiet };
  return { only, against, json, peers, size, out: resolve(Deno.env.get("INIT_CWD") ?? ".", asked.out), options };
}

function chosen({ size, only }: Asked): Case[] {
  const all = casesOf(size);
  const cases = all.filter(({ name, optional }) =>
    only.length === 0 ? !optional : only.some((part) => name.includes(part))
  );
  if (cases.length > 0) return cases;
  throw new UserError(
    `--only ${only.join()}: no case is called so. There are: ${all.map(({ name }) => name).join(", ")}.`,
    {
      usage: true,
    },
  );
}

/** Measures, case by case; what is known so far is on disk after each. */
async function run(asked: Asked, words: readonly string[]): Promise<Results> {
  const cases = chosen(asked), peers = asked.peers ? await peersPython() : undefined;
  const around: Surroundings = { peers, numpy: peers ?? await pythonWithNumpy() };
  if (!around.numpy) {
    console.error("No Python with numpy: the roof of products is our own largest one, bytes have none.");
  }
  const measured: Measured[] = [], command = ["deno task bench", ...words].join(" ");
  const results = (): Results => ({ date: new Date().toISOString(), command, machine: machine(), cases: measured });
  await Deno.mkdir(asked.out, { recursive: true });
  for (const [i, each] of cases.entries()) {
    console.error(`${i + 1} of ${cases.length}: ${each.name}`);
    const cost = costOf(each.work, denseOf("smollm2"));
    const contestants = contestantsOf(each, cost, around).filter(({ name, role }) =>
      role !== "peer" || asked.against.length === 0 || asked.against.includes(name)
    );
    const rows = await measure(each, cost, contestants, asked.options);
    console.error(textOf(rows));
    measured.push(...rows);
    await Deno.writeTextFile(join(asked.out, "results.json"), `${JSON.stringify(results(), null, 1)}\n`);
  }
  return results();
}

if (import.meta.main) {
  try {
    const asked = parse(Deno.args), results = await run(asked, Deno.args);
    // Loaded at the end: a page's libraries are no part of what is measured.
    const { pageOf } = await import("./page.ts");
    await Deno.writeTextFile(join(asked.out, "page.html"), pageOf(results));
    await Deno.writeTextFile(join(asked.out, "table.md"), `${markdownOf(results.cases)}\n`);
    console.log(textOf(results.cases));
    if (asked.json) console.log(JSON.stringify(results));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    console.error(`bench: ${error.message}`);
    Deno.exit(2);
  }
}
