/** @file `xft doctor`: what this machine offers, and whether it computes right. */
import { compile, put, values } from "../../../backend/compile.ts";
import { type Adapter, type CooperativeMatrices, listAdapters } from "../../../backend/device.ts";
import { libraryPath } from "../../../backend/library/library.ts";
import { type KernelReport, withRoofs } from "../../../backend/compiler/explain/explain.ts";
import { capabilitiesOf, open } from "../../../backend/open.ts";
import { roofsOf } from "../../../backend/roofs.ts";
import type { ModelConfig } from "../../convert/config.ts";
import { profileStep } from "../../explain.ts";
import { xft } from "../../objectives/xft.ts";
import { contract, read, softmax, type Tensor, tensor } from "../../../dsl/mod.ts";
import { UserError } from "../../../dsl/errors.ts";
import type { commands } from "../commands.ts";
import type { Context, JsonResult } from "../context.ts";
import { columns, size } from "../output/format.ts";
import type { Arguments } from "../flags/schema.ts";

/** Largest difference from the f64 interpreter that counts as right, for values up to 1. */
const TOLERANCE = 1e-5;

type Matrix = Tensor<"row" | "inner">;

interface Report {
  readonly device: string;
  readonly name: string;
  readonly software: boolean;
  readonly memory_bytes: number;
  readonly right: boolean;
  readonly largest_difference: number;
  readonly gflops: number;
  readonly start_seconds: number;
  /** Of an adapter of wgpu; none: products add in registers. */
  readonly cooperative_matrices?: readonly CooperativeMatrices[];
  readonly bench?: Bench;
}

/** What a device reaches at best, and in a training step. */
interface Bench {
  readonly roof_flops_per_second: number;
  readonly roof_bytes_per_second: number;
  /** Of a dense training step; absent where the device has no clock for its kernels. */
  readonly step?: {
    readonly flops_per_second: number;
    readonly bytes_per_second: number;
    /** Time that its kernels would take at their roofs, by the time that they took. */
    readonly share_of_roof: number;
  };
}

/** The step that is measured: a small dense model. */
const model: ModelConfig = {
  kind: "llama",
  vocabSize: 512,
  hiddenSize: 256,
  ffnSize: 688,
  layers: 2,
  heads: 8,
  kvHeads: 8,
  headDim: 32,
  maxPositions: 256,
  normEps: 1e-6,
  ropeTheta: 10_000,
  ropeScaling: null,
  tied: true,
};

/** Measures the roofs anew, and a training step against them. */
async function measured(name: string, signal: AbortSignal): Promise<Bench> {
  const capabilities = await capabilitiesOf(name);
  using device = await open(name, { signal });
  const roofs = await roofsOf(device, capabilities, { remeasure: true });
  const options = { step: "train", batch: 2, seq: 128, optimizer: "adafactor", objective: xft } as const;
  const report = withRoofs(await profileStep(model, device, options, { signal }), roofs);
  const sum = (of: (kernel: KernelReport) => number): number => report.kernels.reduce((all, each) => all + of(each), 0);
  const seconds = sum(({ seconds = 0 }) => seconds);
  return {
    roof_flops_per_second: roofs.flopsPerSecond,
    roof_bytes_per_second: roofs.bytesPerSecond,
    ...(report.timed && {
      step: {
        flops_per_second: report.flops / seconds,
        bytes_per_second: report.moved / seconds,
        share_of_roof: sum(({ seconds = 0, roof }) => seconds * (roof?.share ?? 0)) / seconds,
      },
    }),
  };
}

function benchText({ roof_flops_per_second, roof_bytes_per_second, step }: Bench): string {
  const rates = (flops: number, bytes: number): string[] => [`${(flops / 1e9).toFixed(1)} GFLOP/s`, `${size(bytes)}/s`];
  return columns([
    ["  roofs", ...rates(roof_flops_per_second, roof_bytes_per_second), "products; copying"],
    step
      ? [
        "  train step",
        ...rates(step.flops_per_second, step.bytes_per_second),
        `${(100 * step.share_of_roof).toFixed(1)}% of the roofs, kernel by kernel`,
      ]
      : ["  train step", "", "", "not measured: the adapter has no timestamps"],
  ]);
}

/** The sizes and types of an adapter's cooperative matrices, in words. */
export function matricesText(matrices: readonly CooperativeMatrices[]): string {
  const texts = matrices.map(({ m, n, k, operands, sums }) => `${m} × ${n} × ${k} of ${operands}, sums ${sums}`);
  return `  cooperative matrices: ${texts.join("; ") || "none"}`;
}

