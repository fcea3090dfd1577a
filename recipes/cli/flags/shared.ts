/** @file Flags that several commands share: how data is read, how a stage is tuned, how weights are loaded. */
import { UserError } from "../../../dsl/errors.ts";
import type { DataSettings } from "../../data/settings.ts";
import { choice, integer, number, path, paths, text, toggle } from "./schema.ts";

/** What λ is, for errors. */
export const LAMBDA_RULE = "λ is a share, between 0 and 1.";
const WEIGHT_TYPES = ["stored", "f32", "bf16", "f16"] as const;

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
  pack: choice(
    "samples that share a row: none; documents, which never see each other; joined, where each sees those before it (default: none)",
    [
      "none",
      "documents",
      "joined",
    ],
  ),
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

/** Where metrics go, too. */
export const tensorboard = path("also write the metrics here, as TensorBoard's event files", { metavar: "DIR" });

const SCHEDULES = ["linear", "cosine", "constant", "wsd"] as const;

/** What `train` and `learn` share; what is absent comes from the preset. */
export const stage = {
  preset: choice("settings: the paper's, or the project's", ["paper", "tuned"], { fallback: "tuned" }),
  steps: integer("optimiser steps (default: from the epochs)", { min: 1 }),
  epochs: number("passes over the data (default: the preset's)", { min: 0 }),
  lr: number("highest learning rate (default: the preset's)", { min: 0 }),
  decay: choice("how the rate falls after the warm-up; wsd: kept, and straight to 0 in the last tenth", SCHEDULES, {
    fallback: "linear",
  }),
  warmup: integer("steps of warm-up (default: the preset's share)", { min: 0 }),
  batch: integer("sequences per step (default: the preset's)", { min: 1 }),
  seq: integer("longest sequence in tokens, longer ones are cut (default: the preset's)", { min: 2 }),
  validation: integer("examples kept for validation", { fallback: 64, min: 1 }),
  tensorboard,
  ...dataFlags,
};

/** How a model's weights are loaded. */
export const loading = {
  storage: choice("type of the weights in memory: as their file has them, or this one", WEIGHT_TYPES, {
    fallback: "stored",
  }),
  coefficients: path("of a mixture: merge it while it is loaded, by this file from `learn`", { metavar: "FILE" }),
  merge: choice("of a mixture: merge it while it is loaded, in this way", ["xft", "uniform", "shared"]),
  lambda: number("share of the shared expert (default: the file's, else 0.75)", { min: 0, max: 1, rule: LAMBDA_RULE }),
  overrideLambda: toggle("let --lambda win over the file's"),
};

/** Checks how a mixture is to be merged while it is loaded. @throws {UserError} if flags contradict each other */
export function checkLoading(
  { merge, coefficients, lambda }: {
    readonly merge?: string;
    readonly coefficients?: string;
    readonly lambda?: number;
  },
): void {
  if (lambda !== undefined && !merge && !coefficients) {
    throw new UserError("--lambda: it goes with --coefficients FILE or --merge NAME.");
  }
  if (merge === "xft" && !coefficients) throw new UserError("--merge xft: it needs --coefficients FILE.");
  if (coefficients && merge && merge !== "xft") throw new UserError(`--merge ${merge}: it takes no --coefficients.`);
}

/** Checks how long a stage is to be. @throws {UserError} if flags contradict each other */
export function checkStage({ steps, epochs }: { readonly steps?: number; readonly epochs?: number }): void {
  if (steps !== undefined && epochs !== undefined) throw new UserError("--steps and --epochs: give one of them.");
}
