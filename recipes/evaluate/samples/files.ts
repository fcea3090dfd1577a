/** @file Sample files: JSON lines of `{task_id, solution}` or `{task_id, completion}`, as evalplus has them. */
import { UserError } from "../../../dsl/errors.ts";
import type { Sample } from "../grading/grade.ts";

/**
 * Reads a sample file.
 *
 * @throws UserError naming file and line where the file is missing or a line is no sample
 */
export async function readSamples(path: string): Promise<Sample[]> {
  const text = await Deno.readTextFile(path).catch((cause) => {
    if (cause instanceof Deno.errors.NotFound) throw new UserError(`${path}: no such file.`, { cause });
    throw new UserError(`${path}: cannot be read (${cause.message}).`, { cause });
  });
  const samples = text.split("\n").flatMap((line, i) => line.trim() === "" ? [] : [readLine(line, `${path}:${i + 1}`)]);
  if (samples.length === 0) throw new UserError(`${path}: the file has no samples.`);
  return samples;
}

function readLine(line: string, where: string): Sample {
  let row: Record<string, unknown>;
  try {
    row = JSON.parse(line);
  } catch (cause) {
    throw new UserError(`${where}: not JSON (${(cause as Error).message}).`, { cause });
  }
  if (row === null || typeof row !== "object" || typeof row.task_id !== "string") {
    throw new UserError(`${where}: not a sample, which is an object with a "task_id".`);
  }
  const program = row.solution ?? row.completion;
  if (typeof program !== "string") throw new UserError(`${where}: neither "solution" nor "completion" is a text.`);
  const { task_id } = row;
  return typeof row.solution === "string" ? { task_id, solution: row.solution } : { task_id, completion: program };
}

/** Samples as the text of a sample file. */
export function sampleLines(samples: readonly Sample[]): string {
  return samples.map((sample) => `${JSON.stringify(sample)}\n`).join("");
}

/** Writes a sample file, whole or not at all. */
export async function writeSamples(path: string, samples: readonly Sample[]): Promise<void> {
  const temporary = `${path}.${crypto.randomUUID()}.part`;
  try {
    await Deno.writeTextFile(temporary, sampleLines(samples));
    await Deno.rename(temporary, path);
  } catch (cause) {
    await Deno.remove(temporary).catch(() => {});
    throw new UserError(`${path}: cannot be written (${(cause as Error).message}).`, { cause });
  }
}
