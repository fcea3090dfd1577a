/** @file Optimisers by name. */
import type { Leaf } from "../model/layout.ts";
import { adafactor, type AdafactorState } from "./adafactor.ts";
import { adamw, type AdamWState } from "./adamw.ts";
import type { Optimizer } from "./optimizer.ts";
import { lion, type LionState } from "./lion.ts";
import { muon, type MuonState } from "./muon.ts";
import { sgd, type SgdState } from "./sgd.ts";

export * from "./adafactor.ts";
export * from "./adamw.ts";
export * from "./ema.ts";
export * from "./groups.ts";
export * from "./lion.ts";
export * from "./muon.ts";
export * from "./optimizer.ts";
export * from "./schedule.ts";
export * from "./sgd.ts";

/** Optimisers that a command can name. */
export type OptimizerName = "adafactor" | "adamw" | "sgd" | "lion" | "muon";
/** The state of any of them. */
export type OptimizerState = AdafactorState | AdamWState | SgdState | LionState | MuonState;

/** An optimiser for a model with this layout. */
export function optimizer(name: OptimizerName, layout: readonly Leaf[], weightDecay = 0): Optimizer<OptimizerState> {
  const made = {
    adafactor: () => adafactor(layout, { weightDecay }),
    adamw: () => adamw({ weightDecay }),
    sgd: () => sgd({ weightDecay }),
    lion: () => lion({ weightDecay }),
    muon: () => muon(layout, { weightDecay }),
  };
  return made[name]() as Optimizer<OptimizerState>;
}
