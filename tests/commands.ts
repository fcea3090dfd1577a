/** @file Running programs and looking into folders, for the tests' set-up. */
import { basename, join } from "node:path";

/** How a command is run. */
export interface CommandOptions {
  /** The folder it runs in. */
  readonly cwd?: string;
  /** Variables added to the environment. */
  readonly environment?: Record<string, string>;
}

/** Runs a command to its end. @throws Error with the last line of its stderr when it fails */
export async function output(command: string, args: string[], options: CommandOptions = {}): Promise<void> {
  let result: Deno.CommandOutput;
  try {
    const { cwd, environment: env } = options;
    result = await new Deno.Command(command, { args, cwd, env, stdin: "null" }).output();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new Error(`${command} was not found`);
    throw error;
  }
  if (result.code === 0) return;
  const words = new TextDecoder().decode(result.stderr).trim().split("\n").at(-1) ?? "";
  throw new Error(`${basename(command)} ${args[0]} failed: ${words}`);
}

/** Does a command end well? */
export async function succeeds(command: string, args: string[], options: CommandOptions = {}): Promise<boolean> {
  try {
    await output(command, args, options);
    return true;
  } catch {
    return false;
  }
}

/** The first file of this name in a folder or below it. */
export function find(folder: string, name: string): string | undefined {
  for (const entry of Deno.readDirSync(folder)) {
    const path = join(folder, entry.name);
    if (entry.name === name) return path;
    const inside = entry.isDirectory ? find(path, name) : undefined;
    if (inside) return inside;
  }
  return undefined;
}

/** Names in a folder; none if there is no such folder. */
export function namesIn(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map((entry) => entry.name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Is there a file at this path? */
export function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
