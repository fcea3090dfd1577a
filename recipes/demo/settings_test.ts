/** @file The settings fit the family: nothing is cut, and the FLOP ratio is what it says. */
import { assert } from "@std/assert";
import { type Split, tasks } from "./family/mod.ts";
import { computeRatio, settings } from "./settings.ts";
import { encodePrompt, encodeResponse, vocabulary } from "./tokenizer.ts";

Deno.test("every task of the run fits the model's positions, and every answer the generation", () => {
  for (const split of ["train", "validation", "test"] satisfies Split[]) {
    for (const { instruction, solution } of tasks(settings.seed, split, settings.tasks[split])) {
      const prompt = encodePrompt(instruction).length, answer = encodeResponse(solution).length;
      assert(answer <= settings.generation.newTokens, solution);
      assert(prompt + settings.generation.newTokens <= settings.model.maxPositions, instruction);
    }
  }
});

Deno.test("a mixture of which a token meets one expert costs the dense model and a router", () => {
  const one = computeRatio({ model: settings.model, moe: { ...settings.moe, active: 1 } }, vocabulary.length);
  const six = computeRatio(settings, vocabulary.length);
  assert(one > 1 && one < 1.02, `${one}`);
  assert(six > 3.5 && six < 4, `${six}`);
});
