/**
 * @file Continuous batching: texts of any length run together, and the next one takes a finished one's row. Prompts
 * (prefill) and single tokens (decode) are two plans; the cache of keys and values stays on the device. On the CPU a
 * text's logits have the same bits alone and among others: prompts are computed one by one, a token's place in the cache
 * is its position, and steps of generation are compiled `steady`.
 */
import { type Tensor, tensor } from "../../dsl/mod.ts";
import { compile, type Compiled, free, values } from "../../backend/compile.ts";
import type { Device } from "../../backend/runtime.ts";
import { longestText } from "../model/llama.ts";
import type { Loaded } from "../model/parameters.ts";
import { type Cache, emptyCache, joined, type Next, next, prefill, rearranged, type Wanted } from "./decode.ts";
import type { Prediction, Sequence } from "./sequence.ts";

/** Runs sequences; one call at a time. */
export interface Engine extends Disposable {
  /** Sequences wait for their turn in this order. */
  add(...sequences: readonly Sequence[]): void;
  /**
   * Lets waiting sequences in where there is room, and generates one token for each that runs. Sequences that are
   * finished (from outside, too) leave.
   *
   * @returns false when nothing is left to do
   */
  round(): Promise<boolean>;
}

/** How an engine runs. */
export interface EngineOptions {
  /** Sequences that run together (default 16). */
  readonly batch?: number;
  /** Tokens that may be generated: ids below it (an embedding may have spare rows). */
  readonly known: number;
}

/** A sequence that runs, and how many of its tokens are in the cache. */
type Running = { readonly sequence: Sequence; fed: number };
/** The cache while sequences run: so many rows of `length` places, a row's tokens from place 0 on. */
type State = { readonly cache: Cache; readonly rows: readonly (Running | undefined)[]; readonly length: number };
/** A prompt that was computed, until all its sequences have a row. */
type Prefilled = { readonly promptIds: readonly number[]; readonly cache: Cache; readonly logits: Float32Array };

type Ints<A extends string> = Tensor<A, "int">;
type Step = Compiled<[Loaded["model"], Cache, Ints<"batch" | "seq">, Ints<"batch">, Wanted], Next>;

const grid = (batch: number, seq: number, data: Int32Array): Ints<"batch" | "seq"> =>
  tensor({ batch, seq }, data, "i32");
const perRow = (data: readonly number[]): Ints<"batch"> => tensor({ batch: data.length }, Int32Array.from(data), "i32");
const perPlace = (data: readonly number[]): Ints<"key"> => tensor({ key: data.length }, Int32Array.from(data), "i32");
const int = (value: number): Ints<never> => tensor({}, Int32Array.of(value), "i32");

/** Few shapes are compiled: cache lengths and numbers of rows are powers of two. */
const powerAbove = (x: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, x)));
/** Places of a cache that holds so many tokens of a row: with room for more, so that rows seldom move. */
const lengthFor = (tokens: number): number => Math.max(128, powerAbove(tokens + Math.max(16, tokens / 8)));
/**
 * Prompts are padded to a power of two, or to one and a half of it. Never to so few that a product of theirs would take
 * the kernel of a single token's.
 */
export function widthFor(tokens: number): number {
  const power = Math.max(32, powerAbove(tokens));
  return power > 32 && tokens <= power * 3 / 4 ? power * 3 / 4 : power;
}
/** Rows of a step at most on the CPU: of more, products take another kernel, which adds up in another order. */
const MOST_ROWS = 16;

/**
 * Makes an engine for a model. Its plans are compiled as they are needed.
 *
 * @example
 * ```ts ignore
 * using engine = openEngine(loaded, device, { known: tokenizer.vocabSize });
 * engine.add(...sequences);
 * while (await engine.round());
 * ```
 */
