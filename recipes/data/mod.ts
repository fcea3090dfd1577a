/** @file Instruction data: from files to batches. */
export * from "./batches.ts";
export * from "./examples.ts";
export * from "./instructions.ts";
export type { BatchOptions, HostBatch, Sample } from "../model/batch.ts";
export * from "./prepare.ts";
