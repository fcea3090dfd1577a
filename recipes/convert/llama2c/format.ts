/** @file What reading and writing llama2.c's files share: ids that its code hard-wires, and tensors' names. */

/** Ids that llama2.c hard-wires. */
export const [unknown, bos, eos] = [0, 1, 2];

/** Where the bytes begin: <0x00> has this id. */
export const firstByte = 3;

const parts: Readonly<Record<string, string>> = {
  "input_layernorm": "attention_norm",
  "self_attn.q_proj": "attention.wq",
  "self_attn.k_proj": "attention.wk",
  "self_attn.v_proj": "attention.wv",
  "self_attn.o_proj": "attention.wo",
  "post_attention_layernorm": "ffn_norm",
  "mlp.gate_proj": "feed_forward.w1",
  "mlp.down_proj": "feed_forward.w2",
  "mlp.up_proj": "feed_forward.w3",
};

/** A Hugging Face tensor's name in the llama2.c file. */
export function llama2cName(name: string): string {
  if (name === "model.embed_tokens.weight") return "tok_embeddings.weight";
  if (name === "model.norm.weight") return "norm.weight";
  if (name === "lm_head.weight") return "output.weight";
  const [, layer, part] = /^model\.layers\.(\d+)\.(.+)\.weight$/.exec(name) ?? [];
  return `layers.${layer}.${parts[part]}.weight`;
}
