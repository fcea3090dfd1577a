/** @file One text while it is generated: which token comes next, whether it ends, and what may be shown already. */
import { choose, isPlainGreedy, type Sampling } from "./sampling/mod.ts";
import { draw, type Words } from "./sampling/draws.ts";
import { firstOf, settled } from "./text.ts";

/** The part of a tokenizer that is needed here. */
export interface Decoder {
  /** 1 + the highest id: larger ids are never generated. */
  readonly vocabSize: number;
  /** The token that ends a text. */
  readonly eos?: number;
  /** The text of ids. */
  decode(ids: Iterable<number>, options?: { readonly skipSpecial?: boolean }): string;
}

/** Why a text ended: an end token, a stop text, no more tokens allowed, or nobody wants the rest. */
export type Finish = "end" | "stop" | "length" | "cancelled";

/** What a step says about a sequence's next token: all logits, or the likeliest token alone. */
export type Prediction =
  | { readonly logits: Float32Array; readonly picked?: undefined }
  | { readonly logits?: undefined; readonly picked: number };

/** Ids with their logits, largest first. */
export type Ranked = readonly (readonly [id: number, logit: number])[];

/** What is generated, and how. */
export interface SequenceOptions {
  /** The prompt's tokens; sequences of the same array share its computation. */
  readonly promptIds: readonly number[];
  /** How tokens are chosen. */
  readonly sampling: Sampling;
  /** What sampled tokens are drawn by. */
  readonly key: Words;
  /** New tokens at most. */
  readonly maxTokens: number;
  /** Tokens that end the text. */
  readonly ends: ReadonlySet<number>;
  /** Texts at which it ends; they are cut off. */
  readonly stop: readonly string[];
  /** Does the text begin anew (a message of a conversation), where else it continues the prompt's? */
  readonly beginsAnew?: boolean;
  /** How many of the first step's largest logits are kept. */
  readonly top?: number;
  /** Keep the log-probability of every token, and of so many likeliest ones at its place. */
  readonly logprobs?: number;
  /** Called with each piece of text that cannot change any more. */
  readonly onText?: (piece: string) => void;
  /** Called once, when it is finished. */
  readonly onFinish?: () => void;
}

/** A token with its natural log-probability, and the likeliest ones of its place. */
export interface TokenLogprob {
  /** The token. */
  readonly id: number;
  /** Its log-probability as the model says, before any filter. */
  readonly logprob: number;
  /** The likeliest tokens with theirs, likeliest first. */
  readonly top: Ranked;
}

/** One text while it is generated. */
export class Sequence {
  /** New tokens, without the one that ended it. */
  readonly ids: number[] = [];
  /** Of every new token, where they were asked for. */
  readonly logprobs: TokenLogprob[] = [];
  /** The first step's largest logits. */
  top?: Ranked;
  /** Set when it is finished. */
  finished?: Finish;
  readonly #options: SequenceOptions;
  readonly #decoder: Decoder;
  readonly #seen: Set<number>;
  /** The prompt's last tokens, and their text: what is decoded alone loses the space that it begins with. */
  readonly #before: { readonly ids: readonly number[]; readonly text: string };
  #shown = 0;
  #cut?: string;

  /** Nothing is generated yet. */
  constructor(options: SequenceOptions, decoder: Decoder) {
    this.#options = options;
    this.#decoder = decoder;
    const ids = options.beginsAnew ? [] : options.promptIds.slice(-4), text = decoder.decode(ids);
    // A character whose bytes have not all come may look different with what follows.
    this.#before = text.endsWith("\uFFFD") ? { ids: [], text: "" } : { ids, text };
    this.#seen = new Set((options.sampling.repetitionPenalty ?? 1) === 1 ? [] : options.promptIds);
    if (options.maxTokens <= 0) this.finish("length");
  }

  /** The prompt's tokens. */
  get promptIds(): readonly number[] {
    return this.#options.promptIds;
  }

  /** Needs the next choice all logits? Else the likeliest token is enough. */
  get needsLogits(): boolean {
    const { sampling, top, logprobs } = this.#options;
    return logprobs !== undefined || !isPlainGreedy(sampling) || (this.ids.length === 0 && top !== undefined);
  }

  /** The text so far, cut at a stop text. */
  get text(): string {
    return this.#cut ?? this.#decode();
  }

  #decode(): string {
    const { ids, text } = this.#before;
    return this.#decoder.decode([...ids, ...this.ids]).slice(text.length);
  }

  /** Takes the next token, or ends. */
  accept({ logits, picked }: Prediction): void {
    if (this.finished) return;
    const { sampling, key, top, ends, maxTokens, logprobs } = this.#options, position = this.ids.length;
    if (logits && top && position === 0) this.top = largest(logits, top);
    const id = logits ? choose(logits, sampling, this.#seen, draw(key, position)) : picked!;
    if (ends.has(id)) return this.finish("end");
    if (logits && logprobs !== undefined) this.logprobs.push(logprobOf(logits, id, logprobs));
    this.ids.push(id);
    if ((sampling.repetitionPenalty ?? 1) !== 1) this.#seen.add(id);
    if (this.#show()) return this.finish("stop");
    if (this.ids.length >= maxTokens) this.finish("length");
  }

  /** Ends it: nobody wants the rest, or the model knows no more positions. */
  finish(why: Finish): void {
    if (this.finished) return;
    this.finished = why;
    const { onText, onFinish } = this.#options;
    const rest = onText && why !== "cancelled" ? this.text.slice(this.#shown) : "";
    if (rest) onText!(rest);
    onFinish?.();
  }

  /** Hands out what is settled. @returns whether a stop text has come */
  #show(): boolean {
    const { stop, onText } = this.#options;
    if (stop.length === 0 && !onText) return false;
    const text = this.#decode(), at = firstOf(text, stop);
    if (at >= 0) {
      this.#cut = text.slice(0, at);
      return true;
    }
    const end = onText ? settled(text, stop) : 0;
    if (onText && end > this.#shown) {
      onText(text.slice(this.#shown, end));
      this.#shown = end;
    }
    return false;
  }
}

/** The largest numbers with their places, largest first. */
function largest(numbers: ArrayLike<number>, count: number): Ranked {
  const pairs = Array.from(numbers, (each, id): [number, number] => [id, each]);
  return pairs.sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, count);
}

function logprobOf(logits: Float32Array, id: number, count: number): TokenLogprob {
  let top = -Infinity, sum = 0;
  for (const logit of logits) top = Math.max(top, logit);
  for (const logit of logits) sum += Math.exp(logit - top);
  const whole = top + Math.log(sum);
  const best = count > 0 ? largest(logits, count).map(([id, logit]) => [id, logit - whole] as const) : [];
  return { id, logprob: logits[id] - whole, top: best };
}
