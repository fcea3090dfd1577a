/** @file Merges from folder to folder by the command line: four models linearly and by TIES, a mixture of 8 experts. */
import { join } from "node:path";
import { userCache } from "../../backend/cache.ts";
import { writeModelFolder } from "../../recipes/convert/huggingface.ts";
import { layout } from "../../recipes/model/layout.ts";
import { expectedTensors } from "../../recipes/convert/names.ts";
import type { Case, MergeWork } from "../case.ts";
import { type Command, repeated, type Running, xftCommand } from "../processes.ts";
import { uniform } from "../weights.ts";
import { denseOf, mixtureOf } from "./sizes.ts";

/** SmolLM2-135M's sizes, f32. */
export const mergeCases: readonly Case[] = [
  { name: "merge/linear", work: { kind: "merge", method: "linear", config: denseOf("smollm2"), models: 4 } },
  { name: "merge/ties", work: { kind: "merge", method: "ties", config: denseOf("smollm2"), models: 4 } },
  { name: "merge/xft", work: { kind: "merge", method: "xft", config: mixtureOf("smollm2"), models: 1 } },
];

/** Small ones, for tests. */
export const toyMerges: readonly Case[] = [
  { name: "merge/xft", work: { kind: "merge", method: "xft", config: mixtureOf("toy"), models: 1 } },
];

const exists = (path: string): Promise<boolean> => Deno.stat(path).then(() => true, () => false);

/** Folders of the models that go into a merge, each written once; every model has its own numbers. */
const inputFolders = (work: MergeWork): Promise<string[]> => writeModels(work, join(userCache(), "bench"));

/** Writes the models into a folder, where they are not there yet. */
export async function writeModels({ config, models }: MergeWork, into: string): Promise<string[]> {
  const folders: string[] = [];
  for (let i = 0; i < models; i++) {
    const folder = join(into, [config.kind, config.hiddenSize, config.layers, i].join("-"));
    folders.push(folder);
    if (await exists(join(folder, "config.json"))) continue;
    const vectors = new Set(layout(config).flatMap(({ columns, names }) => columns.length === 0 ? names : []));
    const tensors = expectedTensors(config).map(({ name, shape }) => {
      const count = shape.reduce((a, b) => a * b, 1);
      const data = () => vectors.has(name) ? new Float32Array(count).fill(1) : uniform(`${i} ${name}`, count, 0.035);
      return { name, shape, data };
    });
    await writeModelFolder(folder, { config, tensors }, { dtype: "F32", overwrite: true });
  }
  return folders;
}

/** mergekit's file for a merge: ours reads it, too. */
function mergekitFile({ method }: MergeWork, folders: readonly string[]): string {
  const base = method === "ties" ? folders[0] : undefined;
  return JSON.stringify({
    merge_method: method,
    ...(base && { base_model: base }),
    models: folders.filter((folder) => folder !== base).map((model) => ({
      model,
      parameters: { weight: 1 / folders.length, ...(method === "ties" && { density: 0.5 }) },
    })),
    parameters: { normalize: true },
    dtype: "float32",
    tokenizer_source: undefined,
  });
}

/** Where a merge of a contestant lies while it is measured. */
export interface MergePlace extends AsyncDisposable {
  /** A folder that is not there yet. */
  readonly out: string;
  /** mergekit's file. */
  readonly file: string;
  /** The models that go in. */
  readonly inputs: readonly string[];
  /** Removes what was written. */
  clear(): Promise<void>;
}

/** Makes the inputs and a place for the output. */
export async function placeFor(work: MergeWork): Promise<MergePlace> {
  const inputs = await inputFolders(work), folder = await Deno.makeTempDir({ prefix: "xft-bench-" });
  const out = join(folder, "out"), file = join(folder, "merge.yml");
  await Deno.writeTextFile(file, mergekitFile(work, inputs));
  const clear = async (): Promise<void> => {
    if (await exists(out)) await Deno.remove(out, { recursive: true });
  };
  return { inputs, out, file, clear, [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
}

/** A merge by a command, once a round, into a folder that is gone before the next. */
export async function startMerge(
  work: MergeWork,
  command: (place: MergePlace) => Command,
  signal?: AbortSignal,
): Promise<Running> {
  const place = await placeFor(work), running = repeated(command(place), signal, () => place.clear());
  return { ...running, [Symbol.asyncDispose]: () => place[Symbol.asyncDispose]() };
}

/** Ours. */
export const ourMerge = (work: MergeWork, signal?: AbortSignal): Promise<Running> => {
  const command = ({ inputs, out, file }: MergePlace): Command =>
    xftCommand(
      work.method === "xft"
        ? ["merge", inputs[0], "--out", out, "--method", "uniform"]
        : ["merge", "--mergekit", file, "--out", out],
    );
  return startMerge(work, command, signal);
};
