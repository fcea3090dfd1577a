/** @file Where `xft evaluate` keeps what is done until all of it is. */
import { kindOf } from "../../../convert/files.ts";
import { sha256 } from "../../../evaluate/bytes.ts";
import { openEvaluation, type UnfinishedEvaluation } from "../../../evaluate/samples/unfinished.ts";
import type { commands } from "../../commands.ts";
import type { Arguments } from "../../flags/schema.ts";

/**
 * OUT.unfinished, begun or opened again; nothing is kept without `--out`.
 *
 * @throws {UserError} if one is there and no flag says what to do with it, or if it was begun with other flags or files
 */
export async function unfinishedEvaluation(
  { out, overwrite, resume, jobs: _, json: __, ...flags }: Arguments<typeof commands.evaluate>,
  benchmark: { readonly sha256: string },
): Promise<UnfinishedEvaluation> {
  const { target } = flags, data = { sha256: benchmark.sha256 };
  const samples = kindOf(target) === "file" ? { sha256: await sha256(Deno.readFileSync(target)) } : undefined;
  return openEvaluation(out, { ...flags, data, answers: samples }, { resume, overwrite });
}
