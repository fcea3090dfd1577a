/**
 * @file `deno task bench`: times our own work; with `--peers` other programs that do the same, in turns with ours.
 * `--help` names its flags (`options.ts`).
 */
import { join } from "node:path";
import { UserError } from "../dsl/errors.ts";
import type { Case } from "./case.ts";
import { costOf } from "./costs.ts";
import { denseOf } from "./families/sizes.ts";
import { type Machine, machine } from "./report/machine.ts";
import { type Asked, help, parse } from "./options.ts";
import { pythonWithNumpy } from "./peers/environment.ts";
import { casesOf, contestantsOf } from "./registry.ts";
import { type Contestant, measure, type Measured, type RoundOptions } from "./rounds.ts";
import { markdownOf, textOf } from "./report/table.ts";

/** Everything that a run gives: what results.json holds. */
export interface Results {
  readonly date: string;
  readonly command: string;
  readonly machine: Machine;
  readonly cases: readonly Measured[];
  /** Cases for which no time was left. */
  readonly unmeasured: readonly string[];
}

function chosen({ size, only }: Asked): Case[] {
  const all = casesOf(size);
  const cases = all.filter(({ name }) => only.length === 0 || only.some((part) => name.includes(part)));
  if (cases.length > 0) return cases;
  throw new UserError(
    `--only ${only.join()}: no case is called so. There are: ${all.map(({ name }) => name).join(", ")}.`,
    {
      usage: true,
    },
  );
}

/** Who does a case, of the peers only those that were asked for. */
const contestantsFor = (each: Case, asked: Asked, numpy: string | undefined): Contestant[] =>
  contestantsOf(each, costOf(each.work, denseOf("smollm2")), { peers: asked.peers, numpy }).filter(({ name, role }) =>
    role !== "peer" || asked.against.length === 0 || asked.against.some((part) => name.includes(part))
  );

/** Fetches and builds what peers need, before anything is timed. What fails is told in the peers' own lines. */
async function installPeers(cases: readonly Case[], asked: Asked): Promise<void> {
  const peers = cases.flatMap((each) => contestantsFor(each, asked, undefined)).filter(({ role }) => role === "peer");
  for (const { name, install } of new Map(peers.map((peer) => [peer.name, peer])).values()) {
    await install?.().catch(({ message }: Error) => console.error(`${name} takes no part: ${message}`));
  }
}

/** Seconds that a contestant which hangs may take of a case's time, at least. */
const PATIENCE = 120;

/** How long a case may be measured when the rest of the run has so many seconds left for so many cases. */
function optionsWithin(asked: Asked, secondsLeft: number, casesLeft: number, contestants: number): RoundOptions {
  if (secondsLeft === Infinity) return asked.options;
  const share = Math.max(0, secondsLeft / casesLeft);
  // Getting ready takes about as long as the rounds do.
  const limitSeconds = Math.min(asked.options.limitSeconds, share / (2 * contestants));
  return { ...asked.options, limitSeconds, patienceSeconds: Math.max(PATIENCE, share) };
}

/** Measures, case by case; what is known so far is on disk after each. */
async function run(asked: Asked, words: readonly string[]): Promise<Results> {
  const cases = chosen(asked);
  if (asked.peers) await installPeers(cases, asked);
  const numpy = await pythonWithNumpy();
  if (!numpy) console.error("No Python with numpy: the roof of products is our own largest one, bytes have none.");
  const measured: Measured[] = [], command = ["deno task bench", ...words].join(" ");
  let unmeasured: readonly string[] = [];
  const results = (): Results => ({
    date: new Date().toISOString(),
    command,
    machine: machine(),
    cases: measured,
    unmeasured,
  });
  const began = performance.now();
  await Deno.mkdir(asked.out, { recursive: true });
  for (const [i, each] of cases.entries()) {
    const secondsLeft = asked.budgetSeconds - (performance.now() - began) / 1000;
    if (secondsLeft <= 0) {
      unmeasured = cases.slice(i).map(({ name }) => name);
      console.error(`The time is over. Not measured: ${unmeasured.join(", ")}.`);
      break;
    }
    console.error(`${i + 1} of ${cases.length}: ${each.name}`);
    const contestants = contestantsFor(each, asked, numpy), cost = costOf(each.work, denseOf("smollm2"));
    const options = optionsWithin(asked, secondsLeft, cases.length - i, contestants.length);
    const rows = await measure(each, cost, contestants, options);
    console.error(textOf(rows));
    measured.push(...rows);
    await Deno.writeTextFile(join(asked.out, "results.json"), `${JSON.stringify(results(), null, 1)}\n`);
  }
  return results();
}

async function main(words: readonly string[]): Promise<void> {
  const asked = parse(words);
  if (asked.task === "help") return console.log(help());
  if (asked.task === "list") return console.log(chosen(asked).map(({ name }) => name).join("\n"));
  const results = await run(asked, words);
  // Loaded at the end: a page's libraries are no part of what is measured.
  const { pageOf } = await import("./report/page.ts");
  await Deno.writeTextFile(join(asked.out, "page.html"), pageOf(results));
  await Deno.writeTextFile(join(asked.out, "table.md"), `${markdownOf(results.cases)}\n`);
  console.log(textOf(results.cases));
  if (asked.json) console.log(JSON.stringify(results));
}

if (import.meta.main) {
  try {
    await main(Deno.args);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    console.error(`bench: ${error.message}`);
    Deno.exit(2);
  }
}
