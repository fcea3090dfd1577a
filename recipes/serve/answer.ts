/** @file Answers in the form of OpenAI's API: whole, or piece by piece. */
import type { Finish, Sequence, TokenLogprob } from "../generate/sequence.ts";
import type { Wanted } from "./request.ts";

/** Which of the two APIs. */
export type Kind = "text" | "chat";

/** One text of an answer. */
export interface Choice {
  /** Its number in the answer. */
  readonly index: number;
  /** Which prompt it continues. */
  readonly prompt: number;
  /** The text. */
  readonly sequence: Sequence;
  /** When it is finished. */
  readonly done: Promise<void>;
}

/** What every answer begins with. */
export interface Head {
  /** The answer's own name. */
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  /** The model's name. */
  readonly model: string;
}

/** Names tokens. */
interface Spelling {
  decode(ids: Iterable<number>, options?: { readonly skipSpecial?: boolean }): string;
}

const reasons: Readonly<Record<Finish, string>> = { end: "stop", stop: "stop", length: "length", cancelled: "stop" };

const reasonOf = ({ sequence: { finished } }: Choice): string | null => finished ? reasons[finished] : null;

/** How many tokens an answer took; samples share their prompt. */
export function usageOf(choices: readonly Choice[]): object {
  const prompts = new Map(choices.map(({ prompt, sequence }) => [prompt, sequence.promptIds.length]));
  const prompt_tokens = [...prompts.values()].reduce((sum, each) => sum + each, 0);
  const completion_tokens = choices.reduce((sum, { sequence }) => sum + sequence.ids.length, 0);
  return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
}

/** A whole answer. */
export function answer(
  kind: Kind,
  head: Head,
  choices: readonly Choice[],
  tokenizer: Spelling,
  { echoes, wanted }: { readonly echoes?: readonly string[]; readonly wanted: Wanted },
): object {
  const texts = choices.map((choice) => {
    const { index, prompt, sequence } = choice, common = { index, finish_reason: reasonOf(choice) };
    const text = `${echoes?.[prompt] ?? ""}${sequence.text}`;
    const logprobs = wanted.logprobs === undefined ? null : logprobsOf(kind, sequence.logprobs, tokenizer);
    return kind === "text"
      ? { ...common, text, logprobs }
      : { ...common, message: { role: "assistant", content: text }, logprobs };
  });
  const object = kind === "text" ? "text_completion" : "chat.completion";
  return { ...head, object, choices: texts, usage: usageOf(choices) };
}

/**
 * A piece of a streamed answer; without a choice the one that carries the usage.
 *
 * @param logprobs of the tokens that came since the piece before; null where nobody asked for them
 */
export function piece(
  kind: Kind,
  head: Head,
  choice: Choice | undefined,
  text: string,
  { place = "between", logprobs = null }: {
    readonly place?: "first" | "between" | "last";
    readonly logprobs?: object | null;
  } = {},
): object {
  const object = kind === "text" ? "text_completion" : "chat.completion.chunk";
  if (!choice) return { ...head, object, choices: [] };
  const common = { index: choice.index, finish_reason: place === "last" ? reasonOf(choice) : null, logprobs };
  const delta = place === "first" ? { role: "assistant", content: text } : place === "last" ? {} : { content: text };
  return { ...head, object, choices: [kind === "text" ? { ...common, text } : { ...common, delta }] };
}

/**
 * Log-probabilities in the form of either API.
 *
 * @param from the first token that is told of
 */
export function logprobsOf(
  kind: Kind,
  scores: readonly TokenLogprob[],
  tokenizer: Spelling,
  from: number = 0,
): object {
  const name = (id: number): string => tokenizer.decode([id], { skipSpecial: false });
  return kind === "text" ? textLogprobs(scores, name, from) : chatLogprobs(scores.slice(from), name);
}

function textLogprobs(all: readonly TokenLogprob[], name: (id: number) => string, from: number): object {
  let offset = all.slice(0, from).reduce((sum, { id }) => sum + name(id).length, 0);
  const scores = all.slice(from);
  return {
    tokens: scores.map(({ id }) => name(id)),
    token_logprobs: scores.map(({ logprob }) => logprob),
    top_logprobs: scores.map(({ top }) => Object.fromEntries(top.map(([id, logprob]) => [name(id), logprob]))),
    text_offset: scores.map(({ id }) => (offset += name(id).length) - name(id).length),
  };
}

function chatLogprobs(scores: readonly TokenLogprob[], name: (id: number) => string): object {
  const encoder = new TextEncoder();
  const entry = (id: number, logprob: number): object => ({
    token: name(id),
    logprob,
    bytes: [...encoder.encode(name(id))],
  });
  return {
    content: scores.map(({ id, logprob, top }) => ({
      ...entry(id, logprob),
      top_logprobs: top.map(([id, logprob]) => entry(id, logprob)),
    })),
  };
}
