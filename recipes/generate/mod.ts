/** @file Generation and what a model makes of given texts. */
export { generate, type GenerateOptions, type GenerateProgress, type Generation } from "./generate.ts";
export { type Continuation, type Likelihood, logLikelihoods } from "./likelihood.ts";
export { perplexity } from "./perplexity.ts";
export { type Decoder, type Finish } from "./sequence.ts";
export { type Sampling } from "./sampling/mod.ts";
