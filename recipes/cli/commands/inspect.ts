/** @file `xft inspect`: what a model's folder, a checkpoint or a coefficients file holds. */
import { join } from "node:path";
import { openCheckpoint, type TensorInfo } from "../../../backend/checkpoint.ts";
import { UserError } from "../../../dsl/errors.ts";
import { readCoefficients } from "../../convert/coefficients.ts";
import type { ModelConfig } from "../../convert/config.ts";
import { kindOf } from "../../convert/files.ts";
import { checkModel, readConfig } from "../../convert/huggingface.ts";
import { elementsOf, expectedTensors } from "../../convert/names.ts";
import { knownDevices, stageNeed, stagesOf, stepSeconds } from "../../fitting.ts";
import { distanceFromUniform, softmaxOf } from "../../merge/weights.ts";
import type { commands } from "../commands.ts";
import type { Context, JsonResult } from "../context.ts";
import { columns, count, size } from "../output/format.ts";
import type { Arguments } from "../flags/schema.ts";

/** Runs the command. */
export function run(args: Arguments<typeof commands.inspect>, context: Context): Promise<JsonResult> {
  const { path, tensors } = args;
  if (kindOf(path) === "nothing") throw new UserError(`${path}: there is no such file or folder.`);
  if (args.plan) return Promise.resolve(planned(path, args, context));
  if (path.endsWith(".json")) return Promise.resolve(inspectCoefficients(path, context));
  const isModel = kindOf(join(path, "config.json")) === "file";
  const model = isModel ? inspectModel(path) : { facts: [], json: {} };
  const weights = inspectTensors(path, tensors);
  context.print(columns([...model.facts, ...weights.facts]));
  if (tensors) {
    context.print(columns(weights.list.map((tensor) => [tensor.name, tensor.shape.join("×"), tensor.dtype])));
  }
  return Promise.resolve({ ...model.json, ...weights.json });
}

/** What the model's stages take, from its config.json alone. */
function planned(path: string, { batch, seq }: { batch: number; seq: number }, context: Context): JsonResult {
  const config = readConfig(path),
    rows = stagesOf(config, batch, seq).map(({ name, config, shape }) => {
      const need = stageNeed(config, shape);
      const on = knownDevices.map((device) => ({
        device: device.name,
        fits: need.total <= device.memory,
        seconds: stepSeconds(need, device),
      }));
      return { name, ...need, on, fits_here: need.total <= machine };
    });
  const cell = (fits: boolean, seconds: number): string => fits ? `${seconds.toPrecision(2)} s` : "does not fit";
  context.print(`Steps of ${batch} × ${seq} tokens, Adafactor; this machine has ${size(machine)}.`);
  context.print(columns([
    ["stage", "in all", "weights", "state", "in a step", "TFLOP", "fits here", ...knownDevices.map(({ name }) => name)],
    ...rows.map(({ name, total, weights, state, arena, flops, fits_here, on }) => [
      ...[name, size(total), size(weights), size(state), size(arena), (flops / 1e12).toFixed(1)],
      ...[fits_here ? "yes" : "no", ...on.map(({ fits, seconds }) => cell(fits, seconds))],
    ]),
  ]));
  context.print("Seconds of a step are estimates: half of what the card's data sheet promises, in f32.");
  return { path, batch, seq, memory: machine, plan: rows };
}

const machine = Deno.systemMemoryInfo().total;

interface Findings {
  /** For people: what, and its value. */
  readonly facts: [string, string][];
  readonly json: JsonResult;
}

function inspectModel(path: string): Findings {
  const { config, parameters, tokens, spareRows } = checkModel(path);
  const active = activeParameters(config);
  const facts: [string, string][] = [
    ["architecture", config.kind === "moe" ? "mixture of experts on Llama (xft_moe)" : "Llama"],
    [
      "parameters",
      active === parameters ? count(parameters) : `${count(parameters)}, ${count(active)} active per token`,
    ],
    ["layers", `${config.layers}, width ${config.hiddenSize}, feed-forward ${config.ffnSize}`],
    ["heads", `${config.heads} of ${config.headDim}, ${config.kvHeads} for keys and values`],
    ["positions", `${config.maxPositions}, rope_theta ${config.ropeTheta}${config.ropeScaling ? ", scaled" : ""}`],
    ["embedding", `${config.vocabSize} rows${config.tied ? ", tied to the output" : ""}`],
    ["tokenizer", tokens === undefined ? "none" : `${tokens} tokens, ${spareRows} spare rows`],
  ];
  if (config.kind === "moe") {
    facts.push(["experts", `${config.experts} (1 shared), ${config.active} active, ${config.router} router`]);
  }
  return { facts, json: { config, parameters, active_parameters: active, tokens, spare_rows: spareRows } };
}

/** Parameters that one token meets. */
function activeParameters(config: ModelConfig): number {
  return expectedTensors(config).reduce((sum, { name, shape }) => {
    const expert = Number(/\.experts\.(\d+)\./.exec(name)?.[1] ?? -1);
    const met = config.kind === "llama" || expert < config.active - 1;
    return met ? sum + elementsOf(shape) : sum;
  }, 0);
}

function inspectTensors(path: string, list: boolean): Findings & { readonly list: readonly TensorInfo[] } {
  using checkpoint = openCheckpoint(path);
  const tensors = [...checkpoint.tensors.values()];
  const bytes = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  const dtypes = [...new Set(tensors.map(({ dtype }) => dtype))].sort();
  const { format } = checkpoint;
  const facts: [string, string][] = [[
    "weights",
    `${format}, ${tensors.length} tensors (${dtypes.join(", ")}), ${size(bytes)}`,
  ]];
  const json = { format, tensor_count: tensors.length, dtypes, bytes, ...(list ? { tensors } : {}) };
  return { facts, json, list: tensors };
}

/** How far a learned merge is from the uniform one. */
function inspectCoefficients(path: string, context: Context): JsonResult {
  const { objective, lambda, alpha } = readCoefficients(path);
  const distances = distanceFromUniform(alpha);
  const furthest = Math.max(...distances);
  const shares = alpha.map(softmaxOf);
  context.print(columns([
    ["objective", objective],
    ["λ", typeof lambda === "number" ? String(lambda) : lambda.map((each) => each.toFixed(3)).join(" ")],
    ["layers", `${alpha.length}, ${alpha[0].length} routed experts each`],
    ["from uniform", `${furthest.toFixed(4)} at most (layer ${distances.indexOf(furthest)})`],
  ]));
  context.print(columns(shares.map((share, layer) => [layer, share.map((value) => value.toFixed(4)).join(" ")])));
  return { objective, lambda, softmax: shares, distance_from_uniform: furthest, distance_per_layer: distances };
}
