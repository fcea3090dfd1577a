/**
 * @file What is learned step by step is kept between two steps, and at an interrupt first of all: how far it is, and who
 * keeps it. Training and the learning of coefficients do it alike.
 */
import type { Fields } from "../convert/fields.ts";
import type { AnyModel } from "../model/layout.ts";
import type { OptimizerState } from "../optim/mod.ts";

/** How far a training is: all that is needed to go on, beside the tensors. */
export interface Position {
  /** Steps made. */
  readonly step: number;
  /** Scored tokens seen. */
  readonly tokens: number;
  /** The step after which the validation set was last measured (−1: never). */
  readonly measured: number;
  /** Its loss the first time. */
  readonly before?: number;
  /** And the last time. */
  readonly after?: number;
}

/** Coefficients on the host. */
export interface LearnPoint {
  /** A row for each layer. */
  readonly alpha: readonly (readonly number[])[];
  /** Share of the shared expert, layer by layer. */
  readonly lambda: readonly number[];
}

/** How far the learning of coefficients is. */
export interface LearnPosition {
  /** Steps made. */
  readonly step: number;
  /** The step after which the validation set was last looked at (−1: never). */
  readonly measured: number;
  /** Tokens on which the mask was proven causal, before the first step. */
  readonly causalTokens?: number;
  /** The best point seen so far. */
  readonly best?: { readonly step: number; readonly loss: number; readonly point: LearnPoint };
  /** Losses of merges that it is compared with, by what they are. */
  readonly losses: Readonly<Record<string, number>>;
}

/**
 * Where what is learned (a model, or coefficients) is kept between two steps. Batches, rates and noise depend on the step
 * alone: they need no keeping.
 */
export interface Snapshots<P = Position, M = AnyModel, S = OptimizerState> {
  /** Steps between two of them. */
  readonly every: number;
  /** Keeps a training as it is. */
  save(state: { readonly position: P; readonly model: M; readonly state: S }): Promise<void>;
  /** Writes what was kept last into the memory of a training that has not begun; undefined: there is nothing. */
  restore(model: M, state: S): P | undefined;
}

/** A training's position, as JSON has it. @throws {UserError} if it is none */
export const readPosition = (json: Fields): Position => ({
  step: json.number("step"),
  tokens: json.number("tokens"),
  measured: json.number("measured"),
  ...(json.has("before") && { before: json.number("before") }),
  ...(json.has("after") && { after: json.number("after") }),
});

/** As {@link readPosition}, of coefficients. @throws {UserError} if it is none */
export function readLearnPosition(json: Fields): LearnPosition {
  const best = json.object("best"), point = best?.object("point");
  return {
    step: json.number("step"),
    measured: json.number("measured"),
    ...(json.has("causalTokens") && { causalTokens: json.number("causalTokens") }),
    ...(best && point && {
      best: {
        step: best.number("step"),
        loss: best.number("loss"),
        point: { alpha: point.rows("alpha"), lambda: point.numbers("lambda") },
      },
    }),
    losses: json.table("losses"),
  };
}

/**
 * Runs what a signal may end between two steps; there `keep` comes first, whatever was being done: after it the step is
 * made, the measurement that was under way is made again.
 *
 * @param keep undefined while there is nothing to keep, or a step is half made
 */
export async function keptAtInterrupt<T>(
  run: () => Promise<T>,
  signal: AbortSignal | undefined,
  keep: () => (() => Promise<void>) | undefined,
): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (signal?.aborted && error === signal.reason) await keep()?.();
    throw error;
  }
}
