/**
 * @file Checkpoints of the authors' code ↔ ours: the mixture (`llama_moe_upscaling`) under our names, and the
 * coefficients of their weighted model as coefficients.json. Expert 0 is theirs and ours shared one; our experts.I is
 * their expert I + 1.
 */
import { UserError } from "../../dsl/errors.ts";
import type { Checkpoint, TensorOut } from "../../backend/checkpoint.ts";
import type { Coefficients } from "./coefficients.ts";
import { formatConfig, type ModelConfig, parseConfig } from "./config.ts";
import type { JsonObject } from "./fields.ts";
import { checkTensor, type ExpectedTensor, expectedTensors } from "./names.ts";

/** A mixture's config. */
export type MoeModelConfig = Extract<ModelConfig, { readonly kind: "moe" }>;

/** The settings of their code that we compute; others were never used for the paper's runs. */
const required: Readonly<Record<string, unknown>> = {
  gate_type: "TopKUniversalBalancedNoisyGate",
  calculator_type: "UniversalCalculator",
  gate_use_softmax: true,
  multiply_gate_scores: true,
  score_scale_factor: 1,
  add_weight_norm: false,
};

/** Our tensor's name in their checkpoint. */
export function authorsName(name: string): string {
  const [, prefix, part] = /^(model\.layers\.\d+\.mlp)\.(.+)\.weight$/.exec(name) ?? [];
  if (prefix === undefined) return name;
  const expert = /^(?:shared|experts\.(\d+))\.(gate|up|down)_proj$/.exec(part);
  if (expert) {
    const number = expert[1] === undefined ? 0 : Number(expert[1]) + 1;
    return `${prefix}.calculator.experts.weight_${expert[2]}.${number}.weight`;
  }
  if (part === "router.noise") return `${prefix}.gate.weight_noise.weight`;
  if (part === "router") return `${prefix}.gate.gate_network.weight`;
  return `${prefix}.${part.replace("router.", "gate.gate_network.")}.weight`;
}

/** Whether a config.json is of the authors' mixture. */
export function isAuthorsMoe(json: JsonObject): boolean {
  return json.model_type === "llama_moe_upscaling";
}

/** Whether a config.json is of the authors' weighted model. */
export function isAuthorsWeighted(json: JsonObject): boolean {
  return Array.isArray(json.architectures) && json.architectures.includes("LlamaWeightedForCausalLM");
}

/**
 * The config of the authors' mixture as ours.
 *
 * @param json their config.json
 * @param where the file's name, for messages
 * @param noise whether the checkpoint has the noise's weights
 * @throws {UserError} if a setting is none that we compute
 */
export function parseAuthorsConfig(json: JsonObject, where: string, noise: boolean): MoeModelConfig {
  for (const [name, value] of Object.entries(required)) {
    if (json[name] !== undefined && json[name] !== value) {
      throw new UserError(
        `${where}: "${name}" is ${JSON.stringify(json[name])}; only ${JSON.stringify(value)} is supported.`,
      );
    }
  }
  const config = parseConfig({
    ...json,
    model_type: "xft_moe",
    router: json.gate_network,
    normalised_gates: true,
    router_noise: noise,
    router_noise_epsilon: json.gate_noise_epsilon,
    balance_loss_weight: json.gate_use_balance === false ? 0 : json.gate_balance_loss_weight,
  }, where);
  if (config.kind !== "moe") throw new Error("a mixture's config was parsed as a dense one");
  return config;
}

/**
 * The authors' mixture under our names.
 *
 * @param checkpoint their opened checkpoint
 * @param json their config.json
 * @param where the config's name, for messages
 * @throws {UserError} if a setting is none that we compute, or a tensor is missing or of another shape
 */
export function fromAuthorsMoe(
  checkpoint: Checkpoint,
  json: JsonObject,
  where: string,
): { readonly config: MoeModelConfig; readonly tensors: readonly TensorOut[] } {
  const noise = [...checkpoint.tensors.keys()].some((name) => name.endsWith(".gate.weight_noise.weight"));
  const config = parseAuthorsConfig(json, where, noise);
  const expected = expectedTensors(config);
  const tensors = expected.map(({ name, shape }): TensorOut => {
    const source = authorsName(name);
    checkTensor(checkpoint, { name: source, shape });
    return { name, shape, data: () => checkpoint.read(source) };
  });
  const known = new Set(expected.map(({ name }) => authorsName(name)));
  const extra = [...checkpoint.tensors.keys()].find((name) => !known.has(name) && !name.endsWith(".inv_freq"));
  if (extra !== undefined) {
    throw new UserError(`${checkpoint.path}: tensor "${extra}" belongs to no mixture that config.json describes.`);
  }
  return { config, tensors };
}

/**
 * The coefficients in the authors' weighted model. Its other weights are copies, and its FFNs unused.
 *
 * @param checkpoint their opened checkpoint
 * @param json their config.json; `shared_expert_weight` is λ
 * @throws {UserError} if λ or a layer's coefficients are missing
 */
