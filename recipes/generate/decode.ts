/**
 * @file One step of generation as a pure function: tokens in, next logits and a longer memory of keys and values out.
 * All rows of a batch write the same place of the cache, in place: a row that holds fewer tokens is empty on its left,
 * so that a new text can take a finished one's row at any time.
 */
import {
  add,
  and,
  argmax,
  at,
  expand,
  full,
  iota,
  less,
  maximum,
  mul,
  not,
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
  swiglu,
  type Tokens,
  turns,
  unembed,
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

/** Logits of a model of either kind. */
function forward(config: ModelConfig, model: AnyModel, tokens: Tokens, options: LlamaOptions): Output {
  return config.kind === "llama"
    ? llama(config, model as Model, tokens, swiglu, options)
    : llama(config, model as Model<Moe>, tokens, moe(config), options);
}

/**
 * Feeds tokens that stand at `start`, `start` + 1, … of the cache.
 *
 * @param empty places at the left of each row that hold no token
 * @param known tokens that may be generated: ids below it (an embedding may have spare rows)
 */
export function next(
  config: ModelConfig,
  known: number,
  model: AnyModel,
  cache: Cache,
  tokens: Tokens,
  start: Tensor<never, "int">,
  empty: Tensor<"batch", "int">,
  wanted: Wanted,
): Next {
  const { batch, seq } = tokens.shape, { key: keys } = cache.key[0].shape;
  const place = add(expand(iota("seq", seq), { batch }), start);
  const position = maximum(add(place, mul(empty, -1)), 0);
  const grid = expand(iota("key", keys), { batch, seq });
  const keep = and(less(grid, add(place, 1)), not(less(grid, empty)));
  const kept: Cache = { key: [], value: [] };
  const memory: Memory = (key, value, layer) => {
    const put = (which: "key" | "value", x: typeof key): Kept =>
      kept[which][layer] = write(cache[which][layer], "key", start, rename(x, { seq: "key" }));
    return { key: put("key", key), value: put("value", value), keep };
  };
  const weights = widened(model);
  const { hidden } = forward(config, weights, tokens, { turn: ropeAt(turns(config, keys), position), memory });
  const last = at(unembed(slice(hidden, "seq", seq - 1), weights), "seq", 0);
  const logits = slice(last, "vocab", 0, known);
  return {
    cache: kept,
    ...(wanted.picked && { picked: argmax(logits, "vocab") }),
    ...(wanted.logits && { logits }),
  };
}
