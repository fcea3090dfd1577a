/**
 * @file The authors' folder of FFNs, which stands between their mixture and their weighted model: every expert of a
 * layer in a file of its own. Theirs are pickles, which are programs: ours are safetensors, with a note that says how
 * one becomes the other where a Python is trusted. With them a weighted model is a dense one.
 */
import { join } from "node:path";
import { UserError } from "../../dsl/errors.ts";
import { type Checkpoint, openCheckpoint, type TensorOut } from "../../backend/checkpoint.ts";
import { authorsName, fromAuthorsWeighted, type MoeModelConfig } from "./authors.ts";
import { type ModelConfig, parseConfig } from "./config.ts";
import type { JsonObject } from "./fields.ts";
import { kindOf } from "./files.ts";
import { checkTensor, expectedTensors } from "./names.ts";

/** A file of such a folder. */
export interface LayerFile {
  /** Its name. */
  readonly name: string;
  /** Its tensors, under the names they have in the authors' mixture. */
  readonly tensors: readonly TensorOut[];
}

/** Python that makes the authors' pickles of our files, and what it is for. */
export const ffnNote = `# The FFNs of a mixture, for the authors' code

Each file holds all experts of a layer, under the names of their mixture. Their code reads pickles
(\`ffn_layer_0.pt\`, …); none is written here, since a pickle is a program. This makes them, in this folder:

\`\`\`python
import glob, torch
from safetensors.torch import load_file

for path in glob.glob("ffn_layer_*.safetensors"):
    layer = {}
    for name, tensor in load_file(path).items():
        part, expert = name.split(".experts.")[1].split(".")[:2]
        layer.setdefault(part, {})[int(expert)] = tensor
    torch.save(layer, path.replace(".safetensors", ".pt"))
\`\`\`
`;

const isExpert = (name: string): boolean => name.includes(".mlp.calculator.experts.");

/**
 * The FFNs of a mixture of ours, a file a layer.
 *
 * @param checkpoint our opened folder
 * @param config its config
 */
export function toAuthorsFfn(checkpoint: Checkpoint, config: MoeModelConfig): LayerFile[] {
  const experts = expectedTensors(config).map((tensor) => ({ ...tensor, theirs: authorsName(tensor.name) }))
    .filter(({ theirs }) => isExpert(theirs));
  return Array.from({ length: config.layers }, (_, layer) => ({
    name: `ffn_layer_${layer}.safetensors`,
    tensors: experts.filter(({ name }) => name.startsWith(`model.layers.${layer}.`))
      .map(({ name, theirs, shape }) => ({ name: theirs, shape, data: () => checkpoint.read(name) })),
  }));
}

/** Opens a folder of FFNs. @throws {UserError} if there is none, or its files are the authors' pickles */
export function openAuthorsFfn(folder: string): Checkpoint {
  if (kindOf(join(folder, "ffn_layer_0.safetensors")) === "file") return openCheckpoint(folder);
  if (kindOf(join(folder, "ffn_layer_0.pt")) !== "file") {
    throw new UserError(`--ffn ${folder}: there is no ffn_layer_0.safetensors in it (\`convert\` --to authors-ffn).`);
  }
  throw new UserError(
    `--ffn ${folder}: these are pickles, and reading one runs whatever program is in it. The mixture that they were ` +
      "taken from holds the same weights: convert it, and its folder with --to authors-ffn.",
  );
}

/**
 * The authors' weighted model with its FFNs as the dense model that their last conversion makes:
 * W = λ·W₀ + (1 − λ)·Σᵢ softmax(a)ᵢ·Wᵢ.
 *
 * @param checkpoint their opened weighted model
 * @param ffn the opened folder of FFNs
 * @param json the weighted model's config.json
 * @param where its name, for messages
 * @throws {UserError} if coefficients or tensors are missing or of another shape
 */
export function fromAuthorsFfn(
  checkpoint: Checkpoint,
  ffn: Checkpoint,
  json: JsonObject,
  where: string,
): { readonly config: ModelConfig; readonly tensors: readonly TensorOut[] } {
  const { lambda, alpha } = fromAuthorsWeighted(checkpoint, json), config = parseConfig(json, where);
  const read = (from: Checkpoint, name: string, shape: readonly number[]): Float32Array => {
    checkTensor(from, { name, shape });
    return from.read(name);
  };
  const tensors = expectedTensors(config).map(({ name, shape }): TensorOut => {
    const [, prefix, layer, part] = /^(model\.layers\.(\d+)\.mlp)\.(gate|up|down)_proj\.weight$/.exec(name) ?? [];
    if (prefix === undefined) return { name, shape, data: () => read(checkpoint, name, shape) };
    const shares = sharesOf(lambda as number, alpha[Number(layer)]);
    const expert = (i: number) => read(ffn, `${prefix}.calculator.experts.weight_${part}.${i}.weight`, shape);
    return { name, shape, data: () => weightedSum(shares, expert) };
  });
  return { config, tensors };
}

/** What each expert weighs, the shared one first. */
function sharesOf(lambda: number, alpha: readonly number[]): number[] {
  const top = Math.max(...alpha), parts = alpha.map((each) => Math.exp(each - top));
  const total = parts.reduce((sum, part) => sum + part, 0);
  return [lambda, ...parts.map((part) => (1 - lambda) * part / total)];
}

function weightedSum(shares: readonly number[], expert: (i: number) => Float32Array): Float32Array {
  const sum = new Float64Array(expert(0).length);
  shares.forEach((share, i) => expert(i).forEach((x, at) => sum[at] += share * x));
  return Float32Array.from(sum);
}
