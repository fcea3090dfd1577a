/** @file Texts from prompts: greedy or sampled, several samples of each, as many at a time as there is room for. */
import { UserError } from "../../dsl/errors.ts";
import type { Device } from "../../backend/runtime.ts";
import { longestText } from "../model/llama.ts";
import type { Loaded } from "../model/parameters.ts";
import { openEngine } from "./engine.ts";
import { sampleKey } from "./sampling/draws.ts";
import type { Sampling } from "./sampling/mod.ts";
import { type Decoder, type Finish, Sequence } from "./sequence.ts";

/** How text is generated. */
export interface GenerateOptions extends Sampling {
  /** New tokens at most, for each prompt. */
  readonly maxTokens: number;
  /** Samples of each prompt (default 1). */
  readonly n?: number;
  /**
   * Start of the random numbers (default 0). Each sample has its own, by its prompt's tokens and its number among the
   * samples of that prompt: they do not depend on other prompts, the order or `batch`.
   */
  readonly seed?: number;
  /** Text at which a generation ends; it is cut off. */
  readonly stop?: readonly string[];
  /** Tokens that end a generation (default: the model's and the tokenizer's end tokens). */
  readonly stopTokens?: readonly number[];
  /** Go on past end tokens. */
  readonly ignoreEnd?: boolean;
  /** How many of the first step's largest logits are returned. */
  readonly top?: number;
  /** Texts that run together (default 16); the next one takes a finished one's place. */
  readonly batch?: number;
  /** Ends the generation between two tokens. */
  readonly signal?: AbortSignal;
  /** Results that are there already, by their place among all: they are not made, and not among what is returned. */
  readonly skip?: (index: number) => boolean;
  /** Called with each result as soon as it is there. */
  readonly onResult?: (generation: Generation, index: number) => void;
  /** Called after every round of tokens. */
  readonly onProgress?: (progress: GenerateProgress) => void;
  /** Called with each piece of a text that cannot change any more; `index` counts the results. */
  readonly onText?: (piece: string, index: number) => void;
}

/** How far a generation has come. */
export interface GenerateProgress {
  /** Texts that are finished, of how many. */
  readonly done: number;
  /** All texts. */
  readonly total: number;
  /** Tokens generated so far. */
  readonly tokens: number;
}

/** What was generated for a prompt. */
export interface Generation {
  /** The prompt, as it was given. */
  readonly promptIds: readonly number[];
  /** New tokens, without the one that ended it. */
  readonly ids: readonly number[];
  /** Their text, cut at a stop text. */
  readonly text: string;
  /** The first step's largest logits: id and logit. */
  readonly top?: readonly (readonly [id: number, logit: number])[];
  /** By an end token, a stop text, or because no more tokens were allowed. */
  readonly finished: Exclude<Finish, "cancelled">;
}

/** Tokens that end a text: the model's and the tokenizer's. */
export const endTokens = ({ config }: Loaded, { eos }: Decoder): ReadonlySet<number> =>
  new Set([...config.eos ?? [], ...eos === undefined ? [] : [eos]]);

/**
 * Continues prompts. Results are in the prompts' order, `n` for each, and do not depend on what runs together: on the
 * CPU bit for bit, elsewhere up to rounding.
 *
 * @param prompts token ids; each must have at least one
 * @throws {UserError} if a prompt is empty, too long for the model, or has an id beyond the embedding
 * @throws {DOMException} of name AbortError, if the signal says so
 */
export async function generate(
  loaded: Loaded,
  tokenizer: Decoder,
  device: Device,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
): Promise<Generation[]> {
  const { n = 1, seed = 0, maxTokens, stop = [], top, signal, onProgress, onResult, onText, batch } = options;
  prompts.forEach((ids, i) => checkPrompt(`prompt ${i + 1}`, ids, loaded.config));
  const ends = options.ignoreEnd
    ? new Set<number>()
    : options.stopTokens
    ? new Set(options.stopTokens)
    : endTokens(loaded, tokenizer);
  const before = samplesBefore(prompts, n);
  const places = prompts.flatMap((promptIds, prompt) =>
    Array.from(
      { length: n },
      (_, sample) => ({ promptIds, index: prompt * n + sample, sample: before[prompt] + sample }),
    )
  );
  const wanted = places.filter(({ index }) => !options.skip?.(index)).map(({ promptIds, index, sample }) => ({
    index,
    sequence: new Sequence({
      promptIds,
      sampling: options,
      key: sampleKey(seed, promptIds, sample),
      maxTokens,
      ends,
      stop,
      top,
      ...(onText && { onText: (piece: string) => onText(piece, index) }),
    }, tokenizer),
  }));
  const known = Math.min(tokenizer.vocabSize, loaded.config.vocabSize);
  using engine = openEngine(loaded, device, { batch, known });
  engine.add(...wanted.map(({ sequence }) => sequence));
  const results = new Map<number, Generation>();
  for (let isGoing = wanted.length > 0; isGoing;) {
    signal?.throwIfAborted();
    isGoing = await engine.round();
    for (const { sequence, index } of wanted) {
      if (!sequence.finished || results.has(index)) continue;
      results.set(index, generationOf(sequence));
      onResult?.(results.get(index)!, index);
    }
    onProgress?.({
      done: places.length - wanted.length + results.size,
      total: places.length,
      tokens: wanted.reduce((sum, { sequence }) => sum + sequence.ids.length, 0),
    });
  }
  return wanted.map(({ index }) => results.get(index)!);
}

const generationOf = ({ promptIds, ids, text, top, finished }: Sequence): Generation => ({
  promptIds,
  ids,
  text,
  ...(top && { top }),
  // Nothing cancels these.
  finished: finished as Generation["finished"],
});

/** A prompt that is given several times goes on counting its samples. */
function samplesBefore(prompts: readonly (readonly number[])[], n: number): number[] {
  const counts = new Map<string, number>();
  return prompts.map((ids) => {
    const name = ids.join(), count = counts.get(name) ?? 0;
    counts.set(name, count + n);
    return count;
  });
}

/**
 * Refuses what cannot be continued.
 *
 * @param name of the prompt, for messages
 * @throws {UserError} if it is empty, too long for the model, or has an id beyond the embedding
 */
export function checkPrompt(
  name: string,
  ids: readonly number[],
  config: Loaded["config"],
): void {
  const { vocabSize } = config, most = longestText(config);
  if (ids.length === 0) {
    throw new UserError(`${name} has no tokens, and the tokenizer adds none: there is nothing to continue.`);
  }
  if (ids.length >= most) {
    throw new UserError(`${name} has ${ids.length} tokens, the model was made for ${most}: shorten it.`);
  }
  const beyond = ids.find((id) => !(id >= 0 && id < vocabSize));
  if (beyond !== undefined) {
    throw new UserError(
      `${name}: token id ${beyond} is beyond the embedding's ${vocabSize} rows: ` +
        "this tokenizer does not belong to this model.",
    );
  }
}
