/** @file Reading the texts that the command line names. */
import { UserError } from "../../dsl/errors.ts";
import { kindOf } from "../convert/files.ts";

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
