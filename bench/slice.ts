/**
 * @file One training step of some layers of DeepSeek-Coder-1.3B's sizes as a mixture (8 experts, 6 active) with random
 * weights, and the memory it took: `deno run -A bench/slice.ts [LAYERS] [TOKENS] [f32|bf16]`. Layers are checkpointed,
 * Adafactor, one row.
 */
import { open } from "../backend/open.ts";
import { parseConfig } from "../recipes/convert/config.ts";
import { initModel } from "../recipes/model/parameters.ts";
import { countParameters } from "../recipes/model/layout.ts";
import recipe from "../recipes/examples/xft-deepseek-1.3b.ts";
import { stageNeed } from "../recipes/fitting.ts";
import { seeded } from "../recipes/random.ts";
import { train } from "../recipes/training/train.ts";
import { mixtureConfig } from "../recipes/upcycle.ts";

const [layers = 4, tokens = 256] = Deno.args.map(Number), precision = Deno.args[2] === "bf16" ? "bf16" : "f32";
const GiB = 2 ** 30;

/** The most memory that this process has held so far, in GiB; Linux alone tells. */
function highest(): string {
  const kibibytes = /VmHWM:\s+(\d+) kB/.exec(Deno.readTextFileSync("/proc/self/status"))?.[1];
  return `${(Number(kibibytes) * 1024 / GiB).toFixed(2)} GiB`;
}

const whole = parseConfig(recipe.architecture, "the recipe's architecture");
const config = mixtureConfig({ ...whole, layers }, { experts: 8, active: 6, router: "mlp", noise: true });
const shape = { step: "train", batch: 1, seq: tokens, optimizer: "adafactor", checkpoint: true, precision } as const;
using device = await open("cpu");
const need = stageNeed(config, shape);
console.log(
  `${layers} layers, ${
    countParameters(config).total.toLocaleString("en")
  } weights in ${precision}, 1 × ${tokens} tokens; ` +
    `planned: ${(need.total / GiB).toFixed(2)} GiB (weights ${(need.weights / GiB).toFixed(2)}), ` +
    `${(need.flops / 1e12).toFixed(2)} TFLOP; at the start ${highest()}`,
);
const given = initModel(config, 1, device, 1, precision);
console.log(`weights are there: ${highest()}`);
const random = seeded(1);
const draw = (): Int32Array => Int32Array.from({ length: tokens }, () => random.integer(0, config.vocabSize - 1));
await train(given, device, {
  schedule: { kind: "constant", rate: 5e-5, steps: 2, warmup: 0 },
  ...{ optimizer: "adafactor", checkpoint: true, precision, seed: 1 },
  batches: { at: () => ({ rows: 1, length: tokens, tokens: draw(), labels: draw() }) },
  onLine({ step, loss, seconds }) {
    console.log(`step ${step}: loss ${loss?.toFixed(4)}, ${seconds?.toFixed(1)} s, highest ${highest()}`);
  },
});
