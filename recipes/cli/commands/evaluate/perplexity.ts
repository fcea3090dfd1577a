/** @file `xft evaluate --benchmark perplexity`: how well a model predicts a text. */
import { open } from "../../../../backend/open.ts";
import { loadTokenizer } from "../../../../backend/tokenizer.ts";
import { sha256 } from "../../../evaluate/bytes.ts";
import { perplexity } from "../../../generate/mod.ts";
import { loadModel } from "../../../model/parameters.ts";
import type { commands } from "../../commands.ts";
import type { Context, JsonResult } from "../../context.ts";
import { readText } from "../../inputs/files.ts";
import type { Arguments } from "../../flags/schema.ts";

/** Mean loss of every token but the first; no tokens are added to the text. */
export async function measurePerplexity(
  { target, data, device: name }: Arguments<typeof commands.evaluate>,
  context: Context,
): Promise<JsonResult> {
  const text = readText(data);
  using tokenizer = loadTokenizer(target);
  using device = await open(name);
  const ids = tokenizer.encode(text, { special: false });
  const { nll, tokens } = await perplexity(loadModel(target, device), device, [ids], { signal: context.signal });
  context.print(`${nll.toFixed(4)} nats per token over ${tokens} tokens: perplexity ${Math.exp(nll).toFixed(3)}`);
  const protocol = {
    ...{ data, dataset_sha256: await sha256(text), special_tokens: false, predicted: "every token but the first" },
    ...{ model: target, device: device.name },
  };
  return { benchmark: "perplexity", nll, tokens, perplexity: Math.exp(nll), protocol };
}
