/** @file What a recipe will take: its stages against the real shapes, before there is anything to train. */
import { join } from "node:path";
import { type ModelConfig, parseConfig } from "./convert/config.ts";
import { kindOf } from "./convert/files.ts";
import { readConfig } from "./convert/huggingface.ts";
import { type KnownDevice, knownDevices, type StageNeed, stageNeed, type StageShape, stepSeconds } from "./fitting.ts";
import type { OptimizerName } from "./optim/mod.ts";
import type { Recipe, RecipeStage } from "./recipe.ts";
import { mixtureConfig } from "./upcycle.ts";

/** What a stage starts from where the recipe does not say. */
export interface StageDefaults {
  readonly batch: number;
  readonly seq: number;
  readonly optimizer: OptimizerName;
}

/** A stage of a recipe, planned. */
export interface PlannedStage {
  readonly name: "moe" | "learn";
  readonly shape: StageShape;
  /** Optimiser steps; absent where only the data can tell. */
  readonly steps?: number;
  readonly need: StageNeed;
  /** By device: does it fit, and about how many seconds a step takes there. */
  readonly on: readonly { readonly device: KnownDevice; readonly fits: boolean; readonly seconds: number }[];
}

/** The dense model's settings: the recipe's own, or its folder's; nothing where there is neither. */
function denseOf({ architecture, model }: Recipe, where: string): ModelConfig | undefined {
  if (architecture) return parseConfig(architecture, `${where}: architecture`);
  return kindOf(join(model, "config.json")) === "file" ? readConfig(model) : undefined;
}

/**
 * Plans a recipe's stages.
 *
 * @param where the recipe's file, for messages
 * @returns nothing if the model's settings are not known yet
 * @throws {UserError} if there cannot be such a mixture
 */
export function planRecipe(
  recipe: Recipe,
  where: string,
  defaults: (stage: "moe" | "learn") => StageDefaults,
): PlannedStage[] | undefined {
  const dense = denseOf(recipe, where);
  if (!dense) return undefined;
  const config = mixtureConfig(dense, { experts: 8, active: 6, ...recipe.mixture });
  const planned = (name: "moe" | "learn", step: StageShape["step"], stage: RecipeStage): PlannedStage => {
    const { batch, seq, optimizer } = defaults(name), { checkpoint, precision, accumulate } = stage;
    const shape = { step, batch, seq, optimizer, checkpoint, precision, accumulate, ...sizes(stage) };
    const need = stageNeed(config, shape);
    const on = knownDevices.map((device) => ({
      device,
      fits: need.total <= device.memory,
      seconds: stepSeconds(need, device),
    }));
    return { name, shape, ...(stage.steps !== undefined && { steps: stage.steps }), need, on };
  };
  return [planned("moe", "train", recipe.moe ?? {}), planned("learn", "learn", recipe.learn ?? {})];
}

const sizes = ({ batch, seq }: RecipeStage): Partial<Pick<StageShape, "batch" | "seq">> => ({
  ...(batch !== undefined && { batch }),
  ...(seq !== undefined && { seq }),
});
