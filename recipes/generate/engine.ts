/**
 * @file Continuous batching: texts of any length run together, and the next one takes a finished one's row. Prompts
 * (prefill) and single tokens (decode) are two plans; the cache of keys and values stays on the device.
 */
import { type Tensor, tensor } from "../../dsl/mod.ts";
import { compile, type Compiled, free, values } from "../../backend/compile.ts";
import type { Device } from "../../backend/runtime.ts";
import { longestText } from "../model/llama.ts";
import type { Loaded } from "../model/parameters.ts";
import { type Cache, emptyCache, joined, type Next, next, rearranged, type Wanted } from "./decode.ts";
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
/** The cache while sequences run: all rows write place `clock` next, and a row's tokens are the last ones before it. */
type State = { readonly cache: Cache; readonly rows: readonly (Running | undefined)[]; clock: number; length: number };
/** Prompts that were computed together, until all their sequences have a row. */
type Prefilled = {
  readonly prompts: readonly (readonly number[])[];
  cache: Cache;
  width: number;
  logits: Float32Array;
};

type Ints<A extends string> = Tensor<A, "int">;
type Step = Compiled<[Loaded["model"], Cache, Ints<"batch" | "seq">, Ints<never>, Ints<"batch">, Wanted], Next>;

const grid = (batch: number, seq: number, data: Int32Array): Ints<"batch" | "seq"> =>
  tensor({ batch, seq }, data, "i32");
const perRow = (data: readonly number[]): Ints<"batch"> => tensor({ batch: data.length }, Int32Array.from(data), "i32");
const perPlace = (data: readonly number[]): Ints<"key"> => tensor({ key: data.length }, Int32Array.from(data), "i32");
const int = (value: number): Ints<never> => tensor({}, Int32Array.of(value), "i32");

