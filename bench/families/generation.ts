/** @file Generation with SmolLM2-135M-Instruct: alone, sixteen at a time, and what a prompt of 512 tokens takes. */
import { join } from "node:path";
import { userCache } from "../../backend/cache.ts";
import { open } from "../../backend/open.ts";
import { UserError } from "../../dsl/errors.ts";
import { generate } from "../../recipes/generate/mod.ts";
import { loadModel } from "../../recipes/model/parameters.ts";
import { smollm2Gguf } from "../../tests/support.ts";
import type { Case, GenerationWork, Prepared } from "../case.ts";
import { xft } from "../processes.ts";
import { batchOf } from "../weights.ts";
import { denseOf } from "./sizes.ts";

function generation(name: string, batch: number, prompt: number, tokens: number): Case {
  const work: GenerationWork = { kind: "generation", batch, prompt, tokens, storage: "bf16" };
  return { name: `generation/${name}`, work, variants: { "f32 weights": { ...work, storage: "f32" } } };
}

/** Each with a short prompt, so that what is timed is mostly tokens; and a long prompt with one token. */
export const generationCases: readonly Case[] = [
  generation("batch 1", 1, 16, 64),
  generation("batch 16", 16, 16, 64),
  generation("prompt 512", 1, 512, 1),
];

/** Our folder of the model, converted once from the GGUF file that the tests' set-up fetches. */
async function smollm2Folder(): Promise<string> {
  const gguf = smollm2Gguf(), folder = join(userCache(), "bench", "smollm2");
  if (!gguf) throw new UserError("SmolLM2-135M-Instruct is not in the cache: `deno task test` fetches it.");
  if (!(await exists(join(folder, "config.json")))) await xft(["convert", gguf, "--out", folder, "--overwrite"]);
  return folder;
}

const exists = (path: string): Promise<boolean> => Deno.stat(path).then(() => true, () => false);

/** A call of `generate` on the loaded model. */
export async function prepareGeneration({ batch, prompt, tokens, storage }: GenerationWork): Promise<Prepared> {
  const device = await open("cpu"), model = loadModel(await smollm2Folder(), device, storage);
  const { tokens: ids } = batchOf(denseOf("smollm2"), batch, prompt);
  const prompts = Array.from({ length: batch }, (_, i) => [...ids.subarray(i * prompt, (i + 1) * prompt)]);
  // Ids are all that is asked for; a tokenizer would only turn them into text.
  const decoder = { vocabSize: model.config.vocabSize, decode: () => "" };
  return {
    run: async () => {
      await generate(model, decoder, device, prompts, { maxTokens: tokens, batch, ignoreEnd: true });
    },
  };
}
