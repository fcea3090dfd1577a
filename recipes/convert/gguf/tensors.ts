/** @file Tensors' names in GGUF, and which of them have rows in another order there. */
import type { LlamaConfig } from "../config.ts";

/** The architectures that we read and write: Qwen 2's has biases, and rotates halves as Hugging Face does. */
export const architectures = ["llama", "qwen2"] as const;

/** One of them. */
export type Architecture = (typeof architectures)[number];

/** The architecture of a dense model. */
export const architectureOf = ({ attentionBias }: LlamaConfig): Architecture =>
  attentionBias === "qkv" ? "qwen2" : "llama";

/** Llama 3's stretching, as one number for each pair of a head's channels. */
export const ropeFactors = "rope_freqs.weight";

const whole: Readonly<Record<string, string>> = {
  "model.embed_tokens": "token_embd",
  "model.norm": "output_norm",
  "lm_head": "output",
};

const parts: Readonly<Record<string, string>> = {
  "input_layernorm": "attn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "post_attention_layernorm": "ffn_norm",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
};

/** A Hugging Face tensor's name in GGUF, and whether its rows are interleaved pairs there. */
export function ggufName(name: string, architecture: Architecture): { readonly name: string; readonly pairs: boolean } {
  const [, stem, kind] = /^(.*)\.(weight|bias)$/.exec(name) ?? [];
  if (whole[stem] !== undefined) return { name: `${whole[stem]}.${kind}`, pairs: false };
  const [, layer, part] = /^model\.layers\.(\d+)\.(.+)$/.exec(stem) ?? [];
  const pairs = architecture === "llama" && /\.[qk]_proj$/.test(stem);
  return { name: `blk.${layer}.${parts[part]}.${kind}`, pairs };
}
