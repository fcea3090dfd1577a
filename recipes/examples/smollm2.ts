/**
 * @file The seven steps on SmolLM2-135M-Instruct. The model is the one that the tests' set-up keeps in the user's cache
 * (`deno run -A tests/setup.ts`); data and benchmark are looked for in `../shared` beside the checkout.
 *
 * The model is tuned on instructions already, so nothing is claimed about gains over SFT: this shows that every step
 * does what it should on real weights. Step counts are for about a quarter of an hour on two cores.
 */
import { join } from "node:path";
import { userCache } from "../../backend/cache.ts";
import { recipe } from "../recipe.ts";

const shared = "../../../shared/data";

export default recipe({
  model: join(userCache(), "models/SmolLM2-135M-Instruct.Q4_1.gguf"),
  data: [`${shared}/sft/code_alpaca_2k.json`],
  out: "../../runs/smollm2",
  // A few more than the 64 that are to be kept: what is longer than a row has nothing left to learn.
  validation: 72,
  mixture: { experts: 8, active: 6 },
  moe: { steps: 6, batch: 4, seq: 160, lr: 5e-5, warmup: 2 },
  learn: { steps: 8, batch: 4, seq: 160, lr: 0.1, warmup: 1, lambda: 0.75 },
  evaluate: {
    benchmark: "humaneval",
    data: `${shared}/evals/HumanEvalPlus.jsonl.gz`,
    limit: 20,
    prompt: "base",
    maxTokens: 200,
  },
});
