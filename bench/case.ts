/**
 * @file What is measured: a case is a piece of work, described as data so that another process (ours, or a peer in
 * another language) can be asked for the same.
 */
import type { ModelConfig } from "../recipes/convert/config.ts";

/** How weights are stored; arithmetic is f32 in any case. */
export type Storage = "f32" | "bf16";

/** Which product of a linear layer: Y = X·Wᵀ, dX = dY·W, dW = dYᵀ·X. */
export type Pass = "forward" | "dX" | "dW";

/** A matrix product of [m × k] and [k × n] of a linear layer with weights [n × k], `count` times in a step. */
export interface Product {
  readonly pass: Pass;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly count: number;
  /** The part of it that is asked for: a half for causal scores. */
  readonly share: number;
}

/** A whole training step: a dense model, a mixture, or the coefficients of a mixture's merge. */
export type StepWork = {
  readonly kind: "step";
  readonly step: "dense" | "moe" | "coefficients";
  readonly config: ModelConfig;
  readonly batch: number;
  readonly seq: number;
  readonly checkpoint: boolean;
  readonly storage: Storage;
  /** `false`: forward and backward alone, each gradient read once (default: the optimiser's update, too). */
  readonly update?: boolean;
  /** What runs the step (default: the CPU). */
  readonly device?: string;
  /** `off`: one kernel per operation (default `on`). */
  readonly fuse?: "on" | "off";
};

/** One product of a linear layer. */
export type ProductWork = Omit<Product, "count" | "share"> & {
  readonly kind: "product";
  readonly storage: Storage;
};

/** The same with rows sent to experts: `m` rows in all. */
export type GroupedWork = Omit<ProductWork, "kind"> & {
  readonly kind: "grouped";
  readonly experts: number;
  /** `even`: each expert as many rows; `uneven`: half of the rows to one, a quarter to the next, … */
  readonly routing: "even" | "uneven";
};

/** A kernel whose time goes into moving bytes. */
export type KernelWork = {
  readonly kind: "kernel";
  readonly kernel: "swiglu" | "softmax" | "rmsnorm" | "adafactor";
  readonly rows: number;
  readonly columns: number;
};

/** Attention, or the loss over a vocabulary, forward and backward, on one sequence. */
export type LongWork = {
  readonly kind: "long";
  readonly part: "attention" | "vocabulary";
  readonly seq: number;
  /** SmolLM2-135M's: heads, head size and vocabulary. */
  readonly config: ModelConfig;
  /** Are all scores, or all logits, kept in memory? (default: a tile of them at a time) */
  readonly stored?: boolean;
};

/** Text from SmolLM2: what one call of `generate` takes, and with no new token but the first, its prompt alone. */
export type GenerationWork = {
  readonly kind: "generation";
  readonly batch: number;
  readonly prompt: number;
  readonly tokens: number;
  /** Of matrices. */
  readonly storage: Storage;
};

/** Models into one, from folder to folder, by a whole command. */
export type MergeWork = {
  readonly kind: "merge";
  readonly method: "linear" | "ties" | "xft";
  /** The models' sizes; for `xft` a mixture's. */
  readonly config: ModelConfig;
  /** How many models go in (`xft`: one mixture). */
  readonly models: number;
};

/** The start of a command; without words that of an empty Deno script. */
export type StartWork = { readonly kind: "start"; readonly words: readonly string[] };

/** Tracing and compiling the training step of a 24-layer mixture (`compile.ts`). */
export type CompileWork = {
  readonly kind: "compile";
  /** Does its plan lie in the cache, from a process before this one? */
  readonly cached?: boolean;
};

/** Anything that is measured. */
export type Work =
  | StepWork
  | ProductWork
  | GroupedWork
  | KernelWork
  | LongWork
  | GenerationWork
  | MergeWork
  | StartWork
  | CompileWork;

/**
 * A roof: the products of some work by OpenBLAS, so many bytes read and written elsewhere, or files read and one written.
 */
export type RoofWork =
  | { readonly kind: "products"; readonly products: readonly Product[] }
  | { readonly kind: "copy"; readonly bytes: number }
  | { readonly kind: "files"; readonly inputs: readonly string[]; readonly out: string; readonly bytes: number };

/** What is measured against what: who does the same work is chosen by its kind. */
export interface Case {
  /** `family/what`, unique. */
  readonly name: string;
  readonly work: Work;
  /** Further ways of ours to do the same, timed in the same rounds: by what is said of them. */
  readonly variants?: Readonly<Record<string, Work>>;
  /** Cases of one plot, over a quantity. */
  readonly curve?: { readonly name: string; readonly over: string; readonly at: number };
}

/** What a piece of work costs at least, whoever does it. */
export interface Cost {
  /** Floating-point operations of the products: causal scores count half, recomputation does not count. */
  readonly flops: number;
  /** Bytes read and written; 0 where nobody counted them. */
  readonly bytes: number;
  /** What its products are: the roof is the time that OpenBLAS takes for them. None: the roof is copying the bytes. */
  readonly products: readonly Product[];
}

/** What one round of a contestant gave. */
export interface Round {
  /** Seconds of one piece of work: the best of those that the round had time for. */
  readonly seconds: number;
  /** Seconds that its threads computed for the work once, where it knows. */
  readonly computed?: number;
  /** How often the work was done in it (default: once). */
  readonly times?: number;
  /** Peak memory of processes that the contestant started, where it knows. */
  readonly peakBytes?: number;
}

/** What a contestant says once it is ready. */
export interface Ready {
  /** Losses of the steps that warmed it up: the same work gives the same. */
  readonly losses?: readonly number[];
  /** What it wants to say about itself: versions, settings. */
  readonly about?: string;
  /** Bytes that its plan moves, where it knows. */
  readonly bytes?: number;
  /** Bytes that its process held before the work: programs and libraries. */
  readonly baseBytes?: number;
}

/** A piece of work, prepared: each call does it once. */
export interface Prepared extends Ready {
  run(): Promise<void>;
}
