/** @file Cleaning: examples that repeat others, or a benchmark's tasks, are left out, and it is said which and why. */
import type { Example, Placed } from "../read/mod.ts";
import { contaminationFinder } from "./contamination.ts";
import { exactDuplicates, nearDuplicates } from "./duplicates.ts";

export { type Contamination, contaminationFinder } from "./contamination.ts";
export { exactDuplicates, NEAR, nearDuplicates } from "./duplicates.ts";
export { fingerprint, normalised } from "./words.ts";

/** What is done with repeated examples: they stay, or all but the first go. */
export type Duplicates = "keep" | "exact" | "near";

/** Why an example was left out. */
export interface Removal {
  /** Its file and line. */
  readonly where: string;
  /** In a word. */
  readonly reason: "malformed" | "duplicate" | "near-duplicate" | "contaminated" | "too long" | "in validation";
  /** The example it repeats, or the task and the words that it shares. */
  readonly detail: string;
}

/** Says why an example must go, or undefined. */
export type Cleaner = (placed: Placed) => Removal | undefined;

/** How examples are cleaned. */
export interface CleanOptions {
  /** Default: exact. */
  readonly duplicates?: Duplicates;
  /** Benchmarks that nothing may be learned from. */
  readonly decontaminate?: readonly string[];
  /** Words in a run that an example may not share with a task (default 13). */
  readonly ngram?: number;
}

const textOf = ({ turns }: Example): string => turns.map(({ content }) => content).join("\n");

/** A cleaner that remembers what it has let pass. @throws {UserError} if a benchmark's file is no good */
export async function cleaner(options: CleanOptions): Promise<Cleaner> {
  const { duplicates = "exact", decontaminate = [], ngram } = options;
  const places: string[] = [];
  const finder = duplicates === "near" ? nearDuplicates() : duplicates === "exact" ? exactDuplicates() : undefined;
  const contaminated = decontaminate.length > 0 ? await contaminationFinder(decontaminate, ngram) : undefined;
  return ({ where, example }) => {
    const text = textOf(example), shared = contaminated?.(text);
    if (shared) return { where, reason: "contaminated", detail: `${shared.task}: "${shared.words}"` };
    const first = finder?.find(text);
    if (first !== undefined) {
      return { where, reason: duplicates === "near" ? "near-duplicate" : "duplicate", detail: places[first] };
    }
    if (finder) places.push(where);
    return undefined;
  };
}