/** Few shapes are compiled: cache lengths and numbers of rows are powers of two. */
const powerAbove = (x: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, x)));
/** Places of a cache that holds so many tokens of a row: with room for more, so that rows seldom move. */
const lengthFor = (tokens: number): number => Math.max(128, powerAbove(tokens + Math.max(16, tokens / 8)));
/** Prompts are padded to a power of two, or to one and a half of it. */
export function widthFor(tokens: number): number {
  const power = Math.max(16, powerAbove(tokens));
  return power > 16 && tokens <= power * 3 / 4 ? power * 3 / 4 : power;
}
/** Tokens of prompts that are computed in one step, at most. */
const PREFILL_TOKENS = 4096;

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
export function openEngine({ config, model }: Loaded, device: Device, { batch = 16, known }: EngineOptions): Engine {
  const step: Step = compile(
    (model, cache, tokens, start, empty, wanted) => next(config, known, model, cache, tokens, start, empty, wanted),
    device,
    { donate: [1] },
  );
  const empty = compile((rows: number, length: number) => emptyCache(config, rows, length), device);
  const join = compile(joined, device, { donate: [0] }), rearrange = compile(rearranged, device);
  let waiting: Sequence[] = [], state: State | undefined, prefilled: Prefilled | undefined;

  /** Another shape, or another clock, for the same rows; those that are finished are left behind. */
  async function resize(rows: readonly (number | undefined)[], clock: number, length: number): Promise<void> {
    const { cache, rows: old, clock: before } = state!;
    const places = Array.from({ length }, (_, place) => {
      const from = place - clock + before;
      return from >= 0 && from < before ? from : -1;
    });
    const moved = await rearrange(cache, perRow(rows.map((row) => row ?? -1)), perPlace(places));
    free(cache, device);
    state = { cache: moved, rows: rows.map((row) => row === undefined ? undefined : old[row]), clock, length };
  }

  /** As many rows as are wanted, and a clock that leaves room for a text of `tokens` and one token more. */
  async function makeRoom(wanted: number, tokens: number): Promise<void> {
    const count = Math.min(batch, powerAbove(wanted));
    if (!state) {
      const length = lengthFor(tokens), rows = Array.from({ length: count }, () => undefined);
      state = { cache: await empty(count, length), rows, clock: tokens, length };
      return;
    }
    const { rows, clock, length } = state;
    const kept = rows.flatMap((row, i) => row ? [i] : []);
    const used = Math.max(tokens, ...kept.map((i) => rows[i]!.fed));
    const fits = clock >= tokens && clock < length;
    if (fits && count === rows.length) return;
    const order = count === rows.length
      ? rows.map((row, i) => row ? i : undefined)
      : Array.from({ length: count }, (_, i) => kept[i]);
    await resize(order, fits ? clock : used, fits ? length : lengthFor(used));
  }

  /** Computes the prompts of waiting sequences, as many as there is room for. */
  async function prefill(room: number): Promise<Prefilled> {
    const width = widthFor(waiting[0].promptIds.length);
    const distinct = [...new Set(waiting.slice(0, room).map(({ promptIds }) => promptIds))];
    const prompts = distinct.filter(({ length }) => widthFor(length) === width)
      .slice(0, Math.max(1, Math.floor(PREFILL_TOKENS / width)));
    // Of the rows that fill up the power of two nobody reads what comes out.
    const rows = powerAbove(prompts.length), tokens = new Int32Array(rows * width).fill(-1);
    prompts.forEach((ids, row) => tokens.set(ids, (row + 1) * width - ids.length));
    const gaps = Array.from({ length: rows }, (_, row) => width - (prompts[row]?.length ?? 0));
    const wanted = { picked: false, logits: true };
    const out = await step(model, await empty(rows, width), grid(rows, width, tokens), int(0), perRow(gaps), wanted);
    const logits = await values(out.logits!, device, "batch", "vocab") as Float32Array;
    free(out.logits, device);
    return { prompts, cache: out.cache, width, logits };
  }

  function forget(): void {
    if (prefilled) free(prefilled.cache, device);
    prefilled = undefined;
  }

  /** Gives a waiting sequence its first token, and a row if it goes on. */
  async function admit(sequence: Sequence, { prompts, cache, width, logits }: Prefilled): Promise<void> {
    const from = prompts.indexOf(sequence.promptIds), tokens = sequence.promptIds.length;
    take(sequence, { logits: logits.subarray(from * known, (from + 1) * known) });
    if (sequence.finished) return;
    await makeRoom(running() + 1 + waiting.length, tokens);
    const { rows, clock, length, cache: kept } = state!, row = rows.findIndex((row) => !row);
    const places = Array.from({ length }, (_, place) => {
      const at = place - clock + width;
      return at >= width - tokens && at < width ? at : -1;
    });
    state = undefined;
    const whole = await join(kept, int(row), cache, perRow([from]), perPlace(places));
    state = { cache: whole, rows: rows.with(row, { sequence, fed: tokens }), clock, length };
  }

  /** One more token for each that runs. */
  async function decode(): Promise<void> {
    await makeRoom(running() + waiting.length, 1);
    const { cache, rows, clock, length } = state!;
    const tokens = Int32Array.from(rows, (row) => row?.sequence.ids.at(-1) ?? 0);
    const gaps = rows.map((row) => clock - (row?.fed ?? 0));
    const logitsWanted = rows.some((row) => row?.sequence.needsLogits);
    const wanted = { picked: !logitsWanted, logits: logitsWanted };
    state = undefined;
    const out = await step(model, cache, grid(rows.length, 1, tokens), int(clock), perRow(gaps), wanted);
    state = { cache: out.cache, rows, clock: clock + 1, length };
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
        if (!prefilled?.prompts.includes(waiting[0].promptIds)) {
          forget();
          prefilled = await prefill(batch - running());
        }
        await admit(waiting.shift()!, prefilled);
      }
      if (!prefilled?.prompts.includes(waiting[0]?.promptIds)) forget();
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