export function openEngine({ config, model }: Loaded, device: Device, options: EngineOptions): Engine {
  const { known } = options, batch = Math.min(options.batch ?? 16, device.name === "cpu" ? MOST_ROWS : Infinity);
  const step: Step = compile(
    (model, cache, tokens, place, wanted) => next(config, known, model, cache, tokens, place, wanted),
    device,
    { donate: [1], steady: true },
  );
  const prompt = compile(
    (model: Loaded["model"], tokens: Ints<"batch" | "seq">, last: Ints<"batch">) =>
      prefill(config, known, model, tokens, last),
    device,
  );
  const empty = compile((rows: number, length: number) => emptyCache(config, rows, length), device);
  const join = compile(joined, device, { donate: [0] }), rearrange = compile(rearranged, device);
  let waiting: Sequence[] = [], state: State | undefined, prefilled: Prefilled | undefined;

  /** The first places, as many as `length`, of which `filled` hold tokens. */
  const placesOf = (length: number, filled: number): Ints<"key"> =>
    perPlace(Array.from({ length }, (_, place) => place < filled ? place : -1));

  /** As many rows as are wanted, with room for a text of `tokens` and one token more; those that run keep theirs. */
  async function makeRoom(wanted: number, tokens: number): Promise<void> {
    const count = Math.min(batch, powerAbove(wanted));
    if (!state) {
      const length = lengthFor(tokens);
      state = { cache: await empty(count, length), rows: new Array(count).fill(undefined), length };
      return;
    }
    const { cache, rows, length } = state, kept = rows.flatMap((row, i) => row ? [i] : []);
    const used = Math.max(tokens, ...kept.map((i) => rows[i]!.fed));
    if (used < length && count === rows.length) return;
    const order = count === rows.length
      ? rows.map((row, i) => row ? i : undefined)
      : Array.from({ length: count }, (_, i) => kept[i]);
    const longer = used < length ? length : lengthFor(used);
    const from = perRow(order.map((row) => row ?? -1));
    const moved = await rearrange(cache, from, placesOf(longer, Math.min(length, longer)));
    free(cache, device);
    state = { cache: moved, rows: order.map((row) => row === undefined ? undefined : rows[row]), length: longer };
  }

  /** Computes a prompt. */
  async function prefillOne(promptIds: readonly number[]): Promise<Prefilled> {
    const width = widthFor(promptIds.length), tokens = new Int32Array(width).fill(-1);
    tokens.set(promptIds);
    const out = await prompt(model, grid(1, width, tokens), perRow([promptIds.length - 1]));
    const logits = await values(out.logits, device, "batch", "vocab") as Float32Array;
    free(out.logits, device);
    return { promptIds, cache: out.cache, logits };
  }

  function forget(): void {
    if (prefilled) free(prefilled.cache, device);
    prefilled = undefined;
  }

  /** Gives a waiting sequence its first token, and a row if it goes on. */
  async function admit(sequence: Sequence, { promptIds, cache, logits }: Prefilled): Promise<void> {
    take(sequence, { logits });
    if (sequence.finished) return;
    await makeRoom(running() + 1 + waiting.length, promptIds.length);
    const { rows, length, cache: kept } = state!, row = rows.findIndex((row) => !row);
    state = undefined;
    const whole = await join(kept, int(row), cache, perRow([0]), placesOf(length, promptIds.length));
    state = { cache: whole, rows: rows.with(row, { sequence, fed: promptIds.length }), length };
  }

  /** One more token for each that runs. */
  async function decode(): Promise<void> {
    await makeRoom(running() + waiting.length, 1);
    const { cache, rows, length } = state!;
    const tokens = Int32Array.from(rows, (row) => row?.sequence.ids.at(-1) ?? 0);
    const logitsWanted = rows.some((row) => row?.sequence.needsLogits);
    const wanted = { picked: !logitsWanted, logits: logitsWanted };
    state = undefined;
    const out = await step(
      model,
      cache,
      grid(rows.length, 1, tokens),
      perRow(rows.map((row) => row?.fed ?? 0)),
      wanted,
    );
    state = { cache: out.cache, rows, length };
    const logits = out.logits && await values(out.logits, device, "batch", "vocab") as Float32Array;
    const picked = out.picked && await values(out.picked, device);
    free([out.logits, out.picked], device);
    rows.forEach((row, i) => {
      if (!row) return;
      row.fed++;
      take(row.sequence, logits ? { logits: logits.subarray(i * known, (i + 1) * known) } : { picked: picked![i] });
    });
  }

  /** A model knows so many positions and no more. */
  function take(sequence: Sequence, prediction: Prediction): void {
    sequence.accept(prediction);
    if (sequence.promptIds.length + sequence.ids.length >= longestText(config)) sequence.finish("length");
  }

  const running = (): number => state?.rows.filter((row) => row).length ?? 0;

  function dropFinished(): void {
    waiting = waiting.filter(({ finished }) => !finished);
    if (state) state = { ...state, rows: state.rows.map((row) => row?.sequence.finished ? undefined : row) };
  }

  return {
    add: (...sequences) => void waiting.push(...sequences),
    async round() {
      dropFinished();
      while (waiting.length > 0 && running() < batch) {
        if (prefilled?.promptIds !== waiting[0].promptIds) {
          forget();
          prefilled = await prefillOne(waiting[0].promptIds);
        }
        await admit(waiting.shift()!, prefilled);
      }
      if (prefilled?.promptIds !== waiting[0]?.promptIds) forget();
      if (running() > 0) await decode();
      dropFinished();
      if (running() + waiting.length > 0) return true;
      if (state) free(state.cache, device);
      state = undefined;
      return false;
    },
    [Symbol.dispose]() {
      forget();
      if (state) free(state.cache, device);
      state = undefined;
    },
  };
}
