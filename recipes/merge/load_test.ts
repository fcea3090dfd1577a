/** @file A mixture merged while it is loaded is the one merged into a folder. */
import { assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { UserError } from "../../dsl/errors.ts";
import { treeValues, withDevice } from "../../tests/devices.ts";
import { withTempDir } from "../../tests/support.ts";
import { tinyDense, tinyMixture, tinyModel } from "../../tests/fixtures/tiny.ts";
import type { MoeConfig } from "../convert/config.ts";
import { type Loaded, loadModel, saveModel } from "../model/parameters.ts";
import { mergeFolder } from "./folder.ts";
import { loadMerged } from "./load.ts";
import { uniformWeights } from "./weights.ts";

Deno.test("loadMerged: every weight is the one that mergeFolder writes, bit for bit", () =>
  withDevice("interpreter", (device) =>
    withTempDir(async (folder) => {
      const moe = join(folder, "moe"), dense = join(folder, "dense");
      const weights = (config: MoeConfig) => {
        const { lambda } = uniformWeights(config, 0.6);
        return { lambda, weights: lambda.map((_, layer) => layer === 0 ? [0.5, 0.2, 0.3] : [0.1, 0, 0.9]) };
      };
      await saveModel(moe, tinyModel(tinyMixture(), device) as Loaded, device);
      await mergeFolder(moe, dense, { weights });
      const merged = loadMerged(moe, device, weights), read = loadModel(dense, device);
      assertEquals(await treeValues(merged.model, device), await treeValues(read.model, device));
      assertEquals(merged.config.kind, "llama");
      await saveModel(join(folder, "plain"), tinyModel(tinyDense(), device) as Loaded, device);
      assertThrows(() => loadMerged(join(folder, "plain"), device, weights), UserError, "nothing to merge");
    })));
