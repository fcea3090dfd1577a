/** @file Model folders as Hugging Face has them: reading and checking one, writing one whole. */
import { join } from "node:path";
import { UserError } from "../../dsl/errors.ts";
import {
  type Checkpoint,
  createSafetensors,
  openCheckpoint,
  type StoredDtype,
  type TensorOut,
  writeTensor,
} from "../../backend/checkpoint.ts";
import { loadTokenizer } from "../../backend/tokenizer.ts";
import { formatConfig, type ModelConfig, parseConfig } from "./config.ts";
import { isJsonObject, type JsonObject } from "./fields.ts";
import { type FolderOptions, kindOf, writeFolder } from "./files.ts";
import { checkTensor, elementsOf, expectedTensors, weightsIn } from "./names.ts";
import { type AddedToken, sentencePieceModelFiles } from "./tokenizers/sentencepiece.ts";
import configurationPy from "./python/configuration_xft_moe.py" with { type: "text" };
import modelingPy from "./python/modeling_xft_moe.py" with { type: "text" };

/** The file that says how a model was asked in training; it goes along with the tokenizer. */
export const promptFile = "xft_prompt.json";

/** Files of a tokenizer, as folders hold them. */
export const tokenizerNames = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "tokenizer.model",
  "chat_template.jinja",
  promptFile,
] as const;

/** With these beside it a mixture's folder is a model of transformers (`trust_remote_code=True`). */
const mixtureCode: Readonly<Record<string, string>> = {
  "configuration_xft_moe.py": configurationPy,
  "modeling_xft_moe.py": modelingPy,
};

/** Bytes of one safetensors file at most, unless the caller says otherwise. */
const defaultShardBytes = 5e9;

/**
 * Reads a JSON file.
 *
 * @throws {UserError} if it is missing or not valid
 */
export function readJson(path: string): unknown {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      throw new UserError(`${path}: there is no such file.`);
    }
    throw error;
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UserError(`${path}: this is not valid JSON (${reason}).`);
  }
}

/**
 * Reads a model folder's config.json, with the ending tokens of generation_config.json where there is one.
 *
 * @param folder a Hugging Face folder, dense (`llama`) or mixture (`xft_moe`)
 * @throws {UserError} if there is no such folder, or the model is none we compute
 */
export function readConfig(folder: string): ModelConfig {
  const kind = kindOf(folder);
  if (kind === "nothing") throw new UserError(`${folder}: there is no such folder.`);
  if (kind === "file") {
    throw new UserError(`${folder}: this is a file, a model's folder was expected (see \`convert\`).`);
  }
  const path = join(folder, "config.json");
  if (kindOf(path) !== "file") {
    throw new UserError(`${folder}: there is no config.json, so this is no model's folder.`);
  }
  const json = readJson(path);
  const generation = join(folder, "generation_config.json");
  const eos = kindOf(generation) === "file" && readJson(generation);
  // transformers, too, lets generation_config.json say where a generation ends.
  const ends = isJsonObject(eos) && eos.eos_token_id !== undefined ? { eos_token_id: eos.eos_token_id } : {};
  return parseConfig(isJsonObject(json) ? { ...json, ...ends } : json, path);
}

/** A model's folder, opened and checked. */
export interface OpenModel extends Disposable {
  /** The folder. */
  readonly path: string;
  /** What config.json says. */
  readonly config: ModelConfig;
  /** Its weights; every expected tensor is there with its shape. */
  readonly checkpoint: Checkpoint;
}

/** Tensors that old exporters wrote and nobody reads. */
function isIgnored(name: string, config: ModelConfig): boolean {
  return name.endsWith(".rotary_emb.inv_freq") || (config.tied && name === "lm_head.weight");
}

/** Compares a checkpoint with its config; the first difference is the error. */
function checkTensors(folder: string, config: ModelConfig, checkpoint: Checkpoint): void {
  const expected = new Map(expectedTensors(config).map((tensor) => [tensor.name, tensor.shape]));
  const missing = [...expected.keys()].filter((name) => !checkpoint.tensors.has(name));
  if (missing.length > 0) {
    const others = missing.length > 1 ? ` (and ${missing.length - 1} more)` : "";
    throw new UserError(`${folder}: tensor "${missing[0]}" is missing${others}; config.json asks for it.`);
  }
  for (const name of checkpoint.tensors.keys()) {
    const shape = expected.get(name);
    if (shape) checkTensor(checkpoint, { name, shape });
    else if (!isIgnored(name, config)) {
      throw new UserError(`${folder}: tensor "${name}" belongs to no model that config.json describes.`);
    }
  }
}

/**
 * Opens a model's folder and checks that config.json and weights agree.
 *
 * @throws {UserError} if a file is missing or damaged, or a tensor is missing, superfluous or of another shape
 * @example
 * ```ts ignore
 * import { openModel } from "./huggingface.ts";
 * using model = openModel("models/smollm2");
 * const embedding = model.checkpoint.read("model.embed_tokens.weight");
 * ```
 */
