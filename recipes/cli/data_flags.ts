/** @file The flags that say how data is read: the same for every command that reads some. */
import type { DataSettings } from "../data/settings.ts";
import { choice, integer, paths, text, toggle } from "./schema.ts";

/** What instruction data may be, for `--help`. */
export const DATA_HELP = "instruction data: JSON, JSONL or Parquet, gzip and zstd too (several: in order)";

/** Flags by name. None has a default here, so that what was not said can come from elsewhere (a recipe). */
export const dataFlags = {
  fields: text("which fields to take, such as instruction=question,response=answer (default: found by name)", {
    metavar: "OURS=THEIRS,…",
  }),
  template: choice("the words around an example: Magicoder's, the model's chat template, none (default: magicoder)", [
    "magicoder",
    "model",
    "none",
  ]),
  pack: choice("samples that share rows never see each other, or see those before them (default: none share any)", [
    "none",
    "documents",
    "joined",
  ]),
  duplicates: choice("repeated examples: all stay, equal ones go, those alike to 0.8 go too (default: exact)", [
    "keep",
    "exact",
    "near",
  ]),
  decontaminate: paths("leave out examples that hold a part of this benchmark's tasks (HumanEval, MBPP)", {
    metavar: "FILE",
  }),
  ngram: integer("with --decontaminate: words in a row that such a part has (default: 13)", { min: 2 }),
  skipMalformed: toggle("leave out malformed records of the data (counted) instead of stopping"),
};

/** Of any values those that say how data is read, without what was not said. */
export function dataSettings(values: Readonly<Record<string, unknown>>): DataSettings {
  const said = (value: unknown): boolean =>
    value !== undefined && value !== false && !(Array.isArray(value) && value.length === 0);
  return Object.fromEntries(
    Object.keys(dataFlags).flatMap((name) => said(values[name]) ? [[name, values[name]]] : []),
  );
}
