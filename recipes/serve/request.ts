/** @file What a client asks for: bodies of /v1/completions and /v1/chat/completions, checked field by field. */
import type { Message } from "../data/chat.ts";
import type { Sampling } from "../generate/sampling/mod.ts";
import { Refusal } from "./errors.ts";

/** What both kinds of requests say. */
export interface Wanted {
  /** How tokens are chosen. */
  readonly sampling: Sampling;
  /** New tokens at most; absent: as many as the model has positions. */
  readonly maxTokens?: number;
  /** Samples of each prompt. */
  readonly n: number;
  /** Start of the random numbers; absent: another one for each request. */
  readonly seed?: number;
  /** Texts at which an answer ends. */
  readonly stop: readonly string[];
  /** Send pieces as they come. */
  readonly stream: boolean;
  /** At the end of a stream: how many tokens it took. */
  readonly streamUsage: boolean;
  /** Log-probabilities of the tokens, and of so many likeliest ones at each place. */
  readonly logprobs?: number;
}

/** A request for completions. */
export interface CompletionRequest extends Wanted {
  /** Texts, or token ids. */
  readonly prompts: readonly (string | readonly number[])[];
  /** Repeat the prompt before the answer. */
  readonly echo: boolean;
}

/** A request for an answer in a conversation. */
export interface ChatRequest extends Wanted {
  /** The conversation. */
  readonly messages: readonly Message[];
}

type Body = Readonly<Record<string, unknown>>;

/** Fields that change what an answer is, and that we do not know how to follow. */
const unsupported = ["suffix", "logit_bias", "tools", "functions", "response_format", "best_of"] as const;

/** Reads a body's JSON. @throws {Refusal} */
export function parseBody(text: string): Body {
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === "object" && body !== null && !Array.isArray(body)) return body as Body;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new Refusal(400, "the body is no JSON object.");
}

/** Checks a body of /v1/completions. @throws {Refusal} naming the field at fault */
export function completionRequest(body: Body): CompletionRequest {
  const { prompt, echo = false } = body;
  const isIds = (value: unknown): value is number[] =>
    Array.isArray(value) && value.length > 0 && value.every((id) => Number.isInteger(id) && id >= 0);
  const list: unknown[] = typeof prompt === "string" || isIds(prompt) ? [prompt] : Array.isArray(prompt) ? prompt : [];
  if (list.length === 0 || !list.every((each) => typeof each === "string" || isIds(each))) {
    throw new Refusal(400, '"prompt" must be a text, a list of texts, token ids, or a list of those.', "prompt");
  }
  const logprobs = number(body, "logprobs", 0, 20, true);
  if (typeof echo !== "boolean") throw new Refusal(400, '"echo" must be true or false.', "echo");
  if (echo && logprobs !== undefined) {
    throw new Refusal(400, '"echo" with "logprobs" is not supported: log-probabilities are of new tokens.', "echo");
  }
  const wanted = wantedOf(body, number(body, "max_tokens", 0, Infinity, true) ?? 16, logprobs);
  return { ...wanted, prompts: list as CompletionRequest["prompts"], echo };
}

/** Checks a body of /v1/chat/completions. @throws {Refusal} naming the field at fault */
export function chatRequest(body: Body): ChatRequest {
  const { messages, logprobs = false } = body;
  const fail = (): never => {
    throw new Refusal(
      400,
      '"messages" must be a list of {"role", "content"}, with contents that are texts.',
      "messages",
    );
  };
  if (!Array.isArray(messages) || messages.length === 0) return fail();
  const turns = messages.map((message): Message => {
    const { role, content } = typeof message === "object" && message !== null ? message : fail();
    return typeof role === "string" ? { role, content: contentOf(content) ?? fail() } : fail();
  });
  const most = number(body, "max_completion_tokens", 0, Infinity, true) ??
    number(body, "max_tokens", 0, Infinity, true);
  const top = number(body, "top_logprobs", 0, 20, true) ?? 0;
  return { ...wantedOf(body, most, logprobs === true ? top : undefined), messages: turns };
}

/** A text, or the parts of one. */
function contentOf(content: unknown): string | undefined {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return undefined;
  const texts = content.map((part) => part?.type === "text" && typeof part.text === "string" ? part.text : undefined);
  return texts.includes(undefined) ? undefined : texts.join("");
}

function wantedOf(body: Body, maxTokens: number | undefined, logprobs: number | undefined): Wanted {
  const odd = unsupported.find((name) => isGiven(body[name]));
  if (odd) throw new Refusal(400, `"${odd}" is not supported by this server.`, odd);
  for (const name of ["presence_penalty", "frequency_penalty"] as const) {
    if ((number(body, name, -2, 2, false) ?? 0) !== 0) {
      throw new Refusal(400, `"${name}" is not supported by this server; "repetition_penalty" is.`, name);
    }
  }
  const { stop, stream = false, stream_options: options } = body;
  const stops: unknown[] = isGiven(stop) ? Array.isArray(stop) ? stop : [stop] : [];
  if (!stops.every((each) => typeof each === "string" && each !== "")) {
    throw new Refusal(400, '"stop" must be a text or a list of texts, none of them empty.', "stop");
  }
  if (typeof stream !== "boolean" && stream !== null) {
    throw new Refusal(400, '"stream" must be true or false.', "stream");
  }
  return {
    sampling: {
      temperature: number(body, "temperature", 0, Infinity, false) ?? 1,
      topP: number(body, "top_p", 0, 1, false),
      topK: positive(number(body, "top_k", -1, Infinity, true)),
      minP: number(body, "min_p", 0, 1, false),
      repetitionPenalty: number(body, "repetition_penalty", 0.01, Infinity, false),
    },
    maxTokens,
    n: number(body, "n", 1, 1024, true) ?? 1,
    seed: number(body, "seed", 0, Number.MAX_SAFE_INTEGER, true),
    stop: stops as string[],
    stream: stream === true,
    streamUsage: typeof options === "object" && options !== null && "include_usage" in options &&
      options.include_usage === true,
    logprobs,
  };
}

const isGiven = (value: unknown): boolean => value !== undefined && value !== null;

/** Other servers write 0 or −1 for "all". */
const positive = (value: number | undefined): number | undefined =>
  value !== undefined && value > 0 ? value : undefined;

function number(body: Body, name: string, low: number, high: number, whole: boolean): number | undefined {
  const value = body[name];
  if (!isGiven(value)) return undefined;
  if (typeof value === "number" && value >= low && value <= high && (!whole || Number.isInteger(value))) return value;
  const range = high === Infinity ? `from ${low} on` : `from ${low} to ${high}`;
  throw new Refusal(400, `"${name}" must be a ${whole ? "whole " : ""}number ${range}.`, name);
}
