/**
 * @file Tensors of a model folder: their names and shapes for a config, as Hugging Face writes them.
 * Matrices are [out, in]; experts.I counts the routed experts from 0.
 */
import type { Checkpoint } from "../../backend/checkpoint.ts";
import { UserError } from "../../dsl/errors.ts";
import type { ModelConfig } from "./config.ts";

/** A tensor that a model folder must hold. */
export interface ExpectedTensor {
  /** Its name in the safetensors file. */
  readonly name: string;
  /** Its sizes, outermost first. */
  readonly shape: readonly number[];
}

/** How many elements a tensor of this shape has. */
export const elementsOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

/** How many weights tensors have together. */
export function weightsIn(tensors: Iterable<{ readonly shape: readonly number[] }>): number {
  let sum = 0;
  for (const { shape } of tensors) sum += elementsOf(shape);
  return sum;
}

/** Compares a tensor of a checkpoint with what its config asks for. @throws {UserError} if it is missing or differs */
export function checkTensor({ tensors, path }: Checkpoint, { name, shape }: ExpectedTensor): void {
  const found = tensors.get(name);
  if (found === undefined) throw new UserError(`${path}: tensor "${name}" is missing; config.json asks for it.`);
  if (found.shape.join() === shape.join()) return;
  throw new UserError(
    `${path}: tensor "${name}" has shape [${found.shape.join(", ")}], config.json asks for [${shape.join(", ")}].`,
  );
}

/** The three matrices of a SwiGLU network at `prefix`. */
function ffn(prefix: string, config: ModelConfig): ExpectedTensor[] {
  const { hiddenSize, ffnSize } = config;
  return [
    { name: `${prefix}.gate_proj.weight`, shape: [ffnSize, hiddenSize] },
    { name: `${prefix}.up_proj.weight`, shape: [ffnSize, hiddenSize] },
    { name: `${prefix}.down_proj.weight`, shape: [hiddenSize, ffnSize] },
  ];
}

/** What stands in place of the dense network in a mixture's layer. */
function mixture(prefix: string, config: ModelConfig & { kind: "moe" }): ExpectedTensor[] {
  const routed = config.experts - 1;
  const tensors = ffn(`${prefix}.shared`, config);
  for (let expert = 0; expert < routed; expert++) tensors.push(...ffn(`${prefix}.experts.${expert}`, config));
  if (config.router === "linear") {
    tensors.push({ name: `${prefix}.router.weight`, shape: [routed, config.hiddenSize] });
  } else {
    tensors.push({ name: `${prefix}.router.0.weight`, shape: [routed, config.hiddenSize] });
    tensors.push({ name: `${prefix}.router.2.weight`, shape: [routed, routed] });
  }
  if (config.noise) tensors.push({ name: `${prefix}.router.noise.weight`, shape: [routed, config.hiddenSize] });
  return tensors;
}

/**
 * Every tensor of a model, in the order in which we write them: embedding, layers, final norm, head.
 *
 * @param config sizes; a tied model has no `lm_head.weight`
 * @example
 * ```ts
 * import { expectedTensors } from "./names.ts";
 * import { parseConfig } from "./config.ts";
 * const config = parseConfig({
 *   model_type: "llama", vocab_size: 64, hidden_size: 32, intermediate_size: 48,
 *   num_hidden_layers: 2, num_attention_heads: 4,
 * }, "config.json");
 * console.assert(expectedTensors(config).length === 2 * 9 + 3);
 * ```
 */
export function expectedTensors(config: ModelConfig): ExpectedTensor[] {
  const { hiddenSize, headDim, heads, kvHeads, vocabSize } = config;
  const tensors: ExpectedTensor[] = [{ name: "model.embed_tokens.weight", shape: [vocabSize, hiddenSize] }];
  for (let layer = 0; layer < config.layers; layer++) {
    const prefix = `model.layers.${layer}`;
    const biases = config.attentionBias === undefined ? [] : [
      { name: `${prefix}.self_attn.q_proj.bias`, shape: [heads * headDim] },
      { name: `${prefix}.self_attn.k_proj.bias`, shape: [kvHeads * headDim] },
      { name: `${prefix}.self_attn.v_proj.bias`, shape: [kvHeads * headDim] },
      ...(config.attentionBias === "all" ? [{ name: `${prefix}.self_attn.o_proj.bias`, shape: [hiddenSize] }] : []),
    ];
    tensors.push(
      { name: `${prefix}.input_layernorm.weight`, shape: [hiddenSize] },
      { name: `${prefix}.self_attn.q_proj.weight`, shape: [heads * headDim, hiddenSize] },
      { name: `${prefix}.self_attn.k_proj.weight`, shape: [kvHeads * headDim, hiddenSize] },
      { name: `${prefix}.self_attn.v_proj.weight`, shape: [kvHeads * headDim, hiddenSize] },
      { name: `${prefix}.self_attn.o_proj.weight`, shape: [hiddenSize, heads * headDim] },
      ...biases,
      { name: `${prefix}.post_attention_layernorm.weight`, shape: [hiddenSize] },
      ...(config.kind === "llama" ? ffn(`${prefix}.mlp`, config) : mixture(`${prefix}.mlp`, config)),
    );
  }
  tensors.push({ name: "model.norm.weight", shape: [hiddenSize] });
  if (!config.tied) tensors.push({ name: "lm_head.weight", shape: [vocabSize, hiddenSize] });
  return tensors;
}
