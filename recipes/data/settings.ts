/** @file What can be said about data: the same settings for `data`, `train`, `learn` and a recipe of `run`. */
import type { Duplicates } from "./clean/mod.ts";
import type { Packing } from "./rows.ts";
import type { TemplateName } from "./templates.ts";

/** How data is read, cleaned and put into rows. What is absent has its default. */
export interface DataSettings {
  /** Which fields to take, as `instruction=question,response=answer` (default: found by name). */
  readonly fields?: string;
  /** How examples are put into words (default: magicoder). */
  readonly template?: TemplateName;
  /** Whether samples share rows: `documents` never see each other, `joined` see those before them (default: none). */
  readonly pack?: Packing;
  /** What happens to examples that repeat others (default: exact, all but the first are left out). */
  readonly duplicates?: Duplicates;
  /** Benchmarks of which no example may hold a part. */
  readonly decontaminate?: readonly string[];
  /** Words in a row that such a part has (default: 13). */
  readonly ngram?: number;
  /** Leave out malformed records and count them, instead of stopping at the first. */
  readonly skipMalformed?: boolean;
}
