/** @file The authors' small model (tests/golden/authors) as parameters of ours, read without any of our I/O. */
import { tensor } from "../dsl/mod.ts";
import { type ModelConfig, parseConfig } from "../recipes/convert/config.ts";
import { type AnyModel, layout, type Leaf, treeOf } from "../recipes/model/layout.ts";
import type { Model } from "../recipes/model/llama.ts";
import type { Moe } from "../recipes/model/moe.ts";
import { type GoldenTensor, readSafetensors } from "./safetensors.ts";
import { golden } from "./support.ts";

const sizes = {
  vocab_size: 64,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  max_position_embeddings: 64,
};

/** The mixture's configuration. */
export const mixtureConfig = parseConfig({
  ...sizes,
  model_type: "xft_moe",
  num_experts: 8,
  num_selects: 6,
  router: "mlp",
  router_noise: true,
}, "authors") as ModelConfig & { kind: "moe" };

/** The dense models' configuration. */
export const denseConfig = parseConfig({ ...sizes, model_type: "llama" }, "authors") as ModelConfig & { kind: "llama" };

/** A tensor's name in the authors' checkpoints. */
const authorsName = (name: string): string =>
  name
    .replace(/mlp\.shared\.(\w+)_proj\.weight/, "mlp.calculator.experts.weight_$1.0.weight")
    .replace(/mlp\.experts\.(\d+)\.(\w+)_proj\.weight/, (_, i: string, which: string) =>
      `mlp.calculator.experts.weight_${which}.${Number(i) + 1}.weight`)
    .replace(/mlp\.router\.noise\.weight/, "mlp.gate.weight_noise.weight")
    .replace(/mlp\.router\.(\d)\.weight/, "mlp.gate.gate_network.$1.weight");

/** A leaf's values from a golden file; a tensor that the file lacks is zero. */
export function goldenLeaf(tensors: ReadonlyMap<string, GoldenTensor>, { names, shape }: Leaf): Float64Array {
  const total = Object.values(shape).reduce((a, b) => a * b, 1), out = new Float64Array(total);
  names.forEach((name, i) => out.set(tensors.get(authorsName(name))?.values ?? [], i * total / names.length));
  return out;
}

const read = (folder: string, config: ModelConfig): AnyModel => {
  const tensors = readSafetensors(golden(`authors/${folder}/model.safetensors`));
  return treeOf(layout(config), (leaf) => tensor(leaf.shape, goldenLeaf(tensors, leaf)));
};

/** The authors' mixture. */
export const authorsMixture = (): Model<Moe> => read("moe", mixtureConfig) as Model<Moe>;

/** One of their dense models. */
export const authorsDense = (folder: "dense0" | "dense_merged"): Model => read(folder, denseConfig) as Model;
