/**
 * @file Dense → mixture: every expert starts as the dense network, so that the mixture computes at first what the dense
 * model computes. That is proved on the user's own text before anything is trained.
 */
import { UserError } from "../dsl/errors.ts";
import { abs, less, max, not, sub, where } from "../dsl/mod.ts";
import type { Checkpoint, TensorOut } from "../backend/checkpoint.ts";
import { compile, number } from "../backend/compile.ts";
import type { Device } from "../backend/runtime.ts";
import type { ModelConfig } from "./convert/config.ts";
import { type ModelOutOptions, openModel, writeModelFolder } from "./convert/huggingface.ts";
import { expectedTensors } from "./convert/names.ts";
import { type Batch, type HostBatch, toBatch } from "./model/batch.ts";
import { seeded } from "./random.ts";
import { llama, type Model, swiglu } from "./model/llama.ts";
import { type Moe, moe } from "./model/moe.ts";
import type { Dense, Mixture } from "./model/parameters.ts";

/** What kind of mixture is made. */
export interface UpcycleSettings {
  /** All experts, the shared one included. */
  readonly experts: number;
  /** Experts that a token uses, the shared one included. */
  readonly active: number;
  /** One matrix, or Linear → tanh → Linear (default: linear). */
  readonly router?: "linear" | "mlp";
  /** `copy`: every expert is the dense network; `drop`: a share of each routed expert's channels starts afresh. */
  readonly init?: "copy" | "drop";
  /** That share (default 0.5, arXiv 2502.19261). */
  readonly share?: number;
  /** Noise in the routers while training (default: none). */
  readonly noise?: boolean;
  /** Gates that sum to 1 (default); false is the paper's ablation. */
  readonly normalised?: boolean;
  /** Weight of the balance loss (default 0.01). */
  readonly balanceWeight?: number;
  /** Start of the routers' random weights. */
  readonly seed?: number;
  /** Standard deviation of the routers' random weights (default 0.02: no expert is preferred much). */
  readonly routerDeviation?: number;
}

/** The mixture's settings. @throws {UserError} if there cannot be such a mixture */
export function mixtureConfig(dense: ModelConfig, settings: UpcycleSettings): ModelConfig & { readonly kind: "moe" } {
  const { experts, active, router = "linear", noise = false, normalised = true, balanceWeight = 0.01 } = settings;
  if (dense.kind === "moe") throw new UserError("this model is a mixture already.");
  if (!Number.isInteger(experts) || experts < 2) {
    throw new UserError(`--experts ${experts}: a mixture has the shared expert and at least one more.`, {
      usage: true,
    });
  }
  if (!Number.isInteger(active) || active < 2 || active > experts) {
    throw new UserError(
      `--active ${active}: a token uses the shared expert and at least one more, at most all ${experts} (--experts).`,
      { usage: true },
    );
  }
  return { ...dense, kind: "moe", experts, active, router, normalised, noise, noiseEpsilon: 0.01, balanceWeight };
}

/** Normal numbers for a tensor of this name: every tensor has its own, in whatever order they are made. */
function random(name: string, seed: number, length: number, deviation: number): Float32Array {
  const own = seeded(`${seed}:${name}`);
  return new Float32Array(length).map(() => deviation * own.normal());
}

/** The channels of an expert that start afresh: the same for its gate, up and down. */
function droppedChannels(prefix: string, seed: number, channels: number, share: number): boolean[] {
  const all = Array.from({ length: channels }, (_, i) => i), dropped = new Array<boolean>(channels).fill(false);
  for (const i of seeded(`${seed}:${prefix}`).sample(all, Math.round(share * channels))) dropped[i] = true;
  return dropped;
}

