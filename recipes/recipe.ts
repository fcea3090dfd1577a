/** @file A recipe: everything that a whole run of XFT needs to know, as data. */
import { UserError } from "../dsl/errors.ts";
import type { DataSettings } from "./data/settings.ts";
import type { Precision } from "./optim/precision.ts";

/** How one stage differs from its preset. */
export interface RecipeStage {
  /** Optimiser steps; instead of epochs. */
  readonly steps?: number;
  /** Passes over the data. */
  readonly epochs?: number;
  /** Highest learning rate. */
  readonly lr?: number;
  /** How the rate falls after the warm-up (default linear). */
  readonly decay?: "linear" | "cosine" | "constant" | "wsd";
  /** Steps of warm-up. */
  readonly warmup?: number;
  /** Sequences per step. */
  readonly batch?: number;
  /** Longest sequence in tokens. */
  readonly seq?: number;
  /** Batches whose gradients are added up for one step. */
  readonly accumulate?: number;
  /** Largest global norm of the gradient. */
  readonly clip?: number;
  /** Compute each layer again in the backward pass: less memory, more time. */
  readonly checkpoint?: boolean;
  /** How weights are kept (default f32). */
  readonly precision?: Precision;
  /** Multiples of the rate, by a part of the leaves' paths; the first that a path contains counts, 0 freezes. */
  readonly rates?: Readonly<Record<string, number>>;
}

/** A model of a run: as given, the tuned mixture, its uniform merge, its learned merge. */
export type RecipeModel = "dense" | "tuned" | "uniform" | "merged";

/** A benchmark that models of a run are measured on. */
export interface RecipeBenchmark {
  /** Its name. */
  readonly benchmark: "humaneval" | "mbpp" | "mbpp-google";
  /** Its file. */
  readonly data: string;
  /** Only the first so many tasks. */
  readonly limit?: number;
  /** How a task becomes a prompt (default: as the model was trained). */
  readonly prompt?: "magicoder" | "base" | "chat";
  /** Most new tokens per task (default 512). */
  readonly maxTokens?: number;
  /** Which models (default: dense and merged). */
  readonly models?: readonly RecipeModel[];
}

/** A whole run. Paths are relative to the recipe's file; `hf:…` is an address on the hub, wherever something is read. */
export interface Recipe extends DataSettings {
  /** The dense model: a Hugging Face folder, GGUF or llama2.c. */
  readonly model: string;
  /** The fields of the model's config.json, so that `--dry-run` can plan before there is a model. */
  readonly architecture?: Readonly<Record<string, unknown>>;
  /** llama2.c: the tokenizer's .bin. */
  readonly tokenizer?: string;
  /** Instruction data, for tuning and for the coefficients. */
  readonly data: readonly string[];
  /** Folder of the run, where the command gives none. */
  readonly out?: string;
  /** Settings that stages start from (default: tuned). */
  readonly preset?: "paper" | "tuned";
  /** Start of every random choice (default 0). */
  readonly seed?: number;
  /** Examples kept for validation, the same for all stages (default 64). */
  readonly validation?: number;
  /** The mixture (default: 8 experts, 6 active, one of them shared; a linear router). */
  readonly mixture?: {
    readonly experts?: number;
    readonly active?: number;
    readonly router?: "linear" | "mlp";
    readonly noise?: boolean;
  };
  /** Tuning of the mixture. */
  readonly moe?: RecipeStage & { readonly optimizer?: "adafactor" | "adamw" };
  /** The coefficients. */
  readonly learn?: Omit<RecipeStage, "accumulate" | "clip" | "checkpoint" | "precision" | "rates"> & {
    /** Share of the shared expert (default: the preset's, 0.25 in tuned and 0.75 in paper). */
    readonly lambda?: number;
    /** Name of an objective, or a TypeScript file with one (default: xft). */
    readonly objective?: string;
  };
  /** What models are measured on, before and after (default: nothing). */
  readonly evaluate?: RecipeBenchmark;
}

/** The fields of a recipe, to find misspelt ones in JSON. */
const FIELDS: Record<keyof Recipe, true> = {
  model: true,
  architecture: true,
  tokenizer: true,
  data: true,
  out: true,
  preset: true,
  seed: true,
  validation: true,
  fields: true,
  template: true,
  pack: true,
  duplicates: true,
  decontaminate: true,
  ngram: true,
  skipMalformed: true,
  mixture: true,
  moe: true,
  learn: true,
  evaluate: true,
};

/**
 * A recipe, checked by the compiler: `export default recipe({ … })`.
 *
 * @example
 * ```ts
 * import { recipe } from "./recipe.ts";
 * export default recipe({ model: "models/dense", data: ["code.jsonl"], moe: { steps: 200 }, learn: { steps: 50 } });
 * ```
 */
export function recipe(settings: Recipe): Recipe {
  return settings;
}

/**
 * Checks what a recipe's file holds, as far as the first stage would find out too late.
 *
 * @param where the file, for messages
 * @throws {UserError} if model or data are missing, or a field is unknown
 */
export function checkRecipe(value: unknown, where: string): Recipe {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UserError(`${where}: a recipe is an object (in TypeScript the default export).`);
  }
  const unknown = Object.keys(value).find((name) => !Object.hasOwn(FIELDS, name));
  if (unknown !== undefined) {
    throw new UserError(`${where}: "${unknown}" is no field of a recipe (${Object.keys(FIELDS).join(", ")}).`);
  }
  const { model, data } = value as { model?: unknown; data?: unknown };
  if (typeof model !== "string") throw new UserError(`${where}: "model" must name the dense model.`);
  if (!Array.isArray(data) || data.length === 0 || !data.every((path) => typeof path === "string")) {
    throw new UserError(`${where}: "data" must list at least one file.`);
  }
  return value as Recipe;
}
