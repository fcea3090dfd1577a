/** @file A model's parameters on a device: from a folder, to a folder, or fresh. */
import { UserError } from "../../dsl/errors.ts";
import type { DType } from "../../dsl/mod.ts";
import type { Node } from "../../dsl/node.ts";
import { tensorOf } from "../../dsl/tensor.ts";
import { entriesOf } from "../../dsl/tree.ts";
import type { Checkpoint, TensorOut } from "../../backend/checkpoint.ts";
import type { Device } from "../../backend/runtime.ts";
import type { ModelConfig } from "../convert/config.ts";
import { type ModelOutOptions, openModel, writeModelFolder } from "../convert/huggingface.ts";
import { seeded } from "../random.ts";
import { type AnyModel, layout, type Leaf, sizeOf, treeOf } from "./layout.ts";
import type { Model } from "./llama.ts";
import type { Moe } from "./moe.ts";

/** A dense model with its settings. */
export interface Dense {
  /** Its settings. */
  readonly config: ModelConfig & { readonly kind: "llama" };
  /** Its parameters, on a device. */
  readonly model: Model;
}
/** A mixture with its settings. */
export interface Mixture {
  /** Its settings. */
  readonly config: ModelConfig & { readonly kind: "moe" };
  /** Its parameters, on a device. */
  readonly model: Model<Moe>;
}
/** Either of them. */
export type Loaded = Dense | Mixture;

/** Settings and tree that belong together: the tree was made by the config's layout. */
const pair = (config: ModelConfig, model: AnyModel): Loaded => ({ config, model }) as Loaded;

/** Is it a mixture? */
export const isMixture = (loaded: Loaded): loaded is Mixture => loaded.config.kind === "moe";

/** How weights lie in a device's memory: `stored` as their file has them, where that is f32, f16 or bf16. */
export type WeightType = "f32" | "f16" | "bf16" | "stored";

/** Elements that pass through the host at a time: 4 MiB of f32, whole blocks of every way to store them. */
const PIECE = 1 << 20;

/**
 * A folder's weights in a device's memory. A piece of a tensor at a time passes through the host.
 *
 * @param storage of matrices (default f32); vectors are f32 always
 * @throws {UserError} if the folder is none, or config and weights do not agree
 */
export function loadModel(folder: string, device: Device, storage: WeightType = "f32"): Loaded {
  using opened = openModel(folder);
  // All through the same memory: what is only freed may stay with the process.
  const through = new Float32Array(PIECE);
  return pair(
    opened.config,
    treeOf(layout(opened.config), (leaf) => {
      const place = device.allocate(leaf.shape, dtypeOf(leaf, opened.checkpoint, storage));
      const size = sizeOf(leaf) / leaf.names.length;
      for (const [i, name] of leaf.names.entries()) {
        for (let start = 0; start < size; start += PIECE) {
          const part = through.subarray(0, Math.min(PIECE, size - start));
          opened.checkpoint.readPart(name, start, part);
          device.write(place, part, i * size + start);
        }
      }
      return tensorOf(place);
    }),
  );
}

function dtypeOf({ columns, names: [name] }: Leaf, { tensors }: Checkpoint, storage: WeightType): DType {
  if (columns.length === 0) return "f32";
  if (storage !== "stored") return storage;
  const dtype = tensors.get(name)?.dtype.toLowerCase();
  return dtype === "f16" || dtype === "bf16" ? dtype : "f32";
}

/** As `loadModel`. @throws {UserError} also if it is a mixture */
export function loadDense(folder: string, device: Device, storage: WeightType = "f32"): Dense {
  const loaded = loadModel(folder, device, storage);
  if (isMixture(loaded)) {
    throw new UserError(`${folder}: this is a mixture, a dense model was expected (see \`merge\`).`);
  }
  return loaded;
}

/** As `loadModel`. @throws {UserError} also if it is dense */
export function loadMixture(folder: string, device: Device, storage: WeightType = "f32"): Mixture {
  const loaded = loadModel(folder, device, storage);
  if (!isMixture(loaded)) {
    throw new UserError(`${folder}: this is a dense model, a mixture was expected (see \`upcycle\`).`);
  }
  return loaded;
}

/** Every tensor of a model as a folder has it, read from the device when its turn comes. */
export function* tensorsOf({ config, model }: Loaded, device: Device): Generator<TensorOut> {
  const places = new Map<string, Node>(entriesOf(model));
  for (const leaf of layout(config)) {
    const shape = matrixShape(leaf), place = places.get(leaf.path)!;
    let whole: Float32Array | undefined;
    for (const [i, name] of leaf.names.entries()) {
      const size = sizeOf(leaf) / leaf.names.length;
      const data = async (): Promise<Float32Array<ArrayBuffer>> => {
        whole ??= await device.read(place) as Float32Array;
        const piece = whole.slice(i * size, (i + 1) * size);
        if (i === leaf.names.length - 1) whole = undefined;
        return piece;
      };
      yield { name, shape, data };
    }
  }
}

/** Sizes as Hugging Face has them: [out, in], or one number. */
function matrixShape({ shape, rows, columns }: Leaf): number[] {
  const size = (axes: readonly string[]): number => axes.reduce((product, axis) => product * shape[axis], 1);
  return columns.length > 0 ? [size(rows), size(columns)] : [size(rows)];
}

/** How a model is saved. */
export interface SaveOptions extends ModelOutOptions {
  /** A folder whose tokenizer files are copied. */
  readonly tokenizerFrom?: string;
  /** README.md, the model's card. */
  readonly readme?: string;
  /** Other files, by name. */
  readonly files?: Readonly<Record<string, string>>;
}

/** Writes a model's folder; it appears whole or not at all. @throws {UserError} if something is in the way */
export async function saveModel(
  folder: string,
  loaded: Loaded,
  device: Device,
  options: SaveOptions = {},
): Promise<void> {
  const { tokenizerFrom, readme, files } = options;
  await writeModelFolder(
    folder,
    { config: loaded.config, tensors: tensorsOf(loaded, device), tokenizerFrom, readme, files },
    options,
  );
}

/**
 * A fresh model: normal numbers of deviation 0.02, projections back into the residual stream scaled down by
 * √(2·layers) (as GPT-2 did), norms 1, biases 0.
 *
 * @param storage of matrices; vectors are f32 always
 * @param gain times which all but the norms are larger (tests of what depends on every weight)
 */
export function initModel(
  config: ModelConfig,
  seed: number,
  device: Device,
  gain = 1,
  storage: "f32" | "bf16" = "f32",
): Loaded {
  const random = seeded(seed);
  const values = (leaf: Leaf): Float32Array => {
    if (leaf.columns.length === 0) return new Float32Array(sizeOf(leaf)).fill(leaf.path.endsWith("Bias") ? 0 : 1);
    const out = leaf.columns.includes("hidden") || leaf.columns.includes("head");
    const deviation = gain * (out ? 0.02 / Math.sqrt(2 * config.layers) : 0.02);
    if (leaf.path.endsWith("router.noise")) return new Float32Array(sizeOf(leaf));
    return new Float32Array(sizeOf(leaf)).map(() => deviation * random.normal());
  };
  return pair(
    config,
    treeOf(layout(config), (leaf) => {
      const place = device.allocate(leaf.shape, leaf.columns.length > 0 ? storage : "f32");
      device.write(place, values(leaf));
      return tensorOf(place);
    }),
  );
}
