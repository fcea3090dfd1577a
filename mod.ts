/**
 * @file XFT in Deno: upcycle a dense model into a mixture of experts, tune it on instructions, merge it back into a
 * dense model (arXiv 2404.15247), with a small language of named axes, its gradients and its compiler.
 *
 * Importing this module does no work and asks for no permission.
 *
 * @module
 */

// The language: tensors whose axes have names, gradients, checkpoints, neural layers.
export * from "./dsl/mod.ts";

// Running programs: devices, compiling, memory.
export { compile, type Compiled, type CompileOptions, free, number, put, values } from "./backend/compile.ts";
export { open } from "./backend/open.ts";
export type { BuildOptions, Device, DeviceArray, Executable, Program } from "./backend/runtime.ts";
