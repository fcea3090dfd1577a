/** @file A recipe's file: reading it, its paths, and what it names on the hub. */
import { dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { UserError } from "../../../dsl/errors.ts";
import { kindOf } from "../../convert/files.ts";
import { readJson } from "../../convert/huggingface.ts";
import { isHubAddress } from "../../hub/address.ts";
import { checkRecipe, type Recipe } from "../../recipe.ts";

const isModule = (path: string): boolean => /\.[mc]?[jt]s$/.test(path);

/**
 * The recipe in a file, with absolute paths; what is on the hub keeps its address.
 *
 * @throws {UserError} if there is none
 */
export async function readRecipe(path: string): Promise<Recipe> {
  if (kindOf(path) !== "file") throw new UserError(`${path}: there is no such recipe.`);
  let value: unknown;
  if (isModule(path)) {
    try {
      value = (await import(pathToFileURL(path).href)).default;
    } catch (cause) {
      if (cause instanceof UserError) throw cause;
      throw new UserError(`${path}: this recipe cannot be loaded: ${(cause as Error).message}`, { cause });
    }
  } else value = readJson(path);
  return withPaths(checkRecipe(value, path), (name) => isHubAddress(name) ? name : resolve(dirname(path), name));
}

/** A recipe with others in place of its paths. */
export function withPaths(recipe: Recipe, place: (path: string) => string): Recipe {
  const { tokenizer, out, evaluate, learn } = recipe;
  return {
    ...recipe,
    model: place(recipe.model),
    data: recipe.data.map(place),
    decontaminate: recipe.decontaminate?.map(place),
    tokenizer: tokenizer && place(tokenizer),
    out: out && place(out),
    evaluate: evaluate && { ...evaluate, data: place(evaluate.data) },
    learn: learn &&
      { ...learn, objective: learn.objective?.endsWith(".ts") ? place(learn.objective) : learn.objective },
  };
}

/** What a recipe names on the hub. */
async function addressesIn(path: string): Promise<string[]> {
  const named: string[] = [];
  withPaths(await readRecipe(path), (word) => {
    if (isHubAddress(word)) named.push(word);
    return word;
  });
  return named;
}

/**
 * What a recipe names on the hub, found while this process may still use the network: a recipe that is a program is
 * loaded by another one, which may not. Faults in it are left to whoever reads it next.
 */
export async function addressesBeforehand(path: string): Promise<readonly string[]> {
  if (!isModule(path)) return await addressesIn(path);
  const rights = ["--allow-read", "--allow-env", "--allow-sys", "--allow-import"];
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-lock", "--no-prompt", ...rights, import.meta.url, path],
    stdin: "null",
    stderr: "null",
  }).output();
  return success ? JSON.parse(new TextDecoder().decode(stdout).trim().split("\n").at(-1)!) : [];
}

if (import.meta.main) console.log(JSON.stringify(await addressesIn(Deno.args[0])));
