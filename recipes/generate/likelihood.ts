/** @file How likely a model holds given continuations of given texts. */
import { negativeLogLikelihood, sum } from "../../dsl/mod.ts";
import { UserError } from "../../dsl/errors.ts";
import { compile, values } from "../../backend/compile.ts";
import type { Device } from "../../backend/runtime.ts";
import { type Batch, makeBatch, type Sample, toBatch } from "../model/batch.ts";
import type { AnyModel } from "../model/layout.ts";
import { logitsFor } from "../model/loss.ts";
import type { Loaded } from "../model/parameters.ts";
import { widened } from "../model/storage.ts";

/** Token ids of a text and of what may follow it. */
export interface Continuation {
  /** What is given; at least one token. Where both are too long for the model, its first tokens are left out. */
  readonly context: readonly number[];
  /** What is judged; at least one token. */
  readonly continuation: readonly number[];
}

/** What a model holds of a continuation. */
export interface Likelihood {
  /** log p(continuation | context), in nats. */
  readonly logLikelihood: number;
  /** Tokens of the continuation. */
  readonly tokens: number;
}

/** Lengths are rounded up to multiples of it, so that few shapes are compiled. */
const bucket = 16;

/**
 * log p(continuation | context) of each, in the given order.
 *
 * @throws {UserError} if a context or a continuation is empty, or a continuation fills the model's positions alone
 * @throws {DOMException} of name AbortError, if the signal says so
 */
export async function logLikelihoods(
  loaded: Loaded,
  device: Device,
  continuations: readonly Continuation[],
  options: { readonly batch?: number; readonly signal?: AbortSignal; readonly onProgress?: (done: number) => void } =
    {},
): Promise<Likelihood[]> {
  const { batch = 8, signal, onProgress } = options, { config } = loaded, logits = logitsFor(config);
  const run = compile(
    (model: AnyModel, given: Batch) => sum(negativeLogLikelihood(logits(widened(model), given), given.labels), "seq"),
    device,
  );
  const samples = continuations.map((each, i) => sampleOf(each, config.maxPositions, i));
  // Those of like lengths together: little is padded.
  const order = samples.map((_, i) => i).sort((a, b) => samples[a].ids.length - samples[b].ids.length);
  const results = new Array<Likelihood>(samples.length);
  for (let start = 0; start < order.length; start += batch) {
    signal?.throwIfAborted();
    const places = order.slice(start, start + batch), longest = samples[places.at(-1)!].ids.length;
    const host = makeBatch(places.map((i) => samples[i]), Math.ceil(longest / bucket) * bucket);
    const nats = await values(await run(loaded.model, toBatch(host)), device, "batch");
    places.forEach((i, row) =>
      results[i] = { logLikelihood: -nats[row], tokens: continuations[i].continuation.length }
    );
    onProgress?.(start + places.length);
  }
  return results;
}

function sampleOf({ context, continuation }: Continuation, longest: number, index: number): Sample {
  if (context.length === 0 || continuation.length === 0) {
    throw new UserError(`continuation ${index + 1}: text and continuation need a token each.`);
  }
  if (continuation.length >= longest) {
    throw new UserError(
      `continuation ${index + 1} has ${continuation.length} tokens, the model was made for ${longest}: shorten it.`,
    );
  }
  const given = context.slice(Math.max(0, context.length + continuation.length - longest));
  return { ids: [...given, ...continuation], scoredFrom: given.length };
}
