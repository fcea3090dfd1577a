/** @file Optimisers by name. */
import type { Leaf } from "../model/layout.ts";
import { adafactor } from "./adafactor.ts";
import { adamw } from "./adamw.ts";
import { averageOf, ema, type EmaState } from "./ema.ts";
import { grouped } from "./groups.ts";
import { lion } from "./lion.ts";
import { muon } from "./muon.ts";
import type { Optimizer } from "./optimizer.ts";
import { narrow, type Precision } from "./precision.ts";
import { sgd } from "./sgd.ts";

export * from "./adafactor.ts";
export * from "./adamw.ts";
export * from "./ema.ts";
export * from "./groups.ts";
export * from "./lion.ts";
export * from "./muon.ts";
export * from "./optimizer.ts";
export * from "./precision.ts";
export * from "./schedule.ts";
export * from "./sgd.ts";

/** Optimisers that a command can name. */
export type OptimizerName = "adafactor" | "adamw" | "sgd" | "lion" | "muon";
/** The state of any of them: a tree of tensors that only the optimiser looks into. */
export type OptimizerState = Readonly<Record<string, unknown>>;

/** How weights move in a step, beside the rate. */
export interface Updates {
  /** How gradients become steps. */
  readonly optimizer: OptimizerName;
  /** Share of the weights taken off in each step, times the rate (default 0). */
  readonly weightDecay?: number;
  /**
   * Multiples of the rate, by a part of the leaves' paths (`{ router: 10, embedding: 0 }`): the first that a path
   * contains counts. 0 freezes: no gradient, no state.
   */
  readonly rates?: Readonly<Record<string, number>>;
  /** Keep a running mean of the weights, of which so much stays in each step (default: none). */
  readonly ema?: number;
  /** How weights are kept (default f32). */
  readonly precision?: Precision;
}

/** An optimiser for a model with this layout. */
export function optimizer(updates: Updates, layout: readonly Leaf[]): Optimizer<OptimizerState> {
  const { weightDecay = 0, rates, ema: decay, precision = "f32" } = updates;
  const named = {
    adafactor: () => adafactor(layout, { weightDecay }),
    adamw: () => adamw({ weightDecay }),
    sgd: () => sgd({ weightDecay }),
    lion: () => lion({ weightDecay }),
    muon: () => muon(layout, { weightDecay }),
  };
  const plain = named[updates.optimizer]() as unknown as Optimizer<OptimizerState>;
  const factorOf = (path: string): number =>
    Object.entries(rates ?? {}).find(([part]) => path.includes(part))?.[1] ?? 1;
  const parted = rates === undefined ? plain : grouped(plain, factorOf);
  const averaged = (decay === undefined ? parted : ema(parted, decay)) as Optimizer<OptimizerState>;
  if (precision === "f32") return averaged;
  return narrow(averaged, precision === "bf16" ? "chance" : "master") as Optimizer<OptimizerState>;
}

/** The running mean of the weights in an optimiser's state, as a tree like the parameters; nothing if there is none. */
export function averageIn<P>(parameters: P, state: OptimizerState): P | undefined {
  if (state.average) return averageOf(parameters, state as EmaState<unknown>);
  return state.inner ? averageIn(parameters, state.inner as OptimizerState) : undefined;
}
