/** @file XFT's objective with λ learned too: one for each layer, or one for all. */
import type { Objective } from "./objective.ts";
import { xft } from "./xft.ts";

/** As `xft`; λ = sigmoid of a parameter of its layer. */
export const xftLambda: Objective = {
  ...xft,
  about: "XFT with λ learned per layer",
  learnsLambda: "each",
} as Objective;

/** As `xft`; λ = sigmoid of one parameter. */
export const xftOneLambda: Objective = { ...xft, about: "XFT with one λ learned", learnsLambda: "all" } as Objective;