/** A matrix whose dropped channels are normal numbers of the matrix's own mean and deviation (arXiv 2502.19261). */
function redraw(matrix: Float32Array, name: string, config: ModelConfig, seed: number, share: number): Float32Array {
  const [, prefix, which] = /^(.*)\.(gate|up|down)_proj\.weight$/.exec(name)!;
  const dropped = droppedChannels(prefix, seed, config.ffnSize, share);
  const mean = matrix.reduce((sum, x) => sum + x, 0) / matrix.length;
  const deviation = Math.sqrt(matrix.reduce((sum, x) => sum + (x - mean) ** 2, 0) / matrix.length);
  const fresh = random(name, seed, matrix.length, deviation), { hiddenSize, ffnSize } = config;
  return matrix.map((x, at) =>
    dropped[which === "down" ? at % ffnSize : Math.floor(at / hiddenSize)] ? mean + fresh[at] : x
  );
}

/** The mixture's tensors, each made when its turn comes. */
function* mixtureTensors(
  config: ModelConfig & { readonly kind: "moe" },
  checkpoint: Checkpoint,
  { seed = 0, init = "copy", share = 0.5, routerDeviation = 0.02 }: UpcycleSettings,
): Generator<TensorOut> {
  for (const { name, shape } of expectedTensors(config)) {
    const size = shape.reduce((a, b) => a * b, 1);
    if (name.endsWith("router.noise.weight")) yield { name, shape, data: () => new Float32Array(size) };
    else if (name.includes(".router.")) yield { name, shape, data: () => random(name, seed, size, routerDeviation) };
    else {
      const source = name.replace(/\.mlp\.(shared|experts\.\d+)\./, ".mlp.");
      const drop = init === "drop" && name.includes(".experts.");
      const data = (): Float32Array => {
        const dense = checkpoint.read(source);
        return drop ? redraw(dense, name, config, seed, share) : dense;
      };
      yield { name, shape, data };
    }
  }
}

/**
 * Makes a mixture's folder of a dense one's, tensor by tensor.
 *
 * @returns the mixture's settings
 * @throws {UserError} if there cannot be such a mixture, or something is in the way of `out`
 */
export async function upcycle(
  dense: string,
  out: string,
  settings: UpcycleSettings,
  options: ModelOutOptions & { readonly readme?: string } = {},
): Promise<ModelConfig & { readonly kind: "moe" }> {
  using opened = openModel(dense);
  const config = mixtureConfig(opened.config, settings);
  const tensors = mixtureTensors(config, opened.checkpoint, settings);
  await writeModelFolder(out, { config, tensors, tokenizerFrom: dense, readme: options.readme }, options);
  return config;
}

/** How alike a dense model and its mixture are. */
export interface StepZero {
  /** Largest |Δ logit| over all tokens. */
  readonly largest: number;
  /** Largest |logit|. */
  readonly scale: number;
  /** Tokens compared. */
  readonly tokens: number;
}

/**
 * Compares the logits of a dense model and of the mixture made of it.
 *
 * @throws {UserError} if they differ by more than 1e-4 of the largest logit: the mixture is not the dense model
 */
export async function proveStepZero(
  dense: Dense,
  mixture: Mixture,
  device: Device,
  batches: readonly HostBatch[],
): Promise<StepZero> {
  const run = compile((one: Model, many: Model<Moe>, { tokens }: Batch) => {
    const keep = not(less(tokens, 0));
    const expected = llama(dense.config, one, tokens, swiglu).logits;
    const got = llama(mixture.config, many, tokens, moe(mixture.config)).logits;
    return { largest: max(where(keep, abs(sub(got, expected)), 0)), scale: max(where(keep, abs(expected), 0)) };
  }, device);
  let largest = 0, scale = 0, tokens = 0;
  for (const batch of batches) {
    const out = await run(dense.model, mixture.model, toBatch(batch));
    largest = Math.max(largest, await number(out.largest, device));
    scale = Math.max(scale, await number(out.scale, device));
    tokens += batch.tokens.reduce((sum, id) => sum + Number(id >= 0), 0);
  }
  if (!(largest <= 1e-4 * Math.max(1, scale))) {
    throw new UserError(
      `the mixture is not the dense model at step 0: logits differ by up to ${largest.toPrecision(3)} ` +
        `(the largest is ${scale.toPrecision(3)}). ` +
        (mixture.config.normalised ? "Its weights or settings were changed." : "Only normalised gates sum to 1."),
    );
  }
  return { largest, scale, tokens };
}
