/** @file XFT's objective with λ learned too, one for each layer. */
import type { Objective } from "./objective.ts";
import { xft } from "./xft.ts";

/** As `xft`; λ = sigmoid of a parameter of its layer. */
export const xftLambda: Objective = { ...xft, about: "XFT with λ learned per layer", learnsLambda: true } as Objective;
