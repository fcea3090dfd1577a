/**
 * @file Mixtures of other makers → dense models: Mixtral's experts become their weighted average, Qwen-MoE's stand
 * beside the shared expert, which is of another width. From file to file: no device, sums in f64.
 */
import { join } from "node:path";
import { UserError } from "../../dsl/errors.ts";
import { type Checkpoint, openCheckpoint, type TensorOut } from "../../backend/checkpoint.ts";
import { type ModelConfig, parseConfig } from "../convert/config.ts";
import { Fields, isJsonObject } from "../convert/fields.ts";
import { kindOf } from "../convert/files.ts";
import { type ModelOutOptions, readJson, writeModelFolder } from "../convert/huggingface.ts";
import { checkTensor, expectedTensors } from "../convert/names.ts";

/** One of a SwiGLU network's matrices. */
type Part = "gate" | "up" | "down";

/** Another maker's mixture, as far as its merge needs to know it. */
export interface OtherMixture {
  /** The folder. */
  readonly path: string;
  /** What its maker calls it. */
  readonly type: "mixtral" | "qwen2_moe";
  /** Settings of the dense model that it becomes. */
  readonly dense: ModelConfig & { readonly kind: "llama" };
  /** Routed experts of a layer. */
  readonly experts: number;
  /** Width of one of them. */
  readonly expertSize: number;
  /** Width of the shared expert; 0 where there is none. */
  readonly sharedSize: number;
  /** What the gates of the routed experts add up to while the router cannot decide. */
  readonly routedShare: number;
  /** Layers that are no mixtures: their networks are as wide as the merged ones. */
  readonly plain: ReadonlySet<number>;
}

/**
 * Reads the settings of another maker's mixture.
 *
 * @returns undefined if the folder holds none of those we know
 * @throws {UserError} if it does, and no dense model of ours can come of it
 */
export function otherMixture(path: string): OtherMixture | undefined {
  const where = join(path, "config.json"), json = kindOf(where) === "file" ? readJson(where) : undefined;
  if (!isJsonObject(json)) return undefined;
  const fields = new Fields(json, where), type = json.model_type;
  if (type === "mixtral") {
    const size = fields.size("intermediate_size"), experts = fields.size("num_local_experts");
    const dense = denseConfig({ ...json, model_type: "mistral" }, where);
    return { path, type, dense, experts, expertSize: size, sharedSize: 0, routedShare: 1, plain: new Set() };
  }
  if (type !== "qwen2_moe") return undefined;
  const experts = fields.size("num_experts"), expertSize = fields.size("moe_intermediate_size");
  const sharedSize = fields.size("shared_expert_intermediate_size"), whole = sharedSize + expertSize;
  const dense = denseConfig({ ...json, model_type: "qwen2", intermediate_size: whole }, where);
  const step = fields.size("decoder_sparse_step", 1),
    only: unknown[] = Array.isArray(json.mlp_only_layers) ? json.mlp_only_layers : [];
  const layers = Array.from({ length: dense.layers }, (_, layer) => layer);
  const plain = new Set(layers.filter((layer) => only.includes(layer) || (layer + 1) % step !== 0));
  if (plain.size > 0 && fields.size("intermediate_size") !== whole) {
    fields.fail(
      `layer ${[...plain][0]} is no mixture, and not as wide as the others would become ` +
        `(${fields.size("intermediate_size")}, ${whole}): no dense model of ours has layers of several widths.`,
    );
  }
  const routedShare = fields.boolean("norm_topk_prob", false) ? 1 : fields.size("num_experts_per_tok") / experts;
  return { path, type, dense, experts, expertSize, sharedSize, routedShare, plain };
}

function denseConfig(json: Record<string, unknown>, where: string): OtherMixture["dense"] {
  const config = parseConfig(json, where);
  if (config.kind !== "llama") throw new Error("a dense config was parsed as a mixture's");
  return config;
}

/** How another maker's mixture is merged. */
export interface OtherMergeOptions extends ModelOutOptions {
  /** One list a layer, one number a routed expert; they sum to 1 (default: all weigh the same). */
  readonly weights?: readonly (readonly number[])[];
  /** Shares of the shared expert, one a layer (default: what undecided gates give). */
  readonly lambda?: readonly number[];
}

const mixtralParts: Readonly<Record<Part, string>> = { gate: "w1", up: "w3", down: "w2" };

/** The name of a routed expert's matrix. */
function expertName({ type }: OtherMixture, layer: number, expert: number, part: Part): string {
  const prefix = `model.layers.${layer}`;
  return type === "mixtral"
    ? `${prefix}.block_sparse_moe.experts.${expert}.${mixtralParts[part]}.weight`
    : `${prefix}.mlp.experts.${expert}.${part}_proj.weight`;
}

/** scale · Σ weight · expert, in f64. */
function average(
  mixture: OtherMixture,
  checkpoint: Checkpoint,
  layer: number,
  part: Part,
  weights: readonly number[],
  scale: number,
): Float32Array {
  const sum = new Float64Array(mixture.expertSize * mixture.dense.hiddenSize);
  weights.forEach((weight, expert) => {
    if (weight === 0) return;
    const matrix = checkpoint.read(expertName(mixture, layer, expert, part));
    for (let i = 0; i < sum.length; i++) sum[i] += weight * matrix[i];
  });
  return Float32Array.from(sum, (x) => scale * x);
}

