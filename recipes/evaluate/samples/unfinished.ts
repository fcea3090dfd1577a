/**
 * @file An evaluation in progress on disk (OUT.unfinished): answers and verdicts, a JSON line each, as they come. After
 * an interruption, `kill -9` included, what is there is neither generated nor graded again.
 */
import { join } from "node:path";
import { UserError } from "../../../dsl/errors.ts";
import { kindOf } from "../../convert/files.ts";
import { openUnfinished, type UnfinishedOptions, unfinishedPath } from "../../snapshots/unfinished.ts";
import type { Graded } from "../grading/grade.ts";

/** What is kept of an evaluation until its result is written. Places count answers as they will be in the result. */
export interface UnfinishedEvaluation {
  /** Texts that the model generated, by place. */
  readonly texts: ReadonlyMap<number, string>;
  /** Keeps a text. */
  addText(place: number, text: string): void;
  /** What grading found, by place. */
  readonly graded: ReadonlyMap<number, Graded>;
  /** Keeps what grading found. */
  addGraded(place: number, graded: Graded): void;
  /** Forgets all of it: the result is written. */
  finish(): void;
}

/**
 * Begins an evaluation's folder, or opens it again. Without `out` nothing is kept.
 *
 * @param settings all that the result depends on, as JSON; an evaluation goes on with the same ones only
 * @throws {UserError} as {@link openUnfinished}, and naming the line where what was kept is damaged
 */
export function openEvaluation(
  out: string | undefined,
  settings: Readonly<Record<string, unknown>>,
  options: UnfinishedOptions,
): UnfinishedEvaluation {
  if (out === undefined) {
    return { texts: new Map(), addText: () => {}, graded: new Map(), addGraded: () => {}, finish: () => {} };
  }
  openUnfinished(out, "evaluation", settings, options);
  const folder = unfinishedPath(out);
  const texts = journal<string>(join(folder, "texts.jsonl"));
  const graded = journal<Graded>(join(folder, "graded.jsonl"));
  return {
    texts: texts.kept,
    addText: texts.add,
    graded: graded.kept,
    addGraded: graded.add,
    finish: () => Deno.removeSync(folder, { recursive: true }),
  };
}

interface Journal<T> {
  readonly kept: ReadonlyMap<number, T>;
  add(place: number, value: T): void;
}

/** Values by place in a file that only grows: a line is `[place, value]`. */
function journal<T>(path: string): Journal<T> {
  const text = kindOf(path) === "file" ? Deno.readTextFileSync(path) : "";
  // A line without an end was being written when the run was ended.
  const whole = text.slice(0, text.lastIndexOf("\n") + 1);
  if (whole !== text) Deno.writeTextFileSync(path, whole);
  const kept = whole.split("\n").filter((line) => line !== "").map((line, i): [number, T] => {
    try {
      return JSON.parse(line);
    } catch (cause) {
      throw new UserError(`${path}:${i + 1}: not JSON; begin again with --overwrite.`, { cause });
    }
  });
  return {
    kept: new Map(kept),
    add: (place, value) => Deno.writeTextFileSync(path, `${JSON.stringify([place, value])}\n`, { append: true }),
  };
}
