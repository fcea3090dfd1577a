/** @file `xft generate`: text from a model, greedy or sampled. */
import { open } from "../../../backend/open.ts";
import { loadTokenizer } from "../../../backend/tokenizer.ts";
import { checkTarget, writeFile } from "../../convert/files.ts";
import { generate } from "../../generate/mod.ts";
import type { commands } from "../commands.ts";
import type { Context, JsonResult } from "../context.ts";
import { readText } from "../inputs/files.ts";
import { loadAsTold } from "../inputs/mixture_weights.ts";
import type { Arguments } from "../flags/schema.ts";

/** Runs the command. */
export async function run(args: Arguments<typeof commands.generate>, context: Context): Promise<JsonResult> {
  const { model, out, overwrite, maxTokens, n, top, stop, stopTokens, seed, batch, ignoreEnd } = args;
  const { temperature, topK, topP, minP, repetitionPenalty } = args;
  if (out) checkTarget(out, "file", { overwrite });
  const texts = [...args.prompt, ...args.promptFile.map(readText)];
  using tokenizer = loadTokenizer(model);
  const prompts = texts.map((text) => tokenizer.encode(text, { special: !args.noSpecial }));
  using device = await open(args.device, context);
  using bar = context.progress("generate", undefined, "tokens");
  // A single text on a terminal appears as it is written.
  const isShown = !args.json && prompts.length * n === 1 && Deno.stdout.isTerminal();
  if (isShown) context.stream(tokenizer.decode(prompts[0]));
  const generations = await generate(loadAsTold(model, device, args), tokenizer, device, prompts, {
    ...{ maxTokens, n, top, stop, stopTokens, seed, batch, ignoreEnd, signal: context.signal },
    ...{ temperature, topK, topP, minP, repetitionPenalty },
    ...(isShown
      ? { onText: (piece) => context.stream(piece) }
      : { onProgress: ({ tokens, done, total }) => bar.update(tokens, `${done} of ${total} finished`) }),
  });
  bar.finish();
  const results = generations.map(({ promptIds, ids, text, top, finished }) => ({
    prompt_ids: promptIds,
    ids,
    text,
    finished,
    ...(top ? { top } : {}),
  }));
  if (out) writeFile(out, results.map((result) => `${JSON.stringify(result)}\n`).join(""), { overwrite });
  if (isShown) context.stream("\n");
  else for (const { prompt_ids, text } of results) context.print(tokenizer.decode(prompt_ids) + text);
  return { results };
}
