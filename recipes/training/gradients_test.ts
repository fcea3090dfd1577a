/** @file The gradient of every recipe, against finite differences. */
import { add, div, type Scalar, sigmoid, tensor } from "../../dsl/mod.ts";
import { checkGradients } from "../../tests/gradients.ts";
import { tinyDense, tinyMixture, tinyModel, tinySamples } from "../../tests/fixtures/tiny.ts";
import { openInterpreter } from "../../backend/interpreter.ts";
import { type Coefficients, merged } from "../merge/formula.ts";
import { makeBatch, toBatch } from "../model/batch.ts";
import { seeded } from "../random.ts";
import { lossFor } from "../model/loss.ts";
import type { Model } from "../model/llama.ts";
import { mixtureLoss, type Moe, type Noise } from "../model/moe.ts";
import { objectives } from "../objectives/mod.ts";

const device = openInterpreter();
const batch = toBatch(makeBatch(tinySamples(3, 5, 6), 6));
const random = seeded(3);
const noise: Noise = tensor(
  { layer: 2, batch: 3, seq: 6, expert: 3 },
  Float64Array.from({ length: 108 }, () => random.normal()),
);

for (const tied of [false, true]) {
  Deno.test(`gradients: Llama with cross-entropy, ${tied ? "tied" : "untied"}`, () => {
    const config = tinyDense({ tie_word_embeddings: tied });
    checkGradients((model: Model) => lossFor(config)(model, batch, null).loss, tinyModel(config, device).model);
  });
}

Deno.test("gradients: Llama with scaled rotary embeddings", () => {
  const config = tinyDense({
    rope_scaling: {
      rope_type: "llama3",
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 16,
    },
  });
  checkGradients((model: Model) => lossFor(config)(model, batch, null).loss, tinyModel(config, device).model);
});

for (const router of ["linear", "mlp"]) {
  for (const authorsQuirks of [false, true]) {
    Deno.test(`gradients: mixture, ${router} router, balance loss${authorsQuirks ? " as the authors'" : ""}`, () => {
      const config = tinyMixture({ router, router_noise: true });
      checkGradients((model: Model<Moe>) => {
        const { total, count, balance } = mixtureLoss(config, model, batch, { noise, authorsQuirks });
        return add(div(total, count), balance);
      }, tinyModel(config, device).model);
    });
  }
}

Deno.test("gradients: mixture without noise, gates unscaled", () => {
  const config = tinyMixture({ normalised_gates: false });
  checkGradients((model: Model<Moe>) => lossFor(config)(model, batch, null).loss, tinyModel(config, device).model);
});

const config = tinyMixture();
const { model } = tinyModel(config, device);
const coefficients = (): { alpha: Coefficients["alpha"]; logit: Scalar[] } => ({
  alpha: [[0.3, -0.2, 0.5], [1, 0.1, -0.4]].map((alpha) => tensor({ expert: 3 }, alpha)),
  logit: [tensor({}, [0.7]), tensor({}, [-0.2])],
});
for (const [name, objective] of Object.entries(objectives)) {
  if (objective.kind !== "loss") continue;
  Deno.test(`gradients: the objective ${name}, in α and λ`, () =>
    checkGradients(
      ({ alpha, logit }: ReturnType<typeof coefficients>) =>
        objective.loss({ alpha, lambda: logit.map(sigmoid) }, model, batch, config),
      coefficients(),
    ));
}

Deno.test("gradients: a merged model, in the mixture's own weights (merging while training)", () => {
  const { alpha } = coefficients(), lambda = [tensor({}, [0.75]), tensor({}, [0.6])];
  const still = [0, 1].map((layer) => `layers.${layer}.ffn.router.linear`);
  checkGradients(
    (mixture: Model<Moe>) => {
      const dense = merged(mixture, { alpha, lambda });
      return lossFor(tinyDense())(dense, batch, null).loss;
    },
    model,
    still,
  );
});
