/** @file Plans in the cache: found again for the same program, and for no other; damaged or too large, compiled. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { routing } from "../../bench/families/sizes.ts";
import { processor } from "../../bench/plan.ts";
import { traced } from "../../backend/compile.ts";
import { pipeline, type PipelineOptions } from "../../backend/compiler/pipeline.ts";
import { planKey, prune, type Runnable, runnable } from "../../backend/plans/cache.ts";
import type { Program } from "../../backend/runtime.ts";
import { UserError } from "../../dsl/errors.ts";
import { topological } from "../../dsl/node.ts";
import { planStep } from "../../recipes/explain.ts";
import { xft } from "../../recipes/objectives/xft.ts";
import { withTempDir } from "../support.ts";

const config = {
  kind: "moe",
  vocabSize: 96,
  hiddenSize: 16,
  ffnSize: 24,
  layers: 2,
  heads: 2,
  kvHeads: 1,
  headDim: 8,
  maxPositions: 64,
  normEps: 1e-6,
  ropeTheta: 1e4,
  ropeScaling: null,
  tied: false,
  ...routing,
} as const;

/** A training step, traced anew, and how it is compiled. */
function step(seq = 64, memoryBytes = 2 ** 40): { program: Program; options: PipelineOptions } {
  const { f, args, donate } = planStep(config, {
    step: "train",
    optimizer: "adafactor",
    objective: xft,
    batch: 1,
    seq,
    checkpoint: true,
  });
  // The batch is closed over: its leaves are captured.
  const closed = (model: unknown, state: unknown): unknown => f(model, state, ...args.slice(2));
  const { program, donated, hosted } = traced(closed, [args[0], args[1]], donate);
  const capabilities = { ...processor, memoryBytes };
  // Tiles of a small step, so that the compiler's own leaves (counters) are among the arguments.
  return { program, options: { donated, hosted, capabilities, fuse: "on", poison: false, largeBytes: 1024 } };
}

/** Compiles a step by way of a folder of plans; `compiled`: was it not there? */
function run(folder: string, { program, options } = step()): { made: Runnable; compiled: boolean; program: Program } {
  let compiled = false;
  const compile = (): Runnable => {
    compiled = true;
    return pipeline(program, options);
  };
  return { made: runnable(program, options, compile, folder), compiled, program };
}

Deno.test("a step traced again has the key it had; any other program, setting or compiler has another", () => {
  const { program, options } = step(), key = planKey(program, options, "1");
  assert(key !== undefined, "the step is too small to be kept");
  const again = step();
  assertEquals(planKey(again.program, again.options, "1"), key);
  const { capabilities, donated } = options;
  const others = [
    planKey(step(65).program, options, "1"),
    planKey(program, options, "2"),
    planKey(program, { ...options, fuse: "off" }, "1"),
    planKey(program, { ...options, donated: donated.map((each) => !each) }, "1"),
    planKey(program, { ...options, capabilities: { ...capabilities, maxBindings: 8 } }, "1"),
    planKey({ ...program, results: program.results.toReversed() }, options, "1"),
  ];
  assertEquals(new Set([key, ...others]).size, 7);
});

Deno.test("a plan comes back as it was compiled, for the new program's own leaves; a damaged one is compiled", () =>
  withTempDir((folder) => {
    const first = run(folder), second = run(folder);
    assertEquals([first.compiled, second.compiled], [true, false]);
    assertEquals(second.made.plan, JSON.parse(JSON.stringify(first.made.plan)));
    assertEquals([second.made.results, second.made.uploads], [first.made.results, first.made.uploads]);
    const own = new Set(topological(second.program.results));
    const captured = [first, second].map(({ made }) =>
      made.arguments.flatMap((each) => each.kind === "captured" ? [each.leaf] : [])
    );
    assertEquals(captured[1].map(({ shape }) => shape), captured[0].map(({ shape }) => shape));
    const added = captured[1].filter((leaf) => !own.has(leaf));
    assert(captured[1].length > added.length && added.length > 0, "the step has no leaves of both kinds");

    const [{ name }] = [...Deno.readDirSync(folder)], path = join(folder, name), text = Deno.readTextFileSync(path);
    Deno.writeTextFileSync(path, text.replace('"version":1', '"version":2'));
    assertEquals([run(folder).compiled, run(folder).compiled], [true, false]);
    assertEquals(Deno.readTextFileSync(path), text);
    // What lies there but does not fit is refused in the compiler's words.
    assertThrows(() => run(folder, step(64, 2 ** 16)), UserError, "The program needs");
  }));

Deno.test("the folder of plans is bounded: what was used longest ago goes", () =>
  withTempDir((folder) => {
    ["old", "older", "new"].forEach((name, i) => {
      Deno.writeTextFileSync(join(folder, name), "x".repeat(100));
      Deno.utimeSync(join(folder, name), [200, 100, 300][i], [200, 100, 300][i]);
    });
    prune(folder, 250);
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), ["new", "old"]);
  }));
