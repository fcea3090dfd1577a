/** @file Instruction data: from files to batches. */
export * from "./batches.ts";
export * from "./chat.ts";
export { type Duplicates, type Removal } from "./clean/mod.ts";
export * from "./prepare.ts";
export { type Example, parseFields, type Placed, readExamples, type Turn } from "./read/mod.ts";
export type { Packing } from "./rows.ts";
export * from "./samples.ts";
export * from "./settings.ts";
export type { Lengths } from "./statistics.ts";
export * from "./templates.ts";
export * from "./tokenize.ts";
