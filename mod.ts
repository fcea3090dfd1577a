/**
 * XFT in Deno: upcycle a dense model into a mixture of experts, tune it on instructions, merge it back into a dense
 * model (arXiv 2404.15247), with a small language of named axes, its gradients and its compiler.
 *
 * Importing this module does no work and asks for no permission.
 *
 * @example
 * ```ts
 * import { add, compile, contract, grad, number, open, square, sum, tensor, type Tensor } from "./mod.ts";
 *
 * const loss = (w: Tensor<"embed">, x: Tensor<"batch" | "embed">) => sum(square(contract(x, w, "embed")));
 * const x = tensor({ batch: 2, embed: 2 }, [[1, 2], [3, 4]]), w = tensor({ embed: 2 }, [1, -1]);
 * using device = open("interpreter");
 * const value = await compile(loss, device)(w, x);
 * console.assert(number(value, device) === 2);
 * const slope = await compile((w: Tensor<"embed">) => sum(add(grad(loss)(w, x), 0)), device)(w);
 * console.assert(number(slope, device) === -20);
 * ```
 *
 * @module
 */

// The language: tensors whose axes have names, gradients, checkpoints, neural layers.
export * from "./dsl/mod.ts";

// Running programs: devices, compiling, memory.
export { compile, type Compiled, type CompileOptions, free, number, put, values } from "./backend/compile.ts";
export { open } from "./backend/open.ts";
export type { BuildOptions, Device, DeviceArray, Executable, Program } from "./backend/runtime.ts";

// A whole run of XFT as data: what `xft run` takes.
export { type Recipe, recipe, type RecipeBenchmark, type RecipeModel, type RecipeStage } from "./recipes/recipe.ts";
