/** @file Files that the command line names: where relative paths start, and reading texts. */
import { fileURLToPath } from "node:url";
import { UserError } from "../../../dsl/errors.ts";
import { kindOf } from "../../convert/files.ts";

/** A file's text, every byte of it. @throws {UserError} if there is no such file, or it is no UTF-8 */
export function readText(path: string): string {
  const kind = kindOf(path);
  if (kind !== "file") {
    throw new UserError(`${path}: ${kind === "folder" ? "this is a folder" : "there is no such file"}.`);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Deno.readFileSync(path));
  } catch (error) {
    if (error instanceof TypeError) throw new UserError(`${path}: this is no UTF-8 text.`);
    throw error;
  }
}

/** Where relative paths start: `deno task` changes to the checkout and says in INIT_CWD where it was called. */
export function workingFolder(): string {
  const cwd = Deno.cwd();
  const called = Deno.env.get("INIT_CWD");
  if (!called || !import.meta.url.startsWith("file:")) return cwd;
  // Inherited from some outer task, the variable means nothing to a command started elsewhere.
  const checkout = Deno.realPathSync(fileURLToPath(new URL("../../..", import.meta.url)));
  return Deno.realPathSync(cwd) === checkout ? called : cwd;
}
