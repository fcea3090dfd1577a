/** @file Mixture → dense: W = λ·W_shared + (1 − λ)·Σᵢ wᵢ·Wᵢ, where w = softmax(α) (arXiv 2404.15247). */
import { add, type In, mapTree, mix, mul, type Scalar, softmax, sub, type Tensor } from "../../dsl/mod.ts";
import type { Ffn, Model } from "../model/llama.ts";
import type { Moe } from "../model/moe.ts";

/** What is learned about a merge: one vector α a layer, unnormalised; λ for each layer. */
export type Coefficients = { alpha: Tensor<"expert">[]; lambda: readonly Scalar[] };

/** λ·shared + (1 − λ)·Σᵢ weightᵢ·expertᵢ, for gate, up and down alike. */
export const collapse = ({ shared, experts }: Moe, weight: Tensor<"expert">, lambda: In<never>): Ffn =>
  mapTree((own, routed) => add(routed, mul(sub(own, routed), lambda)), shared, mix(experts, weight, "expert"));

/** The model with another block in place of each feed-forward one. */
export const eachFfn = <F, G>(model: Model<F>, f: (ffn: F, layer: number) => G): Model<G> => ({
  ...model,
  layers: model.layers.map((layer, i) => ({ ...layer, ffn: f(layer.ffn, i) })),
});

/** The dense model that the coefficients make of a mixture. All outside the FFNs is the mixture's own. */
export const merged = (model: Model<Moe>, { alpha, lambda }: Coefficients): Model =>
  eachFfn(model, (ffn, i) => collapse(ffn, softmax(alpha[i], "expert"), lambda[i]));
