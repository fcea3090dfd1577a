/**
 * @file convert: any checkpoint we read → a Hugging Face folder (or coefficients.json), and ours → the authors' names.
 * What a file is, its content says, not its name.
 */
import { join } from "node:path";
import { UserError } from "../../dsl/errors.ts";
import {
  createSafetensors,
  openCheckpoint,
  type TensorOut,
  writeSafetensors,
  writeTensor,
} from "../../backend/checkpoint.ts";
import {
  type AuthorsModel,
  fromAuthorsMoe,
  fromAuthorsWeighted,
  isAuthorsMoe,
  isAuthorsWeighted,
  toAuthorsMoe,
  toAuthorsWeighted,
} from "./authors.ts";
import { ffnNote, fromAuthorsFfn, openAuthorsFfn, toAuthorsFfn } from "./authors_ffn.ts";
import { formatCoefficients, readCoefficients } from "./coefficients.ts";
import { formatConfig, type ModelConfig } from "./config.ts";
import { isJsonObject } from "./fields.ts";
import { checkTarget, kindOf, writeFile, writeFolder } from "./files.ts";
import type { GgufType } from "./gguf/encode.ts";
import { fromGguf } from "./gguf/read.ts";
import { toGguf } from "./gguf/write.ts";
import {
  checkModel,
  type ModelOutOptions,
  openModel,
  readJson,
  readTokenizerFiles,
  writeModelFolder,
} from "./huggingface.ts";
import { weightsIn } from "./names.ts";
import { fromLlama2c } from "./llama2c/read.ts";
import { toLlama2c } from "./llama2c/write.ts";

export * from "./authors.ts";
export * from "./authors_ffn.ts";
export * from "./coefficients.ts";
export * from "./config.ts";
export * from "./files.ts";
export { type GgufType } from "./gguf/encode.ts";
export * from "./gguf/read.ts";
export * from "./gguf/write.ts";
export * from "./huggingface.ts";
export * from "./llama2c/read.ts";
export * from "./llama2c/write.ts";
export * from "./names.ts";
export * from "./rope.ts";
export * from "./tokenizers/sentencepiece.ts";
export * from "./tokenizers/tokenizer_json.ts";

/** How a checkpoint is converted. */
export interface ConvertOptions extends Omit<ModelOutOptions, "dtype"> {
  /** Storage of the weights (default F32, for GGUF F16); Q8_0 is GGUF's alone. */
  readonly dtype?: GgufType;
  /** llama2.c: path of the tokenizer's .bin. */
  readonly tokenizer?: string;
  /**
   * What is written (default: `huggingface`). `authors`: one of our mixtures for the authors' code, `authors-ffn`: its
   * FFNs alone; `gguf`, `llama2c`: a dense folder for llama.cpp (a file) or llama2.c (a folder with model.bin and
   * tokenizer.bin).
   */
  readonly to?: "huggingface" | "authors" | "authors-ffn" | "gguf" | "llama2c";
  /** With `to: "authors"`: path of a coefficients.json; their weighted model is written. */
  readonly coefficients?: string;
  /** Of the authors' weighted model: the folder of its FFNs; the dense model of both is written. */
  readonly ffn?: string;
}

/** What was converted. */
export interface ConvertReport {
  /** What the input was. */
  readonly from: "gguf" | "llama2c" | "authors-moe" | "authors-weighted" | "huggingface";
  /** What was written. */
  readonly wrote: "model" | "vocabulary" | "coefficients" | "authors" | "gguf" | "llama2c";
  /** Where. */
  readonly out: string;
  /** Number of weights written. */
  readonly parameters: number;
  /** Sizes and settings of the model, where one was written. */
  readonly config?: ModelConfig;
  /** Tokens of the tokenizer, where there is one. */
  readonly tokens?: number;
  /** Rows of the embedding beyond the last token: kept, never generated. */
  readonly spareRows?: number;
}

/** A model's folder after it was written: what a check of it finds goes into the report. */
function written(from: ConvertReport["from"], out: string): ConvertReport {
  const { config, parameters, tokens, spareRows } = checkModel(out);
  return { from, wrote: "model", out, parameters, config, tokens, spareRows };
}

