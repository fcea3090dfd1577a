/** @file Generation: greedy or sampled, many prompts at a time, with a cache of keys and values on the device. */
import { UserError } from "../dsl/errors.ts";
import { tensor } from "../dsl/mod.ts";
import { compile, type Compiled, free, put, values } from "../backend/compile.ts";
import type { Device } from "../backend/runtime.ts";
import { type Cache, emptyCache, longer, type Next, next, rowsOf, type Wanted } from "./decode.ts";
import { batchesOf, type Sample } from "./model/batch.ts";
import { seeded } from "./random.ts";
import { evaluator, type Measurement } from "./model/loss.ts";
import type { Loaded } from "./model/parameters.ts";

/** The part of a tokenizer that is needed here. */
export interface Decoder {
  /** 1 + the highest id: larger ids are never generated. */
  readonly vocabSize: number;
  /** The token that ends a text. */
  readonly eos?: number;
  /** The text of ids. */
  decode(ids: Iterable<number>, options?: { readonly skipSpecial?: boolean }): string;
}

/** How text is generated. */
export interface GenerateOptions {
  /** New tokens at most, for each prompt. */
  readonly maxTokens: number;
  /** 0 (default): always the likeliest token; 1: as the model says. */
  readonly temperature?: number;
  /** Only the likeliest tokens that together have this probability (default 1: all). */
  readonly topP?: number;
  /** Start of the random numbers; every prompt has its own, by its place in the list. */
  readonly seed?: number;
  /** Text at which a generation ends; it is cut off. */
  readonly stop?: readonly string[];
  /** Tokens that end a generation (default: the model's and the tokenizer's end tokens). */
  readonly stopTokens?: readonly number[];
  /** Go on past end tokens. */
  readonly ignoreEnd?: boolean;
  /** How many of the first step's largest logits are returned. */
  readonly top?: number;
  /** Prompts that run together (default 16). */
  readonly batch?: number;
  /** Ends the generation between two tokens. */
  readonly signal?: AbortSignal;
  /** Called after every token of a batch. */
  readonly onProgress?: (progress: GenerateProgress) => void;
}

/** How far a generation has come. */
export interface GenerateProgress {
  /** Prompts that are finished, of how many. */
  readonly done: number;
  /** All prompts. */
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
  readonly finished: "end" | "stop" | "length";
}

/** A row of a batch while it is generated. */
interface Row {
  readonly index: number;
  readonly promptIds: readonly number[];
  readonly random: () => number;
  readonly ids: number[];
  text?: string;
  top?: [number, number][];
  finished?: Generation["finished"];
}

/** Cache lengths double, so that few shapes are compiled. */
const shortestCache = 128;
const roundUp = (x: number, to: number): number => Math.ceil(x / to) * to;

/** An id by probability: softmax(logits / temperature) over the likeliest that together have `topP`. */
export function sample(logits: ArrayLike<number>, temperature: number, topP: number, random: () => number): number {
  let top = -Infinity;
  for (let i = 0; i < logits.length; i++) top = Math.max(top, logits[i]);
  const weights = Array.from(logits, (logit, id) => ({ id, weight: Math.exp((logit - top) / temperature) }));
  if (topP < 1) weights.sort((a, b) => b.weight - a.weight || a.id - b.id);
  const total = weights.reduce((sum, { weight }) => sum + weight, 0);
  let allowed = 0, count = 0;
  while (count < weights.length && (count === 0 || allowed < topP * total)) allowed += weights[count++].weight;
  let left = random() * allowed;
  for (let i = 0; i < count; i++) {
    left -= weights[i].weight;
    if (left < 0) return weights[i].id;
  }
  return weights[count - 1].id;
}

/** Where the first of some texts begins, or −1. */
function firstOf(text: string, stops: readonly string[]): number {
  const found = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
  return found.length > 0 ? Math.min(...found) : -1;
}

type Step = Compiled<
  [Loaded["model"], Cache, ReturnType<typeof ints>, ReturnType<typeof int>, ReturnType<typeof perRow>, Wanted],
  Next
>;
const ints = (batch: number, seq: number, data: Int32Array) => tensor({ batch, seq }, data, "i32");
const perRow = (data: readonly number[]) => tensor({ batch: data.length }, Int32Array.from(data), "i32");
const int = (value: number) => tensor({}, Int32Array.of(value), "i32");

