/** @file `xft verify`: a published folder's hashes are checked, its samples graded again, its merge repeated. */
import { basename } from "node:path";
import { UserError } from "../../../../dsl/errors.ts";
import { kindOf } from "../../../convert/files.ts";
import { gradeSamples, loadBenchmark, openNativeSandbox, openSandbox } from "../../../evaluate/mod.ts";
import type { Verdict } from "../../../evaluate/grading/grade.ts";
import { gradePrograms } from "../../../evaluate/programs/mod.ts";
import { sha256 } from "../../../evaluate/bytes.ts";
import { readResult, type StoredResult } from "../../../evaluate/result.ts";
import { differingFiles } from "../../../merge/repeat.ts";
import { differingFromSums, resultsIn } from "../../../publish/contents.ts";
import type { commands } from "../../commands.ts";
import type { Context, JsonResult } from "../../context.ts";
import type { Arguments } from "../../flags/schema.ts";
import { isProgramBenchmark, loadPrograms } from "./programs.ts";

/** Runs the command. */
export async function run(args: Arguments<typeof commands.verify>, context: Context): Promise<JsonResult> {
  const { folder, data, moe } = args;
  if (kindOf(folder) !== "folder") throw new UserError(`${folder}: there is no such folder.`);
  const results = resultsIn(folder), changed = await differingFromSums(folder);
  if (results.length === 0 && moe === undefined && changed === undefined) {
    throw new UserError(
      `${folder}: no result to grade again (report.json, samples.jsonl, verdicts.jsonl); for its merge give --moe DIR.`,
    );
  }
  if (changed) context.print(`files: ${changed.length === 0 ? "every SHA-256 as published" : changed.join("; ")}`);
  const files = new Map(
    await Promise.all(data.map(async (path) => [await sha256(readBytes(path)), path] as const)),
  );
  const graded = [];
  for (const place of results) graded.push(await gradeAgain(place, files, args.jobs, context));
  const differing = moe === undefined ? undefined : await differingFiles(moe, folder, context.signal);
  if (differing) {
    context.print(`merge: ${differing.length === 0 ? "every weight equal, bit for bit" : differing.join("; ")}`);
  }
  const wrong = [
    ...changed ?? [],
    ...graded.flatMap(({ place, different }) => different.length > 0 ? [`${place}: ${different.join(", ")}`] : []),
    ...differing ?? [],
  ];
  if (wrong.length > 0) throw new UserError(`${folder} is not what it says: ${wrong.join("; ")}.`);
  return {
    folder,
    verified: true,
    results: graded,
    merge: differing && { equal: true },
    hashes: changed && { equal: true },
  };
}

function readBytes(path: string): Uint8Array<ArrayBuffer> {
  if (kindOf(path) !== "file") throw new UserError(`${path}: there is no such file.`);
  return Deno.readFileSync(path);
}

async function gradeAgain(
  place: string,
  files: ReadonlyMap<string, string>,
  jobs: number | undefined,
  context: Context,
): Promise<{ place: string; benchmark: string; samples: number; different: string[] }> {
  const { benchmark: name, protocol, samples, verdicts } = await readResult(place);
  const wanted = String(protocol.dataset_sha256), path = files.get(wanted);
  if (!path) {
    throw new UserError(
      `${place}: it was graded with a file of SHA-256 ${wanted} (${protocol.dataset ?? "no known release"}); ` +
        "give that file by --data.",
    );
  }
  using bar = context.progress(`grade ${basename(place)}`, samples.length, "samples");
  const again = await verdictsOf({ name, path, protocol, samples }, { jobs, onProgress: (done) => bar.update(done) });
  const different = verdicts.flatMap(({ task_id, base, plus }, i) => {
    const now = again[i];
    return now.base === base && now.plus === plus
      ? []
      : [`sample ${i + 1} (${task_id}) was base ${base}, plus ${plus} and is base ${now.base}, plus ${now.plus}`];
  });
  const same = samples.length - different.length;
  context.print(`${place}: ${same} of ${samples.length} verdicts are the same again`);
  return { place, benchmark: name, samples: samples.length, different };
}

/** Samples of a result, with what grades them. */
interface Graded extends Pick<StoredResult, "protocol" | "samples"> {
  readonly name: string;
  /** The benchmark's file. */
  readonly path: string;
}

/** Verdicts by the sandbox and the limits of the protocol. @throws {UserError} if something is missing that they need */
async function verdictsOf(
  { name, path, protocol, samples }: Graded,
  { jobs, onProgress }: { readonly jobs?: number; readonly onProgress: (done: number) => void },
): Promise<readonly Verdict[]> {
  const ids = new Set(samples.map(({ task_id }) => task_id));
  const settings = { ...(jobs !== undefined && { concurrency: jobs }), onProgress };
  if (isProgramBenchmark(name)) {
    const whole = await loadPrograms(name, { data: path });
    const benchmark = { ...whole, tasks: whole.tasks.filter(({ id }) => ids.has(id)) };
    const { verdicts, not_run } = await gradePrograms(benchmark, samples, settings);
    for (const [needs, { reason }] of Object.entries(not_run)) {
      throw new UserError(`${name}: samples of ${needs} cannot be run here: ${reason}`);
    }
    return verdicts;
  }
  if (name !== "humaneval" && name !== "mbpp" && name !== "mbpp-google") {
    throw new UserError(`results of ${name} cannot be graded again.`);
  }
  const whole = await loadBenchmark(path, name);
  const benchmark = { ...whole, tasks: whole.tasks.filter(({ id }) => ids.has(id)) };
  const isNative = String(protocol.sandbox).includes("bubblewrap");
  await using sandbox = await (isNative ? openNativeSandbox : openSandbox)({ concurrency: jobs ?? 2 });
  const { verdicts } = await gradeSamples(benchmark, samples, {
    ...settings,
    sandbox,
    ...(typeof protocol.min_call_seconds === "number" && { minCallSeconds: protocol.min_call_seconds }),
    ...(typeof protocol.time_factor === "number" && { timeFactor: protocol.time_factor }),
  });
  return verdicts;
}
