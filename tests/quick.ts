/**
 * @file Tests that `deno task test:quick` leaves out unless they are named: each takes several seconds, starts programs,
 * or waits. What remains takes less than a minute on two cores. `deno task test` runs these after the others.
 */

/** Files and folders. */
export const slow: readonly string[] = [
  "bench",
  "backend/compiler/wgsl/wgsl_test.ts",
  "backend/compiler/wgsl/product_test.ts",
  "recipes/convert/gguf",
  "recipes/data/read",
  "recipes/demo",
  "recipes/evaluate/grading/grade_test.ts",
  "recipes/evaluate/programs",
  "recipes/evaluate/python",
  "recipes/evaluate/samples",
  "recipes/evaluate/sandbox",
  "recipes/generate",
  "recipes/model/loading_test.ts",
  "recipes/model/packing_test.ts",
  "recipes/serve",
  "recipes/snapshots",
  "recipes/training",
  "tests/cli",
  "tests/compiled/explain_test.ts",
  "tests/compiled/moe_step_test.ts",
  "tests/compiled/plans_test.ts",
  "tests/compiled/programs_test.ts",
  "tests/compiled/reach_test.ts",
  "tests/compiled/tiled_test.ts",
  "tests/library",
  "tests/primitives/edges_test.ts",
  "tests/random",
  "tests/shaders",
];
