/**
 * @file Contamination: examples that hold a part of a benchmark's task. A task's texts and solutions are cut into runs
 * of words; an example with one of them is contaminated.
 */
import { UserError } from "../../../dsl/errors.ts";
import { recordsOf } from "../read/records.ts";
import { runHashes, wordsOf } from "./words.ts";

/** Words in a run: as for GPT-3 (arXiv 2005.14165). Runs of 10 also meet in loops that everybody writes. */
const CONTAMINATED_RUN = 13;
/** A task's text with fewer words says too little to accuse anybody. */
const FEWEST_WORDS = 6;

/** Where HumanEval, MBPP and their kin keep texts and solutions. Tests are left out: they are lists of values. */
const FIELDS = ["prompt", "text", "canonical_solution", "code"] as const;

/** What an example has in common with a task. */
export interface Contamination {
  /** File and name of the task. */
  readonly task: string;
  /** The words that both have. */
  readonly words: string;
}

/** Says what of a benchmark a text holds; undefined where nothing. */
export type ContaminationFinder = (text: string) => Contamination | undefined;

interface Run {
  readonly task: string;
  readonly words: readonly string[];
  /** The same hash, other words. */
  readonly next?: Run;
}

/**
 * Reads benchmarks and makes a finder of their tasks.
 *
 * @param paths files such as HumanEval.jsonl.gz or mbpp.jsonl, in any format that data may have
 * @param count words in a run; shorter texts (of 6 words or more) are one run
 * @throws {UserError} if a file is malformed, or has no tasks of a known form
 */
export async function contaminationFinder(
  paths: readonly string[],
  count: number = CONTAMINATED_RUN,
): Promise<ContaminationFinder> {
  const runs = new Map<number, Run>(), lengths = new Set<number>();
  for (const path of paths) {
    for await (const { where, read } of recordsOf(path)) {
      const task = read() as Readonly<Record<string, unknown>>;
      const texts = FIELDS.map((name) => task[name]).filter((text) => typeof text === "string");
      if (texts.length === 0) throw new UserError(`${where}: no task of a benchmark (none of ${FIELDS.join(", ")}).`);
      const name = `${path} ${task.task_id ?? task.name ?? where.slice(path.length + 1)}`;
      for (const text of texts) addRuns(text, name);
    }
  }
  if (runs.size === 0) throw new UserError(`${paths.join(", ")}: no tasks to compare with.`);

  function addRuns(text: string, task: string): void {
    const all = wordsOf(text), size = Math.min(count, all.length);
    if (size < Math.min(count, FEWEST_WORDS)) return;
    lengths.add(size);
    for (const [start, hash] of runHashes(all, size).entries()) {
      const words = all.slice(start, start + size), next = runs.get(hash);
      if (!find(next, words)) runs.set(hash, { task, words, next });
    }
  }
  return (text) => {
    const words = wordsOf(text);
    for (const size of lengths) {
      if (words.length < size) continue;
      for (const [start, hash] of runHashes(words, size).entries()) {
        const found = find(runs.get(hash), words.slice(start, start + size));
        if (found) return { task: found.task, words: found.words.join(" ") };
      }
    }
    return undefined;
  };
}

function find(run: Run | undefined, words: readonly string[]): Run | undefined {
  for (let one = run; one; one = one.next) {
    if (one.words.length === words.length && one.words.every((word, i) => word === words[i])) return one;
  }
  return undefined;
}
