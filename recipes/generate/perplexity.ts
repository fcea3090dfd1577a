/** @file Perplexity: how well a model predicts texts that are given. */
import { UserError } from "../../dsl/errors.ts";
import type { Device } from "../../backend/runtime.ts";
import { batchesOf, type Sample } from "../model/batch.ts";
import { evaluator, type Measurement } from "../model/loss.ts";
import type { Loaded } from "../model/parameters.ts";

/**
 * Mean negative log-likelihood (natural logarithm) of every token but the first of each sequence. No tokens are
 * added; what is longer than the model was made for is cut into pieces of that length.
 *
 * @throws {UserError} if no sequence has two tokens
 */
export async function perplexity(
  loaded: Loaded,
  device: Device,
  sequences: readonly (readonly number[])[],
  options: { readonly batch?: number; readonly signal?: AbortSignal } = {},
): Promise<Measurement> {
  const longest = loaded.config.maxPositions, samples: Sample[] = [];
  for (const ids of sequences) {
    for (let at = 0; at < ids.length; at += longest) samples.push({ ids: ids.slice(at, at + longest), scoredFrom: 1 });
  }
  const scored = samples.filter(({ ids }) => ids.length > 1);
  if (scored.length === 0) throw new UserError("no text has two tokens or more: there is nothing to predict.");
  const batches = batchesOf(scored, { batch: options.batch ?? 8, seq: longest, bucket: 16 });
  return await evaluator(loaded.config, device)(loaded.model, batches, options.signal);
}
