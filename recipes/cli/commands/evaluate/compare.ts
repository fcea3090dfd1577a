/** @file `xft compare`: two results on the same tasks, and whether they differ by more than chance. */
import { UserError } from "../../../../dsl/errors.ts";
import { assertSameProtocol, comparePaired, type Paired } from "../../../evaluate/mod.ts";
import { unknownFields } from "../../../evaluate/protocol.ts";
import { byTask, readResult, type TaskResult } from "../../../evaluate/result.ts";
import type { commands } from "../../commands.ts";
import type { Context, JsonResult } from "../../context.ts";
import { beside } from "../../output/side_by_side.ts";
import type { Arguments } from "../../flags/schema.ts";

/** Runs the command. */
export async function run(args: Arguments<typeof commands.compare>, context: Context): Promise<JsonResult> {
  const [one, two] = await Promise.all([readResult(args.a), readResult(args.b)]);
  if (one.benchmark !== two.benchmark) {
    throw new UserError(`these are results of two benchmarks: ${one.benchmark} and ${two.benchmark}.`);
  }
  assertSameProtocol(one.protocol, two.protocol, args);
  const unsaid = [...new Set([...unknownFields(one.protocol), ...unknownFields(two.protocol)])];
  if (unsaid.length > 0) context.print(`Not known of both, and so not compared: ${unsaid.join(", ")}.`);
  const a = byTask(one), b = byTask(two);
  const only = [...a.keys(), ...b.keys()].find((task) => !a.has(task) || !b.has(task));
  if (only) throw new UserError(`${only}: only one of the two results has this task.`);
  const pairs = [...a.values()].map((mine) => ({ a: mine, b: b.get(mine.task)! }));
  const paired = comparePaired(pairs.map((pair) => pair.a.score), pairs.map((pair) => pair.b.score), args.seed);
  const won = pairs.filter((pair) => pair.b.score > pair.a.score);
  const lost = pairs.filter((pair) => pair.b.score < pair.a.score);
  for (const [word, list] of [["B wins", won], ["B loses", lost]] as const) {
    for (const pair of list) context.print(`${word} ${pair.a.task}\n${args.brief ? "" : sideBySide(pair)}`);
  }
  for (const line of summary(paired, pairs.length, won.length, lost.length)) context.print(line);
  const row = (pair: Pair) => ({ task_id: pair.a.task, a: describe(pair.a), b: describe(pair.b) });
  return {
    benchmark: one.benchmark,
    tasks: pairs.length,
    ...{ won: won.map(row), lost: lost.map(row), difference: paired.difference, interval: paired.interval },
    p_value: { mcnemar: paired.mcnemar, bootstrap: paired.bootstrap },
    tasks_needed: paired.tasksNeeded,
    not_known: unsaid,
    protocol: one.protocol,
  };
}

interface Pair {
  readonly a: TaskResult;
  readonly b: TaskResult;
}

function describe({ score, shown }: TaskResult) {
  return { passed: score, ...shown };
}

function sideBySide({ a, b }: Pair): string {
  const column = ({ score, shown: { program, reason } }: TaskResult, name: string): string =>
    `${name}: ${
      score === 1 ? "passed" : score > 0 ? `${(100 * score).toFixed(0)}% passed` : reason
    }\n${program.trim()}`;
  return `${beside(column(a, "A"), column(b, "B"))}\n`;
}

/** The comparison in words. */
function summary(paired: Paired, tasks: number, won: number, lost: number): string[] {
  const points = (share: number): string => `${share > 0 ? "+" : ""}${(100 * share).toFixed(1)}`;
  const { difference, interval: [low, high], mcnemar, bootstrap, tasksNeeded } = paired;
  const p = mcnemar ?? bootstrap;
  const test = mcnemar === null ? "paired bootstrap" : "McNemar's exact test";
  const lines = [
    `B wins ${won} of ${tasks} tasks and loses ${lost}: ${points(difference)} points ` +
    `(95%: ${points(low)} to ${points(high)}), p = ${p.toPrecision(2)} by ${test}` +
    (mcnemar === null ? "." : `, ${bootstrap.toPrecision(2)} by a paired bootstrap.`),
  ];
  if (tasksNeeded === null) lines.push("There is no difference that more tasks would show.");
  else {
    const needed = `about ${tasksNeeded} tasks like these would show it (p < 0.05 in four of five tries)`;
    lines.push(
      p < 0.05
        ? `Such a difference is rare between equal models: call it real. Were it measured anew, ${needed}.`
        : `Equal models differ as much in ${
          (100 * p).toFixed(0)
        }% of such comparisons; were the difference real, ${needed}.`,
    );
  }
  return lines;
}
