/** @file The mean of models is the mean of each weight. */
import { assert } from "@std/assert";
import { openInterpreter } from "../../../backend/interpreter.ts";
import { treeValues } from "../../../tests/devices.ts";
import { tinyDense } from "../../../tests/fixtures/tiny.ts";
import { type Dense, initModel } from "../../model/parameters.ts";
import { meanOf } from "./average.ts";

Deno.test("the mean of three models is, weight by weight, a third of their sum", async () => {
  const device = openInterpreter(), config = tinyDense({ tie_word_embeddings: true });
  const models = [1, 2, 3].map((seed) => initModel(config, seed, device) as Dense);
  const parts = await Promise.all(models.map(({ model }) => treeValues(model, device)));
  const mean = await treeValues((await meanOf(models, device)).model, device);
  for (const [path, list] of mean) {
    list.forEach((x, i) => assert(Math.abs(x - parts.reduce((sum, part) => sum + part.get(path)![i], 0) / 3) < 1e-7));
  }
  assert(mean.size === parts[0].size && mean.size > 0);
});
