/** @file Mixture → dense on a device: for measuring merges without writing them. */
import { tensor } from "../../dsl/mod.ts";
import { compile, free } from "../../backend/compile.ts";
import type { Device } from "../../backend/runtime.ts";
import type { Ffn, Model } from "../model/llama.ts";
import type { Moe } from "../model/moe.ts";
import type { Dense, Mixture } from "../model/parameters.ts";
import { denseConfig } from "./folder.ts";
import { collapse, eachFfn } from "./formula.ts";
import type { MergeWeights } from "./weights.ts";

/** A merged model whose FFNs are its own memory; everything else is the mixture's. */
export interface MergedModel extends Dense, Disposable {}

/** Merges mixtures of one configuration; compiled once. */
export function merger(mixture: Mixture, device: Device): (weights: MergeWeights) => Promise<MergedModel> {
  const run = compile(
    (ffns: Moe[], weights: ReturnType<typeof weightTensor>[], lambda: ReturnType<typeof lambdaTensor>[]): Ffn[] =>
      ffns.map((ffn, i) => collapse(ffn, weights[i], lambda[i])),
    device,
  );
  const config = denseConfig(mixture.config);
  return async ({ weights, lambda }) => {
    const ffns = await run(
      mixture.model.layers.map(({ ffn }) => ffn),
      weights.map(weightTensor),
      lambda.map(lambdaTensor),
    );
    const model: Model = eachFfn(mixture.model, (_, layer) => ffns[layer]);
    return { config, model, [Symbol.dispose]: () => free(ffns, device) };
  };
}

const weightTensor = (weights: readonly number[]) => tensor({ expert: weights.length }, Float64Array.from(weights));
const lambdaTensor = (lambda: number) => tensor({}, [lambda]);
