/** @file What is published of a model: its folder, what it was made by, and its results, each file with its SHA-256. */
import { createHash } from "node:crypto";
import { basename, extname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { UserError } from "../../dsl/errors.ts";
import { type Coefficients, parseCoefficients } from "../convert/coefficients.ts";
import type { ModelConfig } from "../convert/config.ts";
import { isJsonObject, type JsonObject } from "../convert/fields.ts";
import { kindOf } from "../convert/files.ts";
import { checkModel, promptFile, readJson } from "../convert/huggingface.ts";
import type { Report } from "../evaluate/grading/grade.ts";
import type { ProgramReport } from "../evaluate/programs/mod.ts";
import { holdsResult } from "../evaluate/result.ts";
import { mergeRecord } from "../merge/folder.ts";

/** A file to be published. */
export interface PublishedFile {
  /** Its name in the repository. */
  readonly path: string;
  /** Where it lies, or its text. */
  readonly content: URL | string;
  readonly bytes: number;
  readonly sha256: string;
}

/** A benchmark's result as its report.json has it. */
export interface PublishedResult {
  /** Its folder in the repository. */
  readonly place: string;
  /** Whether it is of the model that is published, not of one it is compared with. */
  readonly isOwn: boolean;
  readonly report: Omit<Report | ProgramReport, "verdicts">;
}

/** Where the parts lie. */
export interface Sources {
  /** The model's folder. */
  readonly model: string;
  /** Folders of results (`evaluate --out`), by their names in the repository. */
  readonly results: Readonly<Record<string, { readonly folder: string; readonly isOwn: boolean }>>;
  /** The recipe: TypeScript or JSON. */
  readonly recipe?: string;
  /** The merge's coefficients. */
  readonly coefficients?: string;
}

/** What is published, but its card. */
export interface Contents {
  readonly files: readonly PublishedFile[];
  readonly config: ModelConfig;
  readonly parameters: number;
  readonly dtypes: readonly string[];
  /** How the model was merged, where it was. */
  readonly merge?: { readonly method?: string };
  /** The words around examples that it was trained with: magicoder, chat, base. */
  readonly prompt?: string;
  readonly coefficients?: Coefficients;
  readonly recipe?: { readonly name: string; readonly text: string; readonly json?: JsonObject };
  readonly results: readonly PublishedResult[];
}

/** Where results lie in a model's folder, a run's, or a repository. */
const resultPlaces = ["samples", "evaluation", "results"] as const;

/** The file that lists every other's SHA-256, as sha256sum writes it. */
const sumsFile = "SHA256SUMS";

/** What a model's folder is published with; its README.md is made anew, and a pickle is a program. */
const MODEL_FILE = /\.(safetensors|json|jsonl|jinja|model|txt|py)$|^(LICENSE|NOTICE)/;
const RESULT_FILES = ["report.json", "samples.jsonl", "samples.raw.jsonl", "verdicts.jsonl"];

/**
 * Finds the parts of what is to be published: a model's folder, or one of `run`, which has a merged model.
 *
 * @throws {UserError} if there is no such folder
 */
export function findSources(
  folder: string,
  given: { readonly results: readonly string[]; readonly recipe?: string; readonly coefficients?: string },
): Sources {
  if (kindOf(folder) !== "folder") throw new UserError(`${folder}: there is no such folder.`);
  const merged = join(folder, "models", "merged"), isRun = kindOf(merged) === "folder";
  const model = isRun ? merged : folder, results: Record<string, { folder: string; isOwn: boolean }> = {};
  const add = (path: string, isOwn: boolean): void => {
    const name = basename(path);
    if (name in results) throw new UserError(`${path}: there are two results of the name ${name}; rename one.`);
    results[name] = { folder: path, isOwn };
  };
  for (const path of resultsIn(folder)) add(path, !isRun || basename(path) === "merged");
  for (const path of given.results) {
    if (!holdsResult(path)) throw new UserError(`--results ${path}: there is no result of \`evaluate --out\`.`);
    add(path, true);
  }
  const inRun = (name: string): string | undefined =>
    isRun && kindOf(join(folder, name)) === "file" ? join(folder, name) : undefined;
  return {
    model,
    results,
    recipe: given.recipe ?? inRun("recipe.json"),
    coefficients: given.coefficients ?? inRun("coefficients.json"),
  };
}

/** Folders of results: the folder itself, or those in it. */
export function resultsIn(folder: string): string[] {
  if (holdsResult(folder)) return [folder];
  const places = resultPlaces.map((name) => join(folder, name)).filter((place) => kindOf(place) === "folder");
  return places.flatMap((place) =>
    holdsResult(place)
      ? [place]
      : [...Deno.readDirSync(place)].map(({ name }) => join(place, name)).filter(holdsResult).sort()
  );
}

/**
 * Reads what is published and hashes it. Paths of this machine in reports and recipes are cut to their last name.
 *
 * @throws {UserError} if a part is missing, damaged, or does not fit the others
 */
export async function readContents(sources: Sources, signal?: AbortSignal): Promise<Contents> {
  const { config, parameters, dtypes } = checkModel(sources.model);
  const files = new Map<string, string | URL>();
  for (const { name, isDirectory } of Deno.readDirSync(sources.model)) {
    if (!isDirectory && MODEL_FILE.test(name)) files.set(name, pathToFileURL(join(sources.model, name)));
  }
  const json = (path: string): string => `${JSON.stringify(withoutMachinePaths(readJson(path)), null, 2)}\n`;
  if (files.has("recipe.json")) files.set("recipe.json", json(join(sources.model, "recipe.json")));
  const recipe = sources.recipe ?? (files.has("recipe.json") ? join(sources.model, "recipe.json") : undefined);
  const isJson = recipe !== undefined && extname(recipe) === ".json";
  const recipeText = recipe === undefined ? undefined : isJson ? json(recipe) : readTextOf(recipe);
  const recipeName = `recipe${recipe === undefined ? "" : extname(recipe)}`;
  if (recipeText !== undefined) files.set(recipeName, recipeText);
  const coefficients = sources.coefficients === undefined
    ? undefined
    : parseCoefficients(readJson(sources.coefficients), sources.coefficients);
  if (sources.coefficients !== undefined) files.set("coefficients.json", json(sources.coefficients));
  const results = Object.entries(sources.results).map(([name, { folder, isOwn }]): PublishedResult => {
    const place = `samples/${name}`;
    for (const file of RESULT_FILES.filter((file) => kindOf(join(folder, file)) === "file")) {
      const path = join(folder, file);
      files.set(`${place}/${file}`, file === "report.json" ? json(path) : pathToFileURL(path));
    }
    const report = withoutMachinePaths(readJson(join(folder, "report.json"))) as unknown as PublishedResult["report"];
    if (!isJsonObject(report.pass_at) || !isJsonObject(report.protocol)) {
      throw new UserError(`${join(folder, "report.json")}: "pass_at" or "protocol" is missing.`);
    }
    return { place, isOwn, report };
  });
  const hashed: PublishedFile[] = [];
  for (const path of [...files.keys()].sort()) {
    hashed.push(await describeFile(path, files.get(path)!));
    signal?.throwIfAborted();
  }
  const sums = hashed.map(({ path, sha256 }) => `${sha256}  ${path}\n`).join("");
  const record = (name: string): JsonObject | undefined => {
    const path = join(sources.model, name), value = kindOf(path) === "file" ? readJson(path) : undefined;
    return isJsonObject(value) ? value : undefined;
  };
  const merge = record(mergeRecord), method = merge?.method, prompt = record(promptFile)?.prompt;
  return {
    files: [...hashed, await describeFile(sumsFile, sums)],
    ...{ config, parameters, dtypes, results, coefficients },
    ...(merge && { merge: typeof method === "string" ? { method } : {} }),
    ...(typeof prompt === "string" && { prompt }),
    ...(recipeText !== undefined && {
      recipe: { name: recipeName, text: recipeText, ...(isJson && { json: JSON.parse(recipeText) as JsonObject }) },
    }),
  };
}

/** The model and the data that a recipe names: a run's has them as fields of its own, a training's among what was given. */
export function namedIn(recipe: JsonObject = {}): { readonly model?: string; readonly data: readonly string[] } {
  const { model, data } = isJsonObject(recipe.given) ? recipe.given : recipe;
  const files = Array.isArray(data) ? data.filter((file) => typeof file === "string") : [];
  return { ...(typeof model === "string" && { model }), data: files };
}

function readTextOf(path: string): string {
  if (kindOf(path) !== "file") throw new UserError(`--recipe ${path}: there is no such file.`);
  return Deno.readTextFileSync(path);
}

/** A file's or a text's size and SHA-256; files are read piece by piece. */
export async function describeFile(path: string, content: URL | string): Promise<PublishedFile> {
  const hash = createHash("sha256");
  if (typeof content === "string") {
    const data = new TextEncoder().encode(content);
    return { path, content, bytes: data.length, sha256: hash.update(data).digest("hex") };
  }
  let bytes = 0;
  using file = await Deno.open(content);
  for await (const chunk of file.readable) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { path, content, bytes, sha256: hash.digest("hex") };
}

/** What begins at a root and has a folder in it; a stop string such as `//` is none. */
const MACHINE_PATH = /^(?:\/|[A-Za-z]:[\\/])(?:[^/\\\n]+[/\\])+[^/\\\n]+$/;

/** A value without the folders of this machine: what a path says to others is its last name. */
function withoutMachinePaths(value: unknown): unknown {
  if (typeof value === "string") return MACHINE_PATH.test(value) ? value.split(/[/\\]/).at(-1) : value;
  if (Array.isArray(value)) return value.map(withoutMachinePaths);
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, withoutMachinePaths(part)]));
}

/**
 * Which files of a folder are not what its SHA256SUMS says; nothing where it has none.
 *
 * @returns one sentence for each
 */
export async function differingFromSums(folder: string): Promise<string[] | undefined> {
  const list = join(folder, sumsFile);
  if (kindOf(list) !== "file") return undefined;
  const different: string[] = [];
  for (const line of Deno.readTextFileSync(list).split("\n").filter((line) => line !== "")) {
    const [, sha256, name] = /^([0-9a-f]{64}) [ *](.+)$/.exec(line) ?? [];
    if (name === undefined || name.split(/[/\\]/).includes("..")) {
      throw new UserError(`${list}: ${JSON.stringify(line)} is no line of sha256sum.`);
    }
    const path = join(folder, name);
    if (kindOf(path) !== "file") different.push(`${name} is missing`);
    else if ((await describeFile(name, pathToFileURL(path))).sha256 !== sha256) {
      different.push(`${name} is not what was published`);
    }
  }
  return different;
}
