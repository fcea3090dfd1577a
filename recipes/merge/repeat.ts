/** @file Does a merge over again and compares the weights' files, byte for byte. */
import { join } from "node:path";
import { UserError } from "../../dsl/errors.ts";
import type { StoredDtype } from "../../backend/checkpoint.ts";
import { kindOf } from "../convert/files.ts";
import { readJson } from "../convert/huggingface.ts";
import { mergeFolder, mergeRecord } from "./folder.ts";
import type { MergeWeights } from "./weights.ts";

/** Bytes compared at a time. */
const chunk = 2 ** 20;

/**
 * What differs between a merged folder's weights and those of its merge repeated from the mixture, file by file; empty
 * where they are equal bit for bit.
 *
 * @throws {UserError} if the folder does not say how it was merged, or the mixture is no mixture
 */
export async function differingFiles(mixture: string, merged: string, signal?: AbortSignal): Promise<string[]> {
  const path = join(merged, mergeRecord);
  if (kindOf(path) !== "file") {
    throw new UserError(`${merged}: there is no ${mergeRecord}, which says how it was merged.`);
  }
  const { dtype, ...weights } = readJson(path) as { dtype: StoredDtype | null } & MergeWeights;
  const temporary = Deno.makeTempDirSync({ prefix: "xft-verify-" });
  try {
    const again = join(temporary, "merged");
    await mergeFolder(mixture, again, { weights: () => weights, ...(dtype && { dtype }), signal });
    const names = new Set([...weightFiles(merged), ...weightFiles(again)]);
    return [...names].sort().flatMap((name) => {
      const [one, two] = [join(merged, name), join(again, name)];
      if (kindOf(one) !== "file") return [`${name} is missing`];
      if (kindOf(two) !== "file") return [`${name} is in no such merge`];
      return equalBytes(one, two) ? [] : [`${name} is not what the merge gives`];
    });
  } finally {
    Deno.removeSync(temporary, { recursive: true });
  }
}

function weightFiles(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).filter((name) => name.endsWith(".safetensors"));
}

function equalBytes(one: string, two: string): boolean {
  using a = Deno.openSync(one), b = Deno.openSync(two);
  if (a.statSync().size !== b.statSync().size) return false;
  const [x, y] = [new Uint8Array(chunk), new Uint8Array(chunk)];
  for (;;) {
    const n = fill(a, x), m = fill(b, y);
    if (n !== m) return false;
    if (n === 0) return true;
    for (let i = 0; i < n; i++) if (x[i] !== y[i]) return false;
  }
}

/** Reads until the buffer is full or the file ends. */
function fill(file: Deno.FsFile, buffer: Uint8Array): number {
  let filled = 0;
  while (filled < buffer.length) {
    const read = file.readSync(buffer.subarray(filled));
    if (read === null) break;
    filled += read;
  }
  return filled;
}