export function openModel(folder: string): OpenModel {
  const config = readConfig(folder);
  const checkpoint = openCheckpoint(folder);
  try {
    checkTensors(folder, config, checkpoint);
  } catch (error) {
    checkpoint[Symbol.dispose]();
    throw error;
  }
  return { path: folder, config, checkpoint, [Symbol.dispose]: () => checkpoint[Symbol.dispose]() };
}

/** What a check of a model's folder found. */
export interface ModelReport {
  /** What config.json says. */
  readonly config: ModelConfig;
  /** Number of weights. */
  readonly parameters: number;
  /** Bytes of the weights on disk. */
  readonly bytes: number;
  /** How weights are stored. */
  readonly dtypes: readonly string[];
  /** Tokens of the tokenizer; undefined where the folder has none. */
  readonly tokens?: number;
  /** Rows of the embedding beyond the last token: kept, never generated. */
  readonly spareRows?: number;
}

/**
 * Checks a model's folder: config, weights and tokenizer must fit together.
 *
 * @throws {UserError} naming what does not fit
 */
export function checkModel(folder: string): ModelReport {
  using model = openModel(folder);
  const { config } = model;
  const tensors = [...model.checkpoint.tensors.values()].filter(({ name }) => !isIgnored(name, config));
  const report = {
    config,
    parameters: weightsIn(tensors),
    bytes: tensors.reduce((sum, { bytes }) => sum + bytes, 0),
    dtypes: [...new Set(tensors.map(({ dtype }) => dtype))].sort(),
  };
  for (const id of [config.bos, ...config.eos ?? [], config.pad]) {
    if (id !== undefined && id >= config.vocabSize) {
      throw new UserError(`${folder}: config.json names token ${id}, the embedding has ${config.vocabSize} rows.`);
    }
  }
  if (kindOf(join(folder, "tokenizer.json")) !== "file") return report;
  using tokenizer = loadTokenizer(folder);
  const tokens = tokenizer.vocabSize;
  checkTokens(folder, tokens, config);
  return { ...report, tokens, spareRows: config.vocabSize - tokens };
}

/**
 * Checks that every token has its row in the embedding (spare rows are normal).
 *
 * @param where the model, for the message
 * @param tokens 1 + the tokenizer's highest id
 * @throws {UserError} if there are more tokens than rows
 */
function checkTokens(where: string, tokens: number, config: ModelConfig): void {
  if (tokens > config.vocabSize) {
    throw new UserError(
      `${where}: the tokenizer has token ids up to ${tokens - 1}, the embedding has only ${config.vocabSize} rows.`,
    );
  }
}

/**
 * Contents of the tokenizer's files in a folder, by name. Where SentencePiece's tokenizer.model stands alone, the others
 * are made of it.
 *
 * @throws {UserError} if that model is of a kind that we do not know
 */
export function readTokenizerFiles(folder: string): Record<string, string | Uint8Array> {
  const present = tokenizerNames.filter((name) => kindOf(join(folder, name)) === "file");
  const files = Object.fromEntries(present.map((name) => [name, Deno.readFileSync(join(folder, name))]));
  const model = files["tokenizer.model"];
  if (model === undefined || files["tokenizer.json"] !== undefined) return files;
  const beside = join(folder, "tokenizer_config.json"), json = kindOf(beside) === "file" ? readJson(beside) : {};
  const config = isJsonObject(json) ? json : {};
  const flag = (value: unknown): boolean | undefined => typeof value === "boolean" ? value : undefined;
  const made = sentencePieceModelFiles(model, join(folder, "tokenizer.model"), {
    addBos: flag(config.add_bos_token),
    addEos: flag(config.add_eos_token),
    added: addedIn(config.added_tokens_decoder),
    ...(typeof config.chat_template === "string" && { chatTemplate: config.chat_template }),
  });
  return { ...files, ...made };
}

/** What tokenizer_config.json says of the tokens that were added to a model's own: `{id: {content, special}}`. */
function addedIn(table: unknown): AddedToken[] {
  return Object.entries(isJsonObject(table) ? table : {}).flatMap(([id, token]) =>
    isJsonObject(token) && typeof token.content === "string"
      ? [{ id: Number(id), content: token.content, special: token.special === true }]
      : []
  );
}

/** A model to be written. */
export interface ModelOut {
  /** Sizes and settings; becomes config.json and generation_config.json. */
  readonly config: ModelConfig;
  /** Every tensor that `expectedTensors` lists, in any order. */
  readonly tensors: Iterable<TensorOut>;
  /** A folder whose tokenizer files are copied. */
  readonly tokenizerFrom?: string;
  /** Tokenizer files, or any others, by name. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  /** README.md, the model's card. */
  readonly readme?: string;
}