export function fromAuthorsWeighted(checkpoint: Checkpoint, json: JsonObject): Coefficients {
  const { shared_expert_weight: lambda, num_hidden_layers: layers } = json;
  if (typeof lambda !== "number" || !(lambda >= 0 && lambda <= 1)) {
    throw new UserError(
      `${checkpoint.path}: "shared_expert_weight" in config.json is ${
        JSON.stringify(lambda)
      }: λ is a share, between 0 and 1.`,
    );
  }
  if (typeof layers !== "number" || !Number.isInteger(layers) || layers < 1) {
    throw new UserError(`${checkpoint.path}: config.json has no valid "num_hidden_layers".`);
  }
  const alpha = Array.from({ length: layers }, (_, layer) => {
    const name = `model.layers.${layer}.mlp.average_weights`;
    if (!checkpoint.tensors.has(name)) throw new UserError(`${checkpoint.path}: tensor "${name}" is missing.`);
    return [...checkpoint.read(name)];
  });
  return { version: 1, objective: "xft", lambda, alpha };
}

/** Settings of their code, for a config of ours. */
function authorsSettings(config: MoeModelConfig, lambda: number): JsonObject {
  const { router_noise: _1, router: _2, auto_map: _3, qkv_bias: _4, ...json } = formatConfig(config);
  return {
    ...json,
    ...required,
    num_experts: config.experts,
    num_selects: config.active,
    gate_network: config.router,
    gate_use_balance: true,
    gate_add_noise: config.noise,
    gate_noise_epsilon: config.noiseEpsilon,
    gate_balance_loss_weight: config.balanceWeight,
    capacity_factor: 1.25,
    drop_tokens: true,
    dropped_padding: "zero",
    size_experts: null,
    shared_expert_weight: lambda,
    ffn_folder_path: "ffn",
  };
}

/** A checkpoint for the authors' code. */
export interface AuthorsModel {
  /** Content of its config.json. */
  readonly config: JsonObject;
  /** Its tensors under the authors' names. */
  readonly tensors: readonly TensorOut[];
}

function copied(checkpoint: Checkpoint, { name, shape }: ExpectedTensor, as = name): TensorOut {
  return { name: as, shape, data: () => checkpoint.read(name) };
}

/**
 * Our mixture for the authors' code (`LlamaMoEUpscalingForCausalLM`). Note that their class ignores rope_theta and RoPE
 * scaling.
 *
 * @param checkpoint our opened folder
 * @param config its config
 * @throws {UserError} for a mixture that their code cannot compute
 */
export function toAuthorsMoe(checkpoint: Checkpoint, config: MoeModelConfig): AuthorsModel {
  if (!config.normalised) {
    throw new UserError(`${checkpoint.path}: the authors' code has no mixture whose gates do not sum to 1.`);
  }
  return {
    config: {
      ...authorsSettings(config, 0.75),
      architectures: ["LlamaMoEUpscalingForCausalLM"],
      model_type: "llama_moe_upscaling",
    },
    tensors: expectedTensors(config).map((tensor) => copied(checkpoint, tensor, authorsName(tensor.name))),
  };
}

/**
 * Our mixture and coefficients as the authors' weighted model (`LlamaWeightedForCausalLM`). Its FFNs, which their code
 * replaces by the merge of the folder `ffn`, are the shared expert's.
 *
 * @param checkpoint our opened folder of the mixture
 * @param config its config
 * @param coefficients one list per layer of that mixture
 * @throws {UserError} if the coefficients are another mixture's, or each layer has its own λ
 */
export function toAuthorsWeighted(
  checkpoint: Checkpoint,
  config: MoeModelConfig,
  coefficients: Coefficients,
): AuthorsModel {
  const { alpha, lambda } = coefficients;
  if (typeof lambda !== "number") {
    throw new UserError("the coefficients have a λ for each layer; the authors' code knows one for all.");
  }
  if (alpha.length !== config.layers || alpha[0].length !== config.experts - 1) {
    throw new UserError(
      `the coefficients are ${alpha.length} × ${alpha[0].length}, ${checkpoint.path} has ${config.layers} layers ` +
        `with ${config.experts - 1} routed experts.`,
    );
  }
  const dense: ModelConfig = { ...config, kind: "llama" };
  const tensors = expectedTensors(dense).map(({ name, shape }): TensorOut => {
    const source = name.replace(/\.mlp\.(gate|up|down)_proj\./, ".mlp.shared.$1_proj.");
    return { name, shape, data: () => checkpoint.read(source) };
  });
  alpha.forEach((values, layer) =>
    tensors.push({
      name: `model.layers.${layer}.mlp.average_weights`,
      shape: [values.length],
      data: Float32Array.from(values),
    })
  );
  return {
    config: { ...authorsSettings(config, lambda), architectures: ["LlamaWeightedForCausalLM"], model_type: "llama" },
    tensors,
  };
}
