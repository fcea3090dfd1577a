/** @file Llama. The feed-forward block is a parameter, so dense, mixture and merged models share the rest. */
import {
  add,
  causal,
  checkpoint,
  contract,
  maskedSoftmax,
  mul,
  type Operand,
  rename,
  rmsNorm,
  type Rope,
  ropeInOrder,
  ropeTable,
  rotate,
  silu,
  take,
  type Tensor,
} from "../../dsl/mod.ts";
import type { LlamaConfig } from "../convert/config.ts";
import { keysOfOwnDocument, type Packing, turnsWithinDocuments } from "./packing.ts";

/** A SwiGLU network; physical order as Hugging Face stores it, [out, in]. */
export type Ffn = {
  gate: Tensor<"hidden" | "embed">;
  up: Tensor<"hidden" | "embed">;
  down: Tensor<"embed" | "hidden">;
};
/** Attention with grouped queries: `group` query heads share one key and value head. Few models have biases. */
export type Attention = {
  q: Tensor<"head" | "group" | "dim" | "embed">;
  k: Tensor<"head" | "dim" | "embed">;
  v: Tensor<"head" | "dim" | "embed">;
  o: Tensor<"embed" | "head" | "group" | "dim">;
  qBias?: Tensor<"head" | "group" | "dim">;
  kBias?: Tensor<"head" | "dim">;
  vBias?: Tensor<"head" | "dim">;
  oBias?: Tensor<"embed">;
};
/** One layer; `F` is what stands where a dense model has its `Ffn`. */
export type Layer<F> = { norm1: Tensor<"embed">; attention: Attention; norm2: Tensor<"embed">; ffn: F };
/** A model. Without `head` the embedding is the output projection too (tied). */
export type Model<F = Ffn> = {
  embedding: Tensor<"vocab" | "embed">;
  layers: Layer<F>[];
  norm: Tensor<"embed">;
  head?: Tensor<"vocab" | "embed">;
};

/** The residual stream. */
export type Hidden = Tensor<"batch" | "seq" | "embed">;
/** Token ids, −1 where there is none (padding). */
export type Tokens = Tensor<"batch" | "seq", "int">;
/** What a layer's attention makes of its tokens: one vector per key/value head. */
export type Heads = Tensor<"batch" | "seq" | "head" | "dim">;
/** What queries look at, and which query may look at which key. */
export type Seen = {
  key: Tensor<"batch" | "key" | "head" | "dim">;
  value: Tensor<"batch" | "key" | "head" | "dim">;
  keep: Operand<"batch" | "seq" | "key", "bool">;
};
/** From a layer's own keys and values to all that its queries look at (generation adds a cache here). */
export type Memory = (key: Heads, value: Heads, layer: number) => Seen;

/** What changes between training and generation. */
export interface LlamaOptions {
  /** Rotations of the tokens' positions (default: 0, 1, 2, … in each row). */
  readonly turn?: Rope;
  /** What queries look at (default: the row's own tokens up to themselves). */
  readonly memory?: Memory;
  /** Several documents share a row (`batch.packing`): none sees another, and the positions of each start at 0. */
  readonly packing?: Packing;
  /** Keep only each layer's input for the backward pass, and compute the rest of the layer again there. */
  readonly checkpoint?: boolean;
}

/** Logits, the normed last hidden state, and what each layer's feed-forward block saw. Unused ones cost nothing. */
export type Output = { logits: Tensor<"batch" | "seq" | "vocab">; hidden: Hidden; seen: readonly Hidden[] };

/** Every token sees itself and those before it. */
export const ownTokens = (key: Heads, value: Heads): Seen => ({
  key: rename(key, { seq: "key" }),
  value: rename(value, { seq: "key" }),
  keep: causal(key.shape.seq),
});

/** x + bias, where there is one. */
const biased = <A extends string>(x: Tensor<A>, bias?: Operand<NoInfer<A>>): Tensor<A> => bias ? add(x, bias) : x;

/** softmax(q·kᵀ / √dim)·v, then the output projection. */
export function attend(x: Hidden, weights: Attention, turn: Rope, memory: Memory, layer: number): Hidden {
  const { q, k, v, o, qBias, kBias, vBias, oBias } = weights;
  const query = mul(rotate(biased(contract(x, q, "embed"), qBias), turn), q.shape.dim ** -0.5);
  const ownKey = rotate(biased(contract(x, k, "embed"), kBias), turn),
    ownValue = biased(contract(x, v, "embed"), vBias);
  const { key, value, keep } = memory(ownKey, ownValue, layer);
  const weight = maskedSoftmax(contract(query, key, "dim"), "key", keep);
  return biased(contract(contract(weight, value, "key"), o, "head", "group", "dim"), oBias);
}

/** down(silu(gate(x)) ⊙ up(x)) */
export const swiglu = (x: Hidden, { gate, up, down }: Ffn): Hidden =>
  contract(mul(silu(contract(x, gate, "embed")), contract(x, up, "embed")), down, "hidden");

/** The output projection; a tied model uses its embedding. */
export const unembed = (hidden: Hidden, { embedding, head }: Model<unknown>): Output["logits"] =>
  contract(hidden, head ?? embedding, "embed");

/** Cosines and sines for the model's own rotary settings, for positions below `length`. */
export const turns = (config: LlamaConfig, length: number): ReturnType<typeof ropeTable> =>
  ropeTable(length, config.headDim, { theta: config.ropeTheta, scaling: config.ropeScaling });

/** Tokens that a text may have: as many as the model was made for, more where its rotations stretch as a text grows. */
export const longestText = ({ maxPositions, ropeScaling }: LlamaConfig): number =>
  ropeScaling?.type === "dynamic" ? Math.floor(maxPositions * Math.max(1, ropeScaling.factor)) : maxPositions;

/**
 * A Llama's forward pass.
 *
 * @param ffn the feed-forward block of each layer: `swiglu`, or a mixture
 */
export function llama<F>(
  config: LlamaConfig,
  model: Model<F>,
  tokens: Tokens,
  ffn: (x: Hidden, weights: F, layer: number) => Hidden,
  options: LlamaOptions = {},
): Output {
  const { packing } = options, table = turns(config, tokens.shape.seq);
  const turn = options.turn ?? (packing ? turnsWithinDocuments(table, packing) : ropeInOrder(table));
  const memory = options.memory ?? (packing ? keysOfOwnDocument(packing) : ownTokens);
  const norm = (x: Hidden, weight: Tensor<"embed">): Hidden => rmsNorm(x, weight, "embed", config.normEps);
  const seen: Hidden[] = [];
  let x: Hidden = take(model.embedding, "vocab", tokens);
  model.layers.forEach((weights, layer) => {
    const block = (x: Hidden, weights: Layer<F>): { x: Hidden; input: Hidden } => {
      const attended = add(x, attend(norm(x, weights.norm1), weights.attention, turn, memory, layer));
      const input = norm(attended, weights.norm2);
      return { x: add(attended, ffn(input, weights.ffn, layer)), input };
    };
    const out = (options.checkpoint ? checkpoint(block) : block)(x, weights);
    seen.push(out.input);
    x = out.x;
  });
  const hidden = norm(x, model.norm);
  return { logits: unembed(hidden, model), hidden, seen };
}
