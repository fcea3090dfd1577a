/**
 * @file The table that stands beside a model's parameters: for every leaf its axes, its tensors in a Hugging Face
 * folder, and which of its axes are a matrix's rows and columns. Loading, saving, optimisers and `inspect` read it.
 */
import type { AnyTensor } from "../../dsl/mod.ts";
import type { ModelConfig } from "../convert/config.ts";
import type { Ffn, Model } from "./llama.ts";
import type { Moe } from "./moe.ts";

/** One leaf of a model's parameters. */
export interface Leaf {
  /** Where it stands in the tree: `layers.0.ffn.experts.gate`. */
  readonly path: string;
  /** Its axes in physical order, and their sizes. */
  readonly shape: Readonly<Record<string, number>>;
  /** Its tensors in a folder: one, or one for each element of its first axis. */
  readonly names: readonly string[];
  /** Axes that number separate matrices. */
  readonly each: readonly string[];
  /** Axes that are a matrix's rows, [out] in Hugging Face's terms. */
  readonly rows: readonly string[];
  /** Axes that are its columns; none for a vector. */
  readonly columns: readonly string[];
}

/** A dense model's or a mixture's parameters. */
export type AnyModel = Model<Ffn> | Model<Moe>;

const leaf = (path: string, name: string, rows: Leaf["shape"], columns: Leaf["shape"] = {}): Leaf => ({
  path,
  shape: { ...rows, ...columns },
  names: [name],
  each: [],
  rows: Object.keys(rows),
  columns: Object.keys(columns),
});

/** The leaf as many times along a new first axis, each with its own tensor. */
const stacked = (axis: string, { shape, ...one }: Leaf, names: readonly string[]): Leaf => ({
  ...one,
  shape: { [axis]: names.length, ...shape },
  names,
  each: [axis],
});

const prefixed = (prefix: string, path: string, leaves: readonly Leaf[]): Leaf[] =>
  leaves.map((one) => ({ ...one, path: `${path}.${one.path}`, names: one.names.map((name) => `${prefix}.${name}`) }));

function ffnLeaves({ hiddenSize, ffnSize }: ModelConfig): Leaf[] {
  const hidden = { hidden: ffnSize }, embed = { embed: hiddenSize };
  return [
    leaf("gate", "gate_proj.weight", hidden, embed),
    leaf("up", "up_proj.weight", hidden, embed),
    leaf("down", "down_proj.weight", embed, hidden),
  ];
}

function mixtureLeaves(config: ModelConfig & { readonly kind: "moe" }): Leaf[] {
  const expert = { expert: config.experts - 1 }, inner = { inner: config.experts - 1 };
  const embed = { embed: config.hiddenSize }, numbers = Array.from({ length: config.experts - 1 }, (_, i) => i);
  return [
    ...config.router === "linear" ? [leaf("router.linear", "router.weight", expert, embed)] : [
      leaf("router.first", "router.0.weight", inner, embed),
      leaf("router.second", "router.2.weight", expert, inner),
    ],
    ...config.noise ? [leaf("router.noise", "router.noise.weight", expert, embed)] : [],
    ...prefixed("shared", "shared", ffnLeaves(config)),
    ...ffnLeaves(config).map((one) =>
      stacked("expert", { ...one, path: `experts.${one.path}` }, numbers.map((i) => `experts.${i}.${one.names[0]}`))
    ),
  ];
}

/**
 * Every leaf of a model, in the tree's order.
 *
 * @example
 * ```ts
 * import { layout } from "./layout.ts";
 * import { parseConfig } from "../convert/config.ts";
 * const config = parseConfig({
 *   model_type: "llama", vocab_size: 64, hidden_size: 32, intermediate_size: 48,
 *   num_hidden_layers: 2, num_attention_heads: 4,
 * }, "config.json");
 * console.assert(layout(config)[1].names[0] === "model.layers.0.input_layernorm.weight");
 * ```
 */
export function layout(config: ModelConfig): Leaf[] {
  const embed = { embed: config.hiddenSize }, dim = { dim: config.headDim }, vocab = { vocab: config.vocabSize };
  const heads = { head: config.kvHeads }, group = { group: config.heads / config.kvHeads };
  const layer = [
    leaf("norm1", "input_layernorm.weight", embed),
    leaf("attention.q", "self_attn.q_proj.weight", { ...heads, ...group, ...dim }, embed),
    leaf("attention.k", "self_attn.k_proj.weight", { ...heads, ...dim }, embed),
    leaf("attention.v", "self_attn.v_proj.weight", { ...heads, ...dim }, embed),
    leaf("attention.o", "self_attn.o_proj.weight", embed, { ...heads, ...group, ...dim }),
    ...config.attentionBias === undefined ? [] : [
      leaf("attention.qBias", "self_attn.q_proj.bias", { ...heads, ...group, ...dim }),
      leaf("attention.kBias", "self_attn.k_proj.bias", { ...heads, ...dim }),
      leaf("attention.vBias", "self_attn.v_proj.bias", { ...heads, ...dim }),
    ],
    ...config.attentionBias === "all" ? [leaf("attention.oBias", "self_attn.o_proj.bias", embed)] : [],
    leaf("norm2", "post_attention_layernorm.weight", embed),
    ...prefixed("mlp", "ffn", config.kind === "llama" ? ffnLeaves(config) : mixtureLeaves(config)),
  ];
  return [
    leaf("embedding", "model.embed_tokens.weight", vocab, embed),
    ...Array.from({ length: config.layers }, (_, i) => prefixed(`model.layers.${i}`, `layers.${i}`, layer)).flat(),
    leaf("norm", "model.norm.weight", embed),
    ...config.tied ? [] : [leaf("head", "lm_head.weight", vocab, embed)],
  ];
}

/** Elements of a leaf. */
export const sizeOf = ({ shape }: Leaf): number => Object.values(shape).reduce((size, n) => size * n, 1);

/** A tree from its leaves' paths; where a path says a number, there is an array. */
export function treeOf(leaves: readonly Leaf[], make: (leaf: Leaf) => AnyTensor): AnyModel {
  const root: Record<string, unknown> = {};
  for (const each of leaves) {
    const keys = each.path.split(".");
    let at = root;
    keys.slice(0, -1).forEach((key, i) => {
      at = (at[key] ??= /^\d+$/.test(keys[i + 1]) ? [] : {}) as Record<string, unknown>;
    });
    at[keys[keys.length - 1]] = make(each);
  }
  return root as unknown as AnyModel;
}

/** Parameters in all, and those that one token uses. */
export function countParameters(config: ModelConfig): { readonly total: number; readonly active: number } {
  let total = 0, active = 0;
  for (const each of layout(config)) {
    total += sizeOf(each);
    const routed = config.kind === "moe" && each.each.length > 0;
    active += routed ? sizeOf(each) / (config.experts - 1) * (config.active - 1) : sizeOf(each);
  }
  return { total, active };
}
