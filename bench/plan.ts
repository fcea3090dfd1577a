/**
 * @file What the steps of a model of DeepSeek-Coder-1.3B's sizes take, planned without running: `deno task plan`
 * (`--small`: SmolLM2-135M's sizes; `--json`: one JSON array). Kernels, work, bytes moved, intermediate memory, and how
 * long it took to trace and compile them.
 */
import type { Capabilities } from "../backend/device.ts";
import { explainStep } from "../recipes/explain.ts";
import { xft } from "../recipes/objectives/xft.ts";
import { denseOf, mixtureOf, type SizeName } from "./families/sizes.ts";

/** A processor without limits. */
export const processor: Capabilities = {
  kind: "cpu",
  name: "a processor",
  maxBindings: 64,
  maxBindingBytes: Number.MAX_SAFE_INTEGER,
  maxBufferBytes: Number.MAX_SAFE_INTEGER,
  memoryBytes: Number.MAX_SAFE_INTEGER,
  software: false,
  maxWorkgroupSize: 1024,
  workgroupMemoryBytes: 1 << 20,
};

/** A graphics card with what WebGPU promises at least, and memory without limit. */
export const graphics: Capabilities = {
  ...processor,
  kind: "wgpu",
  name: "a graphics card",
  maxBindings: 8,
  maxWorkgroupSize: 256,
  workgroupMemoryBytes: 1 << 14,
};

/** A planned step in numbers. */
export interface Planned {
  readonly name: string;
  readonly kernels: number;
  readonly distinct: number;
  readonly gigaflops: number;
  readonly gibibytesMoved: number;
  readonly gibibytesArena: number;
  /** Tracing and compiling. */
  readonly seconds: number;
}

/** All steps of a model of these sizes, on one row of `seq` tokens. */
function plans(size: SizeName, seq: number): Planned[] {
  const dense = denseOf(size), moe = mixtureOf(size);
  const steps = [
    ["dense step", dense, "train", false, "f32"],
    ["dense step, layers checkpointed", dense, "train", true, "f32"],
    ["dense step, checkpointed, weights of 16 bits", dense, "train", true, "bf16"],
    ["mixture step, 8 experts", moe, "train", false, "f32"],
    ["mixture step, layers checkpointed", moe, "train", true, "f32"],
    ["mixture step, checkpointed, weights of 16 bits", moe, "train", true, "bf16"],
    ["coefficient step", moe, "learn", false, "f32"],
    ["loss alone", dense, "loss", false, "f32"],
  ] as const;
  return steps.map(([name, config, step, checkpoint, precision]) => {
    const began = performance.now();
    const { steps, distinct, flops, moved, arena } = explainStep(config, processor, {
      step,
      checkpoint,
      precision,
      batch: 1,
      seq,
      optimizer: "adafactor",
      objective: xft,
    });
    return {
      name,
      kernels: steps,
      distinct,
      gigaflops: flops / 1e9,
      gibibytesMoved: moved / 2 ** 30,
      gibibytesArena: arena / 2 ** 30,
      seconds: (performance.now() - began) / 1e3,
    };
  });
}

const columns: readonly (readonly [title: string, cell: (row: Planned) => string])[] = [
  ["step", ({ name }) => name],
  ["kernels", ({ kernels }) => `${kernels}`],
  ["distinct", ({ distinct }) => `${distinct}`],
  ["GFLOP", ({ gigaflops }) => gigaflops.toFixed(1)],
  ["GiB moved", ({ gibibytesMoved }) => gibibytesMoved.toFixed(1)],
  ["GiB arena", ({ gibibytesArena }) => gibibytesArena.toFixed(2)],
  ["seconds", ({ seconds }) => seconds.toFixed(2)],
];

if (import.meta.main) {
  const rows = plans(Deno.args.includes("--small") ? "smollm2" : "1.3B", 1024);
  if (Deno.args.includes("--json")) console.log(JSON.stringify(rows));
  else {
    const cells = [columns.map(([title]) => title), ...rows.map((row) => columns.map(([, cell]) => cell(row)))];
    const widths = columns.map((_, i) => Math.max(...cells.map((row) => row[i].length)));
    for (const row of cells) {
      console.log(row.map((cell, i) => i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])).join("  "));
    }
  }
}
