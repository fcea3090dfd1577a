/**
 * @file Steps of generation as pure functions: tokens in, next logits and a longer memory of keys and values out. A
 * token's keys and values stand at its position, whatever stands in other rows: so what a row adds up, and in which
 * order, does not depend on its neighbours.
 */
import {
  add,
  argmax,
  at,
  contract,
  expand,
  full,
  iota,
  less,
  rename,
  ropeAt,
  slice,
  take,
  type Tensor,
  write,
} from "../../dsl/mod.ts";
import type { ModelConfig } from "../convert/config.ts";
import type { AnyModel } from "../model/layout.ts";
import { widened } from "../model/storage.ts";
import {
  llama,
  type LlamaOptions,
  type Memory,
  type Model,
  type Output,
  ownTokens,
  swiglu,
  type Tokens,
  turns,
} from "../model/llama.ts";
import { type Moe, moe } from "../model/moe.ts";

/** Keys or values of a layer, for every place of the cache. */
type Kept = Tensor<"batch" | "head" | "key" | "dim">;
/** Keys and values of all layers. */
export type Cache = { key: Kept[]; value: Kept[] };

/** The next token of each row. */
export type Next = {
  cache: Cache;
  /** The likeliest token. */
  picked?: Tensor<"batch", "int">;
  /** Logits of all tokens that the tokenizer knows. */
  logits?: Tensor<"batch" | "vocab">;
};

/** What a step is asked for. */
export type Wanted = { readonly picked: boolean; readonly logits: boolean };

/** An empty cache. */
export function emptyCache(config: ModelConfig, batch: number, key: number): Cache {
  const make = (): Kept[] =>
    Array.from({ length: config.layers }, () => full({ batch, head: config.kvHeads, key, dim: config.headDim }, 0));
  return { key: make(), value: make() };
}

const eachKept = (cache: Cache, f: (kept: Kept) => Kept): Cache => ({
  key: cache.key.map(f),
  value: cache.value.map(f),
});

/** Rows and places of a cache in another order; −1 is an empty one. */
export const rearranged = (cache: Cache, rows: Tensor<"batch", "int">, places: Tensor<"key", "int">): Cache =>
  eachKept(cache, (kept) => {
    const chosen = take(rename(kept, { batch: "from" }), "from", rows);
    return take(rename(chosen, { key: "from" }), "from", places);
  });

/** A cache with one of its rows taken from another cache, whose places are put in order first. */
export function joined(
  cache: Cache,
  row: Tensor<never, "int">,
  other: Cache,
  from: Tensor<"batch", "int">,
  places: Tensor<"key", "int">,
): Cache {
  const fresh = rearranged(other, from, places);
  const join = (kept: Kept[], own: Kept[]): Kept[] => kept.map((each, layer) => write(each, "batch", row, own[layer]));
  return { key: join(cache.key, fresh.key), value: join(cache.value, fresh.value) };
}

/** What a model of either kind makes of tokens. */
function forward(config: ModelConfig, model: AnyModel, tokens: Tokens, options: LlamaOptions): Output {
  return config.kind === "llama"
    ? llama(config, model as Model, tokens, swiglu, options)
    : llama(config, model as Model<Moe>, tokens, moe(config), options);
}

/** Logits of all tokens but an embedding's spare rows, for the one token of each row that is asked for. */
const logitsAt = (last: Tensor<"batch" | "embed">, weights: AnyModel, known: number): Tensor<"batch" | "vocab"> =>
  slice(contract(last, weights.head ?? weights.embedding, "embed"), "vocab", 0, known);

/**
 * Whole prompts, each from place 0 of a cache of its own.
 *
 * @param known tokens that may be generated: ids below it (an embedding may have spare rows)
 * @param tokens of the prompts; what follows the last one is padding (−1)
 * @param last place of each prompt's last token
 */
export function prefill(
  config: ModelConfig,
  known: number,
  model: AnyModel,
  tokens: Tokens,
  last: Tensor<"batch", "int">,
): { cache: Cache; logits: Tensor<"batch" | "vocab"> } {
  const cache: Cache = { key: [], value: [] };
  const memory: Memory = (key, value, layer) => {
    cache.key[layer] = rename(key, { seq: "key" });
    cache.value[layer] = rename(value, { seq: "key" });
    return ownTokens(key, value);
  };
  const weights = widened(model), { hidden } = forward(config, weights, tokens, { memory });
  return { cache, logits: logitsAt(take(hidden, "seq", last), weights, known) };
}

/**
 * Feeds one more token to each row.
 *
 * @param known tokens that may be generated: ids below it
 * @param place where each row's token stands: so many came before it
 */
export function next(
  config: ModelConfig,
  known: number,
  model: AnyModel,
  cache: Cache,
  tokens: Tokens,
  place: Tensor<"batch", "int">,
  wanted: Wanted,
): Next {
  const { batch } = tokens.shape, { key: keys } = cache.key[0].shape;
  const position = expand(place, { batch, seq: 1 });
  const keep = less(expand(iota("key", keys), { batch, seq: 1 }), add(position, 1));
  const kept: Cache = { key: [], value: [] };
  const memory: Memory = (key, value, layer) => {
    const put = (which: "key" | "value", x: typeof key): Kept =>
      kept[which][layer] = write(cache[which][layer], "key", place, rename(x, { seq: "key" }));
    return { key: put("key", key), value: put("value", value), keep };
  };
  const weights = widened(model);
  const { hidden } = forward(config, weights, tokens, { turn: ropeAt(turns(config, keys), position), memory });
  const logits = logitsAt(at(hidden, "seq", 0), weights, known);
  return {
    cache: kept,
    ...(wanted.picked && { picked: argmax(logits, "vocab") }),
    ...(wanted.logits && { logits }),
  };
}
