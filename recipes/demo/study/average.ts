/** @file The mean of some models' weights: averaging without experts, the control that merges have to beat. */
import { add, mapTree, mul } from "../../../dsl/mod.ts";
import { compile } from "../../../backend/compile.ts";
import type { Device } from "../../../backend/runtime.ts";
import type { Model } from "../../model/llama.ts";
import type { Dense } from "../../model/parameters.ts";

/** Σ Wᵢ / n over models of one architecture (a uniform soup, arXiv 2203.05482), in memory of its own. */
export async function meanOf(models: readonly Dense[], device: Device): Promise<Dense> {
  const run = compile(
    (...all: Model[]): Model =>
      mapTree((first, ...rest) => mul(add(first, ...rest), 1 / all.length), all[0], ...all.slice(1)),
    device,
  );
  return { ...models[0], model: await run(...models.map(({ model }) => model)) };
}
