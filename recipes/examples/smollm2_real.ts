/**
 * @file XFT of SmolLM2-135M-Instruct on real code, with what came of it in `smollm2_real.md`. The data are made by
 * `smollm2_data.ts`. To fit minutes of two cores, only the last six of 30 layers (and the last norm) learn: everything
 * else is frozen. Rows of 256 tokens are filled with samples that never see each other.
 */
import { recipe } from "../recipe.ts";

export default recipe({
  model: "../../models/smollm2",
  data: ["../../runs/smollm2-data/code.jsonl"],
  out: "../../runs/smollm2-real",
  validation: 32,
  duplicates: "near",
  decontaminate: ["../../../shared/data/evals/HumanEval.jsonl.gz"],
  pack: "documents",
  mixture: { experts: 8, active: 6 },
  moe: {
    ...{ steps: 40, batch: 2, seq: 256 },
    // The first that a name contains counts.
    rates: {
      ...Object.fromEntries([24, 25, 26, 27, 28, 29].map((layer) => [`layers.${layer}`, 1])),
      layers: 0,
      embedding: 0,
    },
  },
  learn: { steps: 16, batch: 2, seq: 256, lr: 0.1, lambda: 0.75 },
});