/** Runs the command. */
export async function run(args: Arguments<typeof commands.doctor>, context: Context): Promise<JsonResult> {
  const library = libraryPath();
  const adapters = listAdapters();
  const cores = navigator.hardwareConcurrency;
  context.print(columns([
    ["platform", `${Deno.build.target}, ${cores} cores, Deno ${Deno.version.deno}`],
    ["library", library],
    ["adapters", adapters.map(({ name, software }) => software ? `${name} (software)` : name).join(", ") || "none"],
  ]));
  const names = args.device === "auto" ? everything(adapters) : [args.device];
  const devices: (Report | { readonly device: string; readonly error: string })[] = [];
  for (const device of names) {
    context.signal.throwIfAborted();
    try {
      const report = await examine(device, args.seed);
      const bench = args.bench ? await measured(device, context.signal) : undefined;
      devices.push({ ...report, ...(bench && { bench }) });
      context.print(columns([[
        `${device}:`,
        report.right ? "right" : `WRONG by ${report.largest_difference.toExponential(1)}`,
        `${report.gflops.toFixed(1)} GFLOP/s`,
        Number.isFinite(report.memory_bytes) ? size(report.memory_bytes) : "memory unknown",
        report.name,
      ]]));
      if (report.cooperative_matrices) context.print(matricesText(report.cooperative_matrices));
      if (bench) context.print(benchText(bench));
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      devices.push({ device, error: error.message });
      context.print(`${device}: ${error.message}`);
    }
  }
  if (adapters.length === 0 && args.device === "auto") {
    context.print("No adapter: on Linux the Vulkan loader (libvulkan1) and a driver (mesa-vulkan-drivers) make one.");
  }
  const bad = devices.filter((one) => "error" in one || !one.right).map(({ device }) => device);
  if (bad.length > 0) throw new UserError(`${bad.join(", ")}: the self-test failed.`);
  return { platform: Deno.build.target, cores, deno: Deno.version.deno, library, adapters, devices };
}

/** Compares a small program with the interpreter, then times a larger product. */
async function examine(name: string, seed: number): Promise<Report> {
  const started = performance.now();
  const capabilities = await capabilitiesOf(name);
  using device = await open(name);
  const start = (performance.now() - started) / 1000;
  const product = compile(
    (x: Matrix, y: Tensor<"inner" | "column">) => softmax(contract(x, y, "inner"), "column"),
    device,
  );
  const x = tensor({ row: 33, inner: 70 }, noise(33 * 70, seed));
  const y = tensor({ inner: 70, column: 65 }, noise(70 * 65, seed + 1));
  const found = await values(await product(x, y), device, "row", "column");
  const expected = read(softmax(contract(x, y, "inner"), "column"), "row", "column");
  const difference = expected.reduce((worst, value, index) => Math.max(worst, Math.abs(value - found[index])), 0);

  const edge = capabilities.software ? 256 : 1024;
  const plain = compile((a: Matrix, b: Tensor<"inner" | "column">) => contract(a, b, "inner"), device);
  const a = put(tensor({ row: edge, inner: edge }, noise(edge * edge, seed + 2)), device);
  const b = put(tensor({ inner: edge, column: edge }, noise(edge * edge, seed + 3)), device);
  let best = Infinity;
  for (let round = 0; round < 4; round++) {
    const from = performance.now();
    await values(await plain(a, b), device);
    best = Math.min(best, (performance.now() - from) / 1000);
  }
  return {
    device: name,
    name: capabilities.name,
    software: capabilities.software,
    memory_bytes: capabilities.memoryBytes,
    right: difference <= TOLERANCE,
    largest_difference: difference,
    gflops: 2 * edge ** 3 / best / 1e9,
    start_seconds: start,
    ...(capabilities.kind === "wgpu" && { cooperative_matrices: capabilities.cooperativeMatrices ?? [] }),
  };
}

/** What there is to try: Deno's own WebGPU finds an adapter where wgpu does. */
function everything(adapters: readonly Adapter[]): string[] {
  return ["cpu", ...adapters.map(({ name }) => `wgpu:${name}`), ...(adapters.length > 0 ? ["webgpu"] : [])];
}

/** Numbers between −1 and 1 that depend on the seed alone (a multiplicative hash; quality does not matter here). */
function noise(count: number, seed: number): Float32Array {
  return Float32Array.from({ length: count }, (_, index) => {
    const mixed = Math.imul((index + 1) ^ Math.imul(seed + 1, 0x9e3779b1), 0x85ebca6b);
    return ((mixed ^ (mixed >>> 13)) >>> 0) / 2 ** 31 - 1;
  });
}
