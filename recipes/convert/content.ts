/** @file What a model's folder holds, as one number: two folders of the same content compute the same. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { sha256Of } from "../data/read/bytes.ts";
import { tokenizerNames } from "./huggingface.ts";

const READ: readonly string[] = [
  "config.json",
  "generation_config.json",
  "model.safetensors.index.json",
  ...tokenizerNames,
];

/** SHA-256 over the names and contents of all files of a model's folder that a training reads. */
export function contentOf(folder: string): string {
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name)
    .filter((name) => READ.includes(name) || name.endsWith(".safetensors")).sort();
  const hash = createHash("sha256");
  for (const name of names) hash.update(`${name}\0${sha256Of([join(folder, name)])}\n`);
  return hash.digest("hex");
}
