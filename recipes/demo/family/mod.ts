/** @file The task family: small Python functions over lists, texts and numbers, asked for in words. */
export { type Arguments, type Domain, type DomainName, drawArguments, type Step, type Value } from "./domain.ts";
export { type Mixture, type PretrainingDocument, pretrainingDocument, usualMixture } from "./documents.ts";
export {
  type Composition,
  compositions,
  domains,
  evaluate,
  instruction,
  phrase,
  type Program,
  program,
  source,
  type Split,
  splitOf,
  type Task,
  task,
  tasks,
  type Variety,
} from "./generate.ts";
export { type Erasure, normalisedSyntax, shape } from "./syntax.ts";