/**
 * Converts a checkpoint: whatever we read to a Hugging Face folder, or a Hugging Face folder to what others read.
 *
 * @param input GGUF file, llama2.c file, folder of the authors' mixture or weighted model, or Hugging Face folder
 * @param out folder to write; for the authors' coefficients a JSON file
 * @throws {UserError} if the input is missing, damaged or not supported, or something is in the way at `out`
 * @example
 * ```ts ignore
 * import { convert } from "./mod.ts";
 * await convert("stories260K.bin", "models/stories", { tokenizer: "tok512.bin" });
 * ```
 */
export async function convert(input: string, out: string, options: ConvertOptions = {}): Promise<ConvertReport> {
  if (kindOf(input) === "nothing") throw new UserError(`${input}: there is no such file or folder.`);
  if (options.tokenizer !== undefined && kindOf(options.tokenizer) !== "file") {
    throw new UserError(`--tokenizer ${options.tokenizer}: there is no such file.`);
  }
  const { to = "huggingface", dtype } = options, isFolder = kindOf(input) === "folder";
  if (to !== "huggingface" && !isFolder) {
    throw new UserError(`--to ${to}: it takes a Hugging Face folder; \`convert\` ${input} to one first.`, {
      usage: true,
    });
  }
  if (to === "gguf") {
    const { parameters, config, tokens } = await toGguf(input, out, { ...options, type: dtype });
    return {
      from: "huggingface",
      wrote: "gguf",
      out,
      parameters,
      config,
      tokens,
      spareRows: config.vocabSize - tokens,
    };
  }
  if (dtype === "Q8_0") throw new UserError("--dtype Q8_0: it is for --to gguf; safetensors have no such type.");
  const ours = { ...options, dtype };
  if (to === "llama2c") {
    if (dtype !== undefined && dtype !== "F32") throw new UserError(`--dtype ${dtype}: llama2.c's weights are F32.`);
    return { from: "huggingface", wrote: "llama2c", out, ...await toLlama2c(input, out, options), spareRows: 0 };
  }
  return isFolder ? await convertFolder(input, out, ours) : await convertFile(input, out, ours);
}

/** The options of what is written as safetensors. */
type FolderConversion = Omit<ConvertOptions, "dtype"> & ModelOutOptions;

async function convertFile(input: string, out: string, options: FolderConversion): Promise<ConvertReport> {
  using checkpoint = openCheckpoint(input);
  if (checkpoint.format === "safetensors") {
    throw new UserError(`${input}: a safetensors file alone has no config.json; give the folder it belongs to.`);
  }
  checkTarget(out, "folder", options);
  if (checkpoint.format === "llama2c") {
    if (options.tokenizer === undefined) {
      throw new UserError(`${input}: a llama2.c model needs its tokenizer: add --tokenizer FILE.bin.`, { usage: true });
    }
    const model = fromLlama2c(checkpoint, Deno.readFileSync(options.tokenizer), options.tokenizer);
    await writeModelFolder(out, model, options);
    return written("llama2c", out);
  }
  if (options.tokenizer !== undefined) {
    throw new UserError(`--tokenizer: a GGUF file brings its own; the option is for llama2.c models.`, { usage: true });
  }
  const { config, tensors, files } = fromGguf(checkpoint);
  if (tensors.length > 0) {
    await writeModelFolder(out, { config, tensors, files }, options);
    return written("gguf", out);
  }
  await writeFolder(out, (folder) => {
    Deno.writeTextFileSync(join(folder, "config.json"), `${JSON.stringify(formatConfig(config), null, 2)}\n`);
    for (const [name, text] of Object.entries(files)) Deno.writeTextFileSync(join(folder, name), text);
  }, options);
  return { from: "gguf", wrote: "vocabulary", out, parameters: 0, config };
}

