/** @file Every case, and who does it: ours, the roof of its kind, and the peers that can. */
import { join } from "node:path";
import type { ModelConfig } from "../recipes/convert/config.ts";
import { denseConfig } from "../recipes/merge/folder.ts";
import { countParameters } from "../recipes/model/layout.ts";
import type { Case, Cost, MergeWork, Work } from "./case.ts";
import { compileCases, startCases, startCommand, startCompile, startEmpty } from "./families/commands.ts";
import { generationCases } from "./families/generation.ts";
import { kernelCases, toyKernels } from "./families/kernels.ts";
import { longCases, toyLong } from "./families/long.ts";
import { mergeCases, ourMerge, placeFor, toyMerges } from "./families/merges.ts";
import { groupedCases, productCases, toyProducts } from "./families/products.ts";
import { scalingCases, stepCases, toySteps } from "./families/steps.ts";
import { peersFor } from "./peers/mod.ts";
import { root, type Running, startWorker } from "./processes.ts";
import type { Contestant } from "./rounds.ts";

/** All cases: at their real sizes, or small ones that only show that the suite runs. */
export const casesOf = (size: "full" | "toy"): readonly Case[] =>
  size === "toy" ? [...toySteps, ...toyProducts, ...toyKernels, ...toyLong, ...toyMerges] : [
    ...stepCases,
    ...productCases,
    ...groupedCases,
    ...kernelCases,
    ...longCases,
    ...generationCases,
    ...mergeCases,
    ...compileCases,
    ...startCases,
    ...scalingCases,
  ];

const started = (work: Work, signal?: AbortSignal): Promise<Running> => {
  switch (work.kind) {
    case "merge":
      return ourMerge(work, signal);
    case "start":
      return startCommand(work, signal);
    case "compile":
      return startCompile(work, signal);
    default: {
      const words = [Deno.execPath(), "run", "--quiet", "--allow-all", `${root}bench/worker.ts`] as const;
      return startWorker({ words }, work, signal);
    }
  }
};

/** What stands above a piece of work: OpenBLAS for its products, else a copy of its bytes; Deno's own start. */
function roofOf(work: Work, { products, bytes }: Cost, python: string | undefined): Contestant[] {
  if (work.kind === "start") return [{ name: "empty Deno script", role: "floor", start: startEmpty }];
  if (work.kind === "compile") return [];
  if (products.length > 0) return [python ? openBlas(python, products) : ownProduct(products)];
  if (!python || bytes === 0) return [];
  if (work.kind === "merge") {
    return [{
      name: "copy of the bytes",
      role: "roof",
      start: (signal) => startCopy(work, python, signal),
    }];
  }
  const words = [python, join(root, "bench/peers/roofs.py")] as const;
  return [{
    name: "copy (numpy)",
    role: "roof",
    start: (signal) => startWorker({ words }, { kind: "copy", bytes: bytes / 2 }, signal),
  }];
}

/** Reads what a merge reads and writes as much as it writes. */
async function startCopy(work: MergeWork, python: string, signal?: AbortSignal): Promise<Running> {
  const place = await placeFor(work), words = [python, join(root, "bench/peers/roofs.py")] as const;
  const inputs = place.inputs.map((folder) => join(folder, "model.safetensors"));
  const bytes = 4 * countParameters(withoutExperts(work.config)).total;
  const running = await startWorker({ words }, { kind: "files", inputs, out: place.out, bytes }, signal);
  const dispose = async (): Promise<void> => {
    await running[Symbol.asyncDispose]();
    await place[Symbol.asyncDispose]();
  };
  return { ...running, [Symbol.asyncDispose]: dispose };
}

const withoutExperts = (config: ModelConfig): ModelConfig => config.kind === "moe" ? denseConfig(config) : config;

const openBlas = (python: string, products: Cost["products"]): Contestant => ({
  name: "OpenBLAS (numpy)",
  role: "roof",
  start: (signal) =>
    startWorker({ words: [python, join(root, "bench/peers/roofs.py")] }, { kind: "products", products }, signal),
});

/** Without numpy the roof is our own largest product. */
const ownProduct = (products: Cost["products"]): Contestant => ({
  name: "our product at 2048³ (no numpy found)",
  role: "roof",
  start: async (signal) => {
    const edge = 2048, flops = products.reduce((sum, { m, n, k, count, share }) => sum + m * n * k * count * share, 0);
    const square = { kind: "product", pass: "forward", m: edge, n: edge, k: edge, storage: "f32" } as const;
    const running = await started(square, signal);
    return {
      ...running,
      round: async (seconds) => {
        const round = await running.round(seconds);
        return { ...round, seconds: round.seconds * flops / edge ** 3 };
      },
    };
  },
});

/** What the contestants of a case need from outside. */
export interface Surroundings {
  /** A Python with numpy, for roofs. */
  readonly numpy?: string;
  /** Do peers take part? */
  readonly peers: boolean;
}

/** Everybody who does a case: ours first. */
export const contestantsOf = ({ work, variants = {} }: Case, cost: Cost, around: Surroundings): Contestant[] => [
  { name: "xft", role: "ours", start: (signal) => started(work, signal) },
  ...Object.entries(variants).map(([name, variant]): Contestant => ({
    name: `xft, ${name}`,
    role: "ours",
    start: (signal) => started(variant, signal),
  })),
  ...roofOf(work, cost, around.numpy),
  ...around.peers ? peersFor(work) : [],
];
