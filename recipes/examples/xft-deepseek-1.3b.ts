/**
 * @file The authors' recipe on DeepSeek-Coder-1.3B base: their settings (preset `paper`), with our fixes, as this project
 * has them from the method's description. It was planned here, never run: `deno task xft run
 * recipes/examples/xft-deepseek-1.3b.ts --out runs/deepseek --dry-run` needs neither the model nor the data.
 *
 * Steps are for 110,000 examples (Evol-Instruct, decontaminated): 4 epochs in batches of 64 for the mixture, 1 for the
 * coefficients. The batch of 64 rows is added up of single ones, so that memory is one row's. What differs from the
 * authors: weights are rounded by chance instead of to nearest (in which most steps of 5e-5 are lost); coefficients
 * learn with 0.02, not 1e-5 (whose steps add up to about 0.009, so that the learned merge is the uniform one).
 */
import { recipe } from "../recipe.ts";

export default recipe({
  model: "../../models/deepseek-coder-1.3b-base",
  architecture: {
    model_type: "llama",
    vocab_size: 32256,
    hidden_size: 2048,
    intermediate_size: 5504,
    num_hidden_layers: 24,
    num_attention_heads: 16,
    num_key_value_heads: 16,
    max_position_embeddings: 16384,
    rms_norm_eps: 1e-6,
    rope_theta: 100000,
    rope_scaling: { type: "linear", factor: 4 },
    tie_word_embeddings: false,
    bos_token_id: 32013,
    eos_token_id: 32014,
  },
  data: ["../../data/evol-instruct-110k.jsonl"],
  preset: "paper",
  mixture: { experts: 8, active: 6, router: "mlp", noise: true },
  moe: { steps: 6875, batch: 1, accumulate: 64, seq: 1024, warmup: 500, checkpoint: true, precision: "bf16" },
  learn: { steps: 1719, batch: 1, seq: 1024, warmup: 125, lr: 0.02, lambda: 0.75 },
  evaluate: { benchmark: "humaneval", data: "../../data/HumanEvalPlus.jsonl.gz" },
});
