/** @file A result's folder, as `evaluate --out` writes it: samples, verdicts, and the report with its protocol. */
import { join } from "node:path";
import { UserError } from "../../dsl/errors.ts";
import { kindOf } from "../convert/files.ts";
import { readJson } from "../convert/huggingface.ts";
import type { Sample, Verdict } from "./grading/grade.ts";
import { type Protocol, unknownMaking } from "./protocol.ts";
import { readSamples } from "./samples/files.ts";

/** What is in the folder. */
export interface StoredResult {
  /** Which benchmark. */
  readonly benchmark: string;
  /** What the numbers depend on. */
  readonly protocol: Protocol;
  /** The programs. */
  readonly samples: readonly Sample[];
  /** One for each of them, in their order. */
  readonly verdicts: readonly Verdict[];
}

/** Whether there is a result in a folder. */
export function holdsResult(folder: string): boolean {
  return ["report.json", "samples.jsonl", "verdicts.jsonl"].every((name) => kindOf(join(folder, name)) === "file");
}

/** Reads a result. @throws {UserError} if the folder holds none, or its files do not fit each other */
export async function readResult(folder: string): Promise<StoredResult> {
  if (kindOf(folder) === "nothing") throw new UserError(`${folder}: there is no such folder.`);
  if (!holdsResult(folder)) {
    throw new UserError(
      `${folder}: this is no result (report.json, samples.jsonl and verdicts.jsonl). Grade samples with: ` +
        "xft evaluate SAMPLES --benchmark NAME --data FILE --out DIR.",
    );
  }
  const report = readJson(join(folder, "report.json")) as { benchmark?: unknown; protocol?: unknown };
  if (typeof report.benchmark !== "string" || typeof report.protocol !== "object" || report.protocol === null) {
    throw new UserError(`${join(folder, "report.json")}: "benchmark" or "protocol" is missing.`);
  }
  const samples = await readSamples(join(folder, "samples.jsonl"));
  const path = join(folder, "verdicts.jsonl");
  const verdicts = Deno.readTextFileSync(path).split("\n").filter((line) => line !== "").map(parseVerdict(path));
  if (verdicts.length !== samples.length || verdicts.some(({ task_id }, i) => task_id !== samples[i].task_id)) {
    throw new UserError(`${path}: its lines are not those of samples.jsonl.`);
  }
  // What a report does not say of its samples nobody knows.
  const protocol = { ...unknownMaking, ...report.protocol as Protocol };
  return { benchmark: report.benchmark, protocol, samples, verdicts };
}

function parseVerdict(path: string): (line: string, index: number) => Verdict {
  return (line, index) => {
    try {
      const verdict = JSON.parse(line);
      if (typeof verdict?.task_id === "string" && typeof verdict.base === "boolean") return verdict;
    } catch {
      // Said below, with the place.
    }
    throw new UserError(`${path}:${index + 1}: not a verdict, which is an object with "task_id" and "base".`);
  };
}

/** Whether the sample passed the harder of its tests. */
function passes({ base, plus }: Verdict): boolean {
  return base && plus !== false;
}

/** Samples of one task and how they did. */
export interface TaskResult {
  /** Which task. */
  readonly task: string;
  /** Share of its samples that passed. */
  readonly score: number;
  /** A program that passed, else the first; with why it failed. */
  readonly shown: { readonly program: string; readonly reason: string };
}

/** A result by task, in the samples' order. */
export function byTask({ samples, verdicts }: StoredResult): Map<string, TaskResult> {
  const groups = Map.groupBy(
    verdicts.map((verdict, i) => ({ verdict, sample: samples[i] })),
    (row) => row.verdict.task_id,
  );
  return new Map(
    [...groups].map(([task, rows]) => {
      const right = rows.filter(({ verdict }) => passes(verdict));
      const { sample, verdict } = right[0] ?? rows[0];
      const shown = { program: sample.solution ?? sample.completion ?? "", reason: verdict.reason };
      return [task, { task, score: right.length / rows.length, shown }];
    }),
  );
}