/**
 * Continues prompts. Prompts of like length run together; what is returned is in the prompts' order and does not
 * depend on how they were put together (up to rounding).
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
  const { config } = loaded, known = Math.min(tokenizer.vocabSize, config.vocabSize);
  prompts.forEach((ids, i) => checkPrompt(ids, i, config.maxPositions, config.vocabSize));
  const run: Step = compile(
    (model, cache, tokens, start, empty, wanted) => next(config, known, model, cache, tokens, start, empty, wanted),
    device,
    { donate: [1] },
  );
  const session = {
    run,
    empty: compile((batch: number, length: number) => emptyCache(config, batch, length), device),
    grow: compile(longer, device),
    compact: compile(rowsOf, device),
    stops: new Set(
      options.ignoreEnd
        ? []
        : options.stopTokens ?? [...config.eos ?? [], ...tokenizer.eos === undefined ? [] : [tokenizer.eos]],
    ),
    progress: { done: 0, total: prompts.length, tokens: 0 },
  };
  const rows = prompts.map((promptIds, index): Row => ({
    index,
    promptIds,
    random: seeded(`${options.seed ?? 0}/${index}`).unit,
    ids: [],
  })).sort((a, b) => a.promptIds.length - b.promptIds.length);
  const batch = options.batch ?? 16;
  for (let start = 0; start < rows.length; start += batch) {
    await continueRows(rows.slice(start, start + batch), loaded, tokenizer, device, options, session);
  }
  return rows.sort((a, b) => a.index - b.index).map(({ promptIds, ids, text, top, finished }) => ({
    promptIds,
    ids,
    text: text ?? tokenizer.decode(ids),
    ...(top && { top }),
    finished: finished ?? "length",
  }));
}

function checkPrompt(ids: readonly number[], index: number, maxPositions: number, vocabSize: number): void {
  if (ids.length === 0) {
    throw new UserError(
      `prompt ${index + 1} has no tokens, and the tokenizer adds none: there is nothing to continue.`,
    );
  }
  if (ids.length >= maxPositions) {
    throw new UserError(
      `prompt ${index + 1} has ${ids.length} tokens, the model was made for ${maxPositions}: shorten it.`,
    );
  }
  const beyond = ids.find((id) => !(id >= 0 && id < vocabSize));
  if (beyond !== undefined) {
    throw new UserError(
      `prompt ${index + 1}: token id ${beyond} is beyond the embedding's ${vocabSize} rows: ` +
        "this tokenizer does not belong to this model.",
    );
  }
}

interface Session {
  readonly run: Step;
  readonly empty: Compiled<[number, number], Cache>;
  readonly grow: Compiled<[Cache, number], Cache>;
  readonly compact: Compiled<[Cache, ReturnType<typeof perRow>], Cache>;
  readonly stops: ReadonlySet<number>;
  readonly progress: { done: number; readonly total: number; tokens: number };
}

/** Generates for one batch, until every row is finished. */
async function continueRows(
  rows: readonly Row[],
  { config, model }: Loaded,
  tokenizer: Decoder,
  device: Device,
  options: GenerateOptions,
  { run, empty, grow, compact, stops, progress }: Session,
): Promise<void> {
  const { temperature = 0, topP = 1, top = 0, stop = [], signal, onProgress } = options, before = progress.done;
  const width = Math.min(
    config.maxPositions - 1,
    roundUp(Math.max(...rows.map(({ promptIds }) => promptIds.length)), 16),
  );
  // The cache holds what was fed: the last token of a row never is.
  const most = Math.min(config.maxPositions, width + options.maxTokens) - 1;
  const lengthFor = (places: number): number =>
    Math.min(roundUp(most, 16), Math.max(shortestCache, 2 ** Math.ceil(Math.log2(places + 1))));
  let active = [...rows], gaps = rows.map(({ promptIds }) => width - promptIds.length), length = lengthFor(width);
  let cache = await empty(rows.length, length);
  const prompt = new Int32Array(rows.length * width).fill(-1);
  rows.forEach(({ promptIds }, i) => prompt.set(promptIds, i * width + gaps[i]));
  let tokens = ints(rows.length, width, prompt), start = 0, offsets = put(perRow(gaps), device);
  try {
    for (let step = 0; step < options.maxTokens && active.length > 0; step++) {
      signal?.throwIfAborted();
      const first = step === 0 && top > 0, wanted = { picked: temperature === 0, logits: temperature > 0 || first };
      const out = await run(model, cache, tokens, int(start), offsets, wanted);
      cache = out.cache;
      const logits = out.logits && await values(out.logits, device, "batch", "vocab");
      const picked = out.picked && await values(out.picked, device), vocab = (logits?.length ?? 0) / active.length;
      free([out.logits, out.picked], device);
      active.forEach((row, i) => {
        const own = logits?.subarray(i * vocab, (i + 1) * vocab);
        if (first && own) row.top = largest(own, top);
        const id = temperature === 0 ? picked![i] : sample(own!, temperature, topP, row.random);
        accept(row, id, tokenizer, stops, stop);
      });
      progress.tokens += active.length;
      start += step === 0 ? width : 1;
      const going = active.flatMap((row, i) => row.finished ? [] : [i]);
      progress.done = before + rows.filter(({ finished }) => finished).length;
      onProgress?.({ ...progress });
      if (going.length === 0 || start >= most) break;
      if (going.length <= active.length / 2) {
        const fewer = await compact(cache, perRow(going));
        free([cache, offsets], device);
        cache = fewer;
        gaps = going.map((i) => gaps[i]);
        active = going.map((i) => active[i]);
        offsets = put(perRow(gaps), device);
      }
      if (start >= length) {
        const more = lengthFor(start) - length, bigger = await grow(cache, more);
        free(cache, device);
        cache = bigger;
        length += more;
      }
      // A finished row is fed its end again: nobody reads what follows.
      tokens = ints(active.length, 1, Int32Array.from(active, ({ ids }) => ids[ids.length - 1] ?? 0));
    }
  } finally {
    free([cache, offsets], device);
  }
  progress.done = before + rows.length;
  onProgress?.({ ...progress });
}

/** The largest logits with their ids, largest first. */
function largest(logits: ArrayLike<number>, count: number): [number, number][] {
  const pairs = Array.from(logits, (logit, id): [number, number] => [id, logit]);
  return pairs.sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, count);
}

/** Takes a token into a row, or ends the row. */
function accept(row: Row, id: number, tokenizer: Decoder, ends: ReadonlySet<number>, stop: readonly string[]): void {
  if (row.finished) return;
  if (ends.has(id)) {
    row.finished = "end";
    return;
  }
  row.ids.push(id);
  if (stop.length === 0) return;
  const text = tokenizer.decode(row.ids), at = firstOf(text, stop);
  if (at < 0) return;
  row.text = text.slice(0, at);
  row.finished = "stop";
}

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