async function convertFolder(input: string, out: string, options: FolderConversion): Promise<ConvertReport> {
  if (options.tokenizer !== undefined) {
    throw new UserError(`--tokenizer: a folder brings its own; the option is for llama2.c models.`, { usage: true });
  }
  const where = join(input, "config.json");
  if (kindOf(join(input, "ffn_layer_0.safetensors")) === "file") {
    throw new UserError(`${input}: these are FFNs alone; convert the weighted model that they belong to, with --ffn.`);
  }
  if (kindOf(join(input, "ffn_layer_0.pt")) === "file") {
    throw new UserError(
      `${input}: these are the FFNs that the authors take out of their mixture, pickles, and reading one runs whatever ` +
        "program is in it. The mixture holds all of them: convert its folder.",
    );
  }
  if (kindOf(where) !== "file") throw new UserError(`${input}: there is no config.json, so this is no model's folder.`);
  const json = readJson(where);
  if (!isJsonObject(json)) throw new UserError(`${where}: a JSON object was expected.`);
  if (options.to === "authors") return await convertToAuthors(input, out, options);
  if (options.to === "authors-ffn") return await convertToAuthorsFfn(input, out, options);
  if (options.ffn !== undefined) {
    if (!isAuthorsWeighted(json)) throw new UserError(`--ffn: ${input} is not the authors' weighted model.`);
    checkTarget(out, "folder", options);
    using checkpoint = openCheckpoint(input);
    using ffn = openAuthorsFfn(options.ffn);
    await writeModelFolder(out, { ...fromAuthorsFfn(checkpoint, ffn, json, where), tokenizerFrom: input }, options);
    return written("authors-weighted", out);
  }
  if (isAuthorsWeighted(json)) {
    checkTarget(out, "file", options);
    using checkpoint = openCheckpoint(input);
    const coefficients = fromAuthorsWeighted(checkpoint, json);
    writeFile(out, formatCoefficients(coefficients), options);
    return {
      from: "authors-weighted",
      wrote: "coefficients",
      out,
      parameters: coefficients.alpha.reduce((sum, layer) => sum + layer.length, 0),
    };
  }
  checkTarget(out, "folder", options);
  if (isAuthorsMoe(json)) {
    using checkpoint = openCheckpoint(input);
    const model = fromAuthorsMoe(checkpoint, json, where);
    await writeModelFolder(out, { ...model, tokenizerFrom: input }, options);
    return written("authors-moe", out);
  }
  using model = openModel(input);
  const { checkpoint } = model;
  const tensors = [...checkpoint.tensors.values()]
    .filter(({ name }) => !(model.config.tied && name === "lm_head.weight") && !name.endsWith(".inv_freq"))
    .map(({ name, shape }): TensorOut => ({ name, shape, data: () => checkpoint.read(name) }));
  await writeModelFolder(out, { config: model.config, tensors, tokenizerFrom: input }, options);
  return written("huggingface", out);
}

async function convertToAuthors(input: string, out: string, options: FolderConversion): Promise<ConvertReport> {
  using model = openModel(input);
  const { config, checkpoint } = model;
  if (config.kind !== "moe") {
    throw new UserError(`${input}: this is a dense model; the authors' code reads it as it is.`);
  }
  const theirs: AuthorsModel = options.coefficients === undefined
    ? toAuthorsMoe(checkpoint, config)
    : toAuthorsWeighted(checkpoint, config, readCoefficients(options.coefficients));
  await writeFolder(out, async (folder, pause) => {
    Deno.writeTextFileSync(join(folder, "config.json"), `${JSON.stringify(theirs.config, null, 2)}\n`);
    for (const [name, content] of Object.entries(readTokenizerFiles(input))) {
      if (typeof content === "string") Deno.writeTextFileSync(join(folder, name), content);
      else Deno.writeFileSync(join(folder, name), content);
    }
    const path = join(folder, "model.safetensors");
    using writer = createSafetensors(path, theirs.tensors, { dtype: options.dtype });
    for (const { data } of theirs.tensors) {
      await writeTensor(writer, data);
      await pause();
    }
    writer.finish();
  }, options);
  return { from: "huggingface", wrote: "authors", out, parameters: weightsIn(theirs.tensors) };
}

async function convertToAuthorsFfn(input: string, out: string, options: FolderConversion): Promise<ConvertReport> {
  using model = openModel(input);
  const { config, checkpoint } = model;
  if (config.kind !== "moe") throw new UserError(`${input}: this is a dense model; it has no experts.`);
  const files = toAuthorsFfn(checkpoint, config);
  await writeFolder(out, async (folder, pause) => {
    Deno.writeTextFileSync(join(folder, "README.md"), ffnNote);
    for (const { name, tensors } of files) {
      await writeSafetensors(join(folder, name), tensors, { dtype: options.dtype });
      await pause();
    }
  }, { ...options, marks: [files[0].name] });
  const parameters = files.reduce((sum, { tensors }) => sum + weightsIn(tensors), 0);
  return { from: "huggingface", wrote: "authors", out, parameters, config };
}
