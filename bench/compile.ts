/**
 * @file How long tracing and compiling the training step of a 24-layer mixture takes, pass by pass:
 * `deno run --allow-env bench/compile.ts` (`--json`: one JSON array). Nothing is allocated and nothing runs.
 */
import { type Scalar, valueAndGradWith } from "../dsl/mod.ts";
import { withSources } from "../dsl/node.ts";
import { traced } from "../backend/compile.ts";
import { pipeline } from "../backend/compiler/pipeline.ts";
import { stopwatch } from "../backend/compiler/explain/stopwatch.ts";
import type { Capabilities } from "../backend/device.ts";
import { planStep } from "../recipes/explain.ts";
import type { Batch } from "../recipes/model/batch.ts";
import { type AnyModel, layout } from "../recipes/model/layout.ts";
import { lossFor } from "../recipes/model/loss.ts";
import { adafactor, type AdafactorState } from "../recipes/optim/adafactor.ts";
import { xft } from "../recipes/objectives/xft.ts";
import { mixtureOf } from "./families/sizes.ts";
import { graphics, processor } from "./plan.ts";

/** A case: what is compiled for, and how. */
export interface CompileCase {
  readonly name: string;
  readonly capabilities: Capabilities;
  /** Is the line of source of every operation noted, as for `explain`? */
  readonly sources: boolean;
}

/** What a case took. */
export interface CompileTimes {
  readonly name: string;
  /** Kernels of the plan. */
  readonly kernels: number;
  /** Tracing, differentiating, the optimiser's update and each pass, in the order in which they first ran. */
  readonly passes: Readonly<Record<string, number>>;
  /** All of it. */
  readonly seconds: number;
}

/** The cases of the table; the first one has a process to itself that has compiled nothing yet. */
export const cases: readonly CompileCase[] = [
  { name: "processor, first", capabilities: processor, sources: false },
  { name: "processor, again", capabilities: processor, sources: false },
  { name: "graphics card", capabilities: graphics, sources: false },
  { name: "with lines of source", capabilities: processor, sources: true },
];

/** Traces and compiles a mixture's training step (24 layers of 1.3 B sizes, checkpointed, Adafactor, 1,024 tokens). */
export function compileTimes({ name, capabilities, sources }: CompileCase): CompileTimes {
  const config = mixtureOf("1.3B"), checkpoint = true, watch = stopwatch();
  const { args, donate } = planStep(config, {
    step: "train",
    optimizer: "adafactor",
    objective: xft,
    batch: 1,
    seq: 1024,
    checkpoint,
  });
  // `trainStep`, with its parts told apart.
  const loss = lossFor(config, { checkpoint }), { step } = adafactor(layout(config));
  const trainStep = (model: AnyModel, state: AdafactorState, batch: Batch, _: unknown, rate: Scalar) => {
    const traced = (model: AnyModel, batch: Batch) => watch.run("trace", () => loss(model, batch, null));
    const { value, grad } = watch.run("differentiate", () => valueAndGradWith(traced)(model, batch));
    return { value, ...watch.run("update", () => step(model, grad, state, rate)) };
  };
  const began = performance.now();
  const compiled = (sources ? withSources : run)(() => {
    const { program, donated, hosted } = watch.run(
      "trace",
      () => traced(trainStep as (...args: readonly unknown[]) => unknown, args, donate),
    );
    return pipeline(program, { donated, hosted, capabilities, fuse: "on", poison: false, watch });
  });
  const seconds = (performance.now() - began) / 1e3;
  return {
    name,
    kernels: compiled.plan.steps.length,
    passes: Object.fromEntries([...watch.milliseconds].map(([pass, milliseconds]) => [pass, milliseconds / 1e3])),
    seconds,
  };
}

const run = <T>(work: () => T): T => work();

if (import.meta.main) {
  const times = cases.map(compileTimes);
  if (Deno.args.includes("--json")) console.log(JSON.stringify(times));
  else {
    const names = [...new Set(times.flatMap(({ passes }) => Object.keys(passes)))];
    const milliseconds = (seconds: number | undefined): string =>
      seconds === undefined ? "" : (seconds * 1e3).toFixed();
    const rows = [
      ["milliseconds", ...times.map(({ name }) => name)],
      ...names.map((pass) => [pass, ...times.map(({ passes }) => milliseconds(passes[pass]))]),
      ["sum", ...times.map(({ seconds }) => milliseconds(seconds))],
    ];
    const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
    for (const row of rows) {
      console.log(row.map((cell, i) => i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])).join("  "));
    }
  }
}