/** Two matrices [rows, columns] side by side. */
function sideBySide(left: Float32Array, right: Float32Array, rows: number): Float32Array {
  const [a, b] = [left.length / rows, right.length / rows], out = new Float32Array(left.length + right.length);
  for (let row = 0; row < rows; row++) {
    out.set(left.subarray(row * a, (row + 1) * a), row * (a + b));
    out.set(right.subarray(row * b, (row + 1) * b), row * (a + b) + a);
  }
  return out;
}

/** The shared expert and the merged one as one network, whose output is the sum of theirs, each times its share. */
function withShared(
  mixture: OtherMixture,
  checkpoint: Checkpoint,
  layer: number,
  part: Part,
  weights: readonly number[],
  lambda: number | undefined,
): Float32Array {
  // A gate that cannot decide is sigmoid(0).
  const [shared, routed] = lambda === undefined ? [0.5, mixture.routedShare] : [lambda, 1 - lambda];
  const own = checkpoint.read(`model.layers.${layer}.mlp.shared_expert.${part}_proj.weight`);
  const other = average(mixture, checkpoint, layer, part, weights, part === "down" ? routed : 1);
  return part === "down"
    ? sideBySide(own.map((x) => shared * x), other, mixture.dense.hiddenSize)
    : sideBySide(own, other, 1);
}

function* denseTensors(
  mixture: OtherMixture,
  checkpoint: Checkpoint,
  { weights, lambda }: OtherMergeOptions,
): Generator<TensorOut> {
  const same = Array.from({ length: mixture.experts }, () => 1 / mixture.experts);
  for (const { name, shape } of expectedTensors(mixture.dense)) {
    const [, number, found] = /^model\.layers\.(\d+)\.mlp\.(gate|up|down)_proj\.weight$/.exec(name) ?? [];
    const layer = Number(number), part = found as Part, own = weights?.[layer] ?? same;
    if (found === undefined || mixture.plain.has(layer)) {
      yield { name, shape, data: { terms: [{ checkpoint, name, weight: 1 }] } };
    } else if (mixture.sharedSize > 0) {
      yield { name, shape, data: () => withShared(mixture, checkpoint, layer, part, own, lambda?.[layer]) };
    } else {
      const terms = own.map((weight, expert) => ({
        checkpoint,
        name: expertName(mixture, layer, expert, part),
        weight,
      }));
      yield { name, shape, data: { terms: terms.filter(({ weight }) => weight !== 0) } };
    }
  }
}

/** Says no to a checkpoint that lacks what its config asks for. */
function checkTensors(mixture: OtherMixture, checkpoint: Checkpoint): void {
  const { dense: { layers, hiddenSize }, expertSize, sharedSize, plain } = mixture;
  const check = (name: string, part: Part, size: number): void =>
    checkTensor(checkpoint, { name, shape: part === "down" ? [hiddenSize, size] : [size, hiddenSize] });
  for (const expected of expectedTensors(mixture.dense)) {
    const layer = Number(/^model\.layers\.(\d+)\.mlp\./.exec(expected.name)?.[1] ?? -1);
    if (layer < 0 || plain.has(layer)) checkTensor(checkpoint, expected);
  }
  for (let layer = 0; layer < layers; layer++) {
    if (plain.has(layer)) continue;
    for (const part of ["gate", "up", "down"] as const) {
      for (let i = 0; i < mixture.experts; i++) check(expertName(mixture, layer, i, part), part, expertSize);
      const shared = `model.layers.${layer}.mlp.shared_expert.${part}_proj.weight`;
      if (sharedSize > 0) check(shared, part, sharedSize);
    }
  }
}

/**
 * Merges another maker's mixture into a dense Hugging Face folder (with its tokenizer).
 *
 * Without weights the dense model computes what the mixture would if its routers could not decide and its experts were
 * alike: Mixtral's gates sum to 1, so that experts are averaged; Qwen-MoE's shared expert has the gate sigmoid(0), its
 * routed ones share what their top-k gates keep of 1. With λ the shared expert counts λ, the others together 1 − λ.
 *
 * @returns the dense model's settings
 * @throws {UserError} if weights and mixture do not fit together, or something is in the way of `out`
 * @example
 * ```ts ignore
 * import { mergeOther, otherMixture } from "./other_mixtures.ts";
 * const mixture = otherMixture("models/Qwen1.5-MoE-A2.7B");
 * if (mixture) await mergeOther(mixture, "models/dense", { dtype: "BF16" });
 * ```
 */
export async function mergeOther(
  mixture: OtherMixture,
  out: string,
  options: OtherMergeOptions = {},
): Promise<ModelConfig> {
  const { path, dense, experts, sharedSize } = mixture, { weights, lambda } = options;
  if (weights && (weights.length !== dense.layers || weights.some((layer) => layer.length !== experts))) {
    throw new UserError(
      `the coefficients are for ${weights.length} layers of ${weights[0].length} routed experts, ` +
        `${path} has ${dense.layers} layers of ${experts}.`,
    );
  }
  if (lambda && sharedSize === 0) throw new UserError(`--lambda: ${path} has no shared expert.`, { usage: true });
  using checkpoint = openCheckpoint(path);
  checkTensors(mixture, checkpoint);
  const tensors = denseTensors(mixture, checkpoint, options);
  await writeModelFolder(out, { config: dense, tensors, tokenizerFrom: path }, options);
  return dense;
}