/** How a model is written. */
export interface ModelOutOptions extends FolderOptions {
  /** Storage of the weights (default F32). */
  readonly dtype?: StoredDtype;
  /** Largest safetensors file; more are split, with an index (default 5 GB). */
  readonly shardBytes?: number;
  /** Called after each tensor. */
  readonly progress?: (done: number, total: number) => void;
}

const torchNames = { F32: "float32", BF16: "bfloat16", F16: "float16" } as const;

/** Cuts the list where a file would grow beyond the limit. */
function shards(tensors: readonly TensorOut[], dtype: StoredDtype, limit: number): TensorOut[][] {
  const result: TensorOut[][] = [];
  let room = -1;
  for (const tensor of tensors) {
    const bytes = elementsOf(tensor.shape) * (dtype === "F32" ? 4 : 2);
    if (bytes > room) {
      result.push([]);
      room = limit;
    }
    result.at(-1)?.push(tensor);
    room -= bytes;
  }
  return result;
}

/** The tensors in their usual order, if they are exactly the config's. */
function arranged(model: ModelOut): TensorOut[] {
  const given = new Map(Array.from(model.tensors, (tensor) => [tensor.name, tensor]));
  const list = expectedTensors(model.config).map(({ name, shape }) => {
    const tensor = given.get(name);
    if (tensor === undefined) throw new Error(`tensor "${name}" is missing from the model to be written`);
    if (tensor.shape.join() !== shape.join()) {
      throw new Error(`tensor "${name}" has shape [${tensor.shape}], its config asks for [${shape}]`);
    }
    return tensor;
  });
  if (given.size !== list.length) {
    const known = new Set(list.map(({ name }) => name));
    const extra = [...given.keys()].find((name) => !known.has(name));
    throw new Error(`tensor "${extra}" is no part of the model to be written`);
  }
  return list;
}

function printJson(path: string, value: unknown): void {
  Deno.writeTextFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
}

/** The settings of generation, where config has any. */
function generationConfig(config: ModelConfig): JsonObject {
  const eos = config.eos?.length === 1 ? config.eos[0] : config.eos;
  return {
    ...(config.bos === undefined ? {} : { bos_token_id: config.bos }),
    ...(eos === undefined ? {} : { eos_token_id: eos }),
    ...(config.pad === undefined ? {} : { pad_token_id: config.pad }),
  };
}

/**
 * Writes a model's folder. It appears whole or not at all; an old one stays until then.
 *
 * @param out where the folder will be
 * @param model what it will hold; a tensor's data is asked for when its turn comes
 * @throws {UserError} if something is in the way, the disk is full, or the tokenizer has more tokens than the model rows
 * @throws {Error} if tensors and config do not fit together
 */
export async function writeModelFolder(out: string, model: ModelOut, options: ModelOutOptions = {}): Promise<void> {
  const { config } = model;
  const dtype = options.dtype ?? "F32";
  const tensors = arranged(model);
  await writeFolder(out, async (folder, pause) => {
    printJson(join(folder, "config.json"), formatConfig(config, torchNames[dtype]));
    printJson(join(folder, "generation_config.json"), generationConfig(config));
    const copied = model.tokenizerFrom === undefined ? {} : readTokenizerFiles(model.tokenizerFrom);
    const code = config.kind === "moe" ? mixtureCode : {};
    for (const [name, content] of Object.entries({ ...copied, ...code, ...model.files })) {
      if (typeof content === "string") Deno.writeTextFileSync(join(folder, name), content);
      else Deno.writeFileSync(join(folder, name), content);
    }
    if (kindOf(join(folder, "tokenizer.json")) === "file") {
      using tokenizer = loadTokenizer(folder);
      checkTokens(out, tokenizer.vocabSize, config);
    }
    if (model.readme !== undefined) Deno.writeTextFileSync(join(folder, "README.md"), model.readme);
    const parts = shards(tensors, dtype, options.shardBytes ?? defaultShardBytes);
    const weightMap: Record<string, string> = {};
    let done = 0;
    for (const [index, part] of parts.entries()) {
      const number = (value: number): string => String(value).padStart(5, "0");
      const file = parts.length === 1
        ? "model.safetensors"
        : `model-${number(index + 1)}-of-${number(parts.length)}.safetensors`;
      using writer = createSafetensors(join(folder, file), part, { dtype });
      for (const { name, data } of part) {
        await writeTensor(writer, data);
        weightMap[name] = file;
        options.progress?.(++done, tensors.length);
        await pause();
      }
      writer.finish();
    }
    if (parts.length > 1) {
      const total = weightsIn(tensors) * (dtype === "F32" ? 4 : 2);
      printJson(join(folder, "model.safetensors.index.json"), {
        metadata: { total_size: total },
        weight_map: weightMap,
      });
    }
  }, options);
}
