/** @file What the stages of a model take in memory, work and time, planned without weights; and on which devices they fit. */
import type { Capabilities } from "../backend/device.ts";
import { entriesOf } from "../dsl/tree.ts";
import { sizeOf } from "../dsl/shape.ts";
import type { ModelConfig } from "./convert/config.ts";
import { type ExplainOptions, explainStep, planStep } from "./explain.ts";
import { denseConfig } from "./merge/folder.ts";
import { xft } from "./objectives/xft.ts";
import type { OptimizerName, Precision } from "./optim/mod.ts";

/** A device that a plan is held against. */
export interface KnownDevice {
  readonly name: string;
  /** Bytes. */
  readonly memory: number;
  /** Floating-point operations of a product of f32 per second, as its maker says. */
  readonly flops: number;
  /** Bytes of memory per second. */
  readonly bandwidth: number;
}

const GiB = 2 ** 30;

/** Cards that people train on; figures of their makers' data sheets. */
export const knownDevices: readonly KnownDevice[] = [
  { name: "RTX 4090, 24 GB", memory: 24 * GiB, flops: 82.6e12, bandwidth: 1.008e12 },
  { name: "A100, 80 GB", memory: 80 * GiB, flops: 19.5e12, bandwidth: 2.039e12 },
  { name: "H100, 80 GB", memory: 80 * GiB, flops: 66.9e12, bandwidth: 3.35e12 },
];

/** Of what a device's maker promises, products and copies are taken to reach this: an assumption, not a measurement. */
const reached = 0.5;

/** A card as a plan sees it: without limits, so that a plan can be too large for it, but those of its bindings. */
const onPaper: Capabilities = {
  kind: "wgpu",
  name: "a graphics card",
  maxBindings: 16,
  maxBindingBytes: Number.MAX_SAFE_INTEGER,
  maxBufferBytes: Number.MAX_SAFE_INTEGER,
  memoryBytes: Number.MAX_SAFE_INTEGER,
  software: false,
  maxWorkgroupSize: 256,
  workgroupMemoryBytes: 1 << 14,
};

/** One way to run a stage. */
export interface StageShape {
  readonly step: "train" | "learn";
  /** Rows and their longest length, of one call. */
  readonly batch: number;
  readonly seq: number;
  readonly optimizer?: OptimizerName;
  readonly checkpoint?: boolean;
  readonly precision?: Precision;
  /** Calls whose gradients are added up: one gradient as large as the model is kept. */
  readonly accumulate?: number;
}

/** What it takes. */
export interface StageNeed {
  /** Bytes of weights, of what the optimiser keeps, of gradients added up, and of all that lives within a call. */
  readonly weights: number;
  readonly state: number;
  readonly gradients: number;
  readonly arena: number;
  readonly total: number;
  /** Work and bytes moved of one step, all its calls together. */
  readonly flops: number;
  readonly moved: number;
}

const bytesOf = (tree: unknown): number =>
  entriesOf(tree).reduce((total, [, { shape, dtype }]) => {
    const bytes = dtype === "bf16" || dtype === "f16" ? 2 : 4;
    return total + bytes * sizeOf(shape);
  }, 0);

/** Plans a stage. @throws {UserError} if the model has no such step */
export function stageNeed(config: ModelConfig, shape: StageShape, capabilities: Capabilities = onPaper): StageNeed {
  const { optimizer = "adafactor", precision = "f32", checkpoint = false, accumulate = 1, ...rest } = shape;
  const options: ExplainOptions = { ...rest, optimizer, precision, checkpoint, objective: xft };
  const { arena, flops, moved } = explainStep(config, capabilities, options);
  const [first, second, third] = planStep(config, options).args;
  // A coefficient step is given what moves first, and the mixture third.
  const [model, state] = shape.step === "train" ? [first, second] : [third, [first, second]];
  const weights = bytesOf(model), gradients = accumulate > 1 ? bytesOf(first) * (precision === "f32" ? 1 : 2) : 0;
  const kept = bytesOf(state), total = weights + kept + gradients + arena;
  return { weights, state: kept, gradients, arena, total, flops: flops * accumulate, moved: moved * accumulate };
}

/** Seconds that a step takes at least, and is likely to, on a device: the slower of its products and its memory. */
export const stepSeconds = ({ flops, moved }: StageNeed, device: Pick<KnownDevice, "flops" | "bandwidth">): number =>
  Math.max(flops / (device.flops * reached), moved / (device.bandwidth * reached));

/** A stage with a name. */
export interface NamedStage {
  readonly name: string;
  readonly config: ModelConfig;
  readonly shape: StageShape;
}

/** The stages that one can begin with a model, cheap ones last: what `inspect --plan` lists. */
export function stagesOf(config: ModelConfig, batch: number, seq: number): NamedStage[] {
  const ways = [
    ["f32", {}],
    ["f32, layers checkpointed", { checkpoint: true }],
    ["bf16 beside f32 masters, checkpointed", { checkpoint: true, precision: "bf16-master" }],
    ["bf16 rounded by chance, checkpointed", { checkpoint: true, precision: "bf16" }],
  ] as const;
  const tuning = (what: string, config: ModelConfig): NamedStage[] =>
    ways.map(([way, more]) => ({ name: `${what}, ${way}`, config, shape: { step: "train", batch, seq, ...more } }));
  if (config.kind === "llama") return tuning("SFT", config);
  return [
    ...tuning("tuning the mixture", config),
    { name: "coefficients", config, shape: { step: "learn", batch, seq } },
    ...tuning("SFT of the merged model", denseConfig(config)).slice(0, 1),
  ];
}
