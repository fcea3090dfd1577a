/** @file The task family: small Python functions over lists, texts and numbers, asked for in words. */
export type { DomainName } from "./domain.ts";
export { type Mixture, pretrainingDocument, usualMixture } from "./documents.ts";
export { type Split, type Task, tasks } from "./generate.ts";
export { normalisedSyntax } from "./syntax.ts";
