/**
 * @file Do our merges of dense models agree with mergekit's? `deno run --allow-all bench/peers/agreement.ts` merges small
 * models by both, out of the same files, and prints the largest difference for each; it fails where one is too large.
 * DARE's draws are random: there changes that both kept are compared, up to one factor for each tensor. (mergekit scales
 * what it kept by the share of the tensor's magnitudes that this is, we by the share that should be kept.)
 */
import { join } from "node:path";
import { openCheckpoint } from "../../backend/checkpoint.ts";
import { mergeDense } from "../../recipes/merge/dense.ts";
import { readMergekit } from "../../recipes/merge/mergekit.ts";
import type { MergeWork } from "../case.ts";
import { denseOf } from "../families/sizes.ts";
import { writeModels } from "../families/merges.ts";
import { peersPython } from "./environment.ts";
import { root } from "../processes.ts";

type Parameters = Readonly<Record<string, number | boolean>>;

/** A merge of three models (the first may be the base), and what is said of it. */
interface Merge {
  readonly method: string;
  readonly base: boolean;
  /** Of the merge. */
  readonly parameters: Parameters;
  /** Of each model, without the base. */
  readonly models: readonly Parameters[];
  readonly dtype: "float32" | "bfloat16";
}

const merge = (
  method: string,
  models: readonly Parameters[],
  parameters: Parameters = {},
  dtype: Merge["dtype"] = "float32",
): Merge => ({ method, base: method !== "linear", parameters, models, dtype });

/** What both support. */
const merges: readonly Merge[] = [
  merge("linear", [{ weight: 1 }, { weight: 1 }, { weight: 1 }]),
  merge("linear", [{ weight: 0.5 }, { weight: 0.3 }, { weight: 0.4 }], { normalize: false }),
  merge("linear", [{ weight: 0.5 }, { weight: 0.3 }, { weight: 0.4 }], {}, "bfloat16"),
  merge("task_arithmetic", [{ weight: 0.5 }, { weight: -0.3 }]),
  merge("task_arithmetic", [{ weight: 0.5 }, { weight: 0.3 }], { normalize: true, lambda: 0.7 }),
  merge("ties", [{ weight: 1, density: 0.5 }, { weight: 1, density: 0.5 }]),
  merge("ties", [{ weight: 0.7, density: 0.2 }, { weight: 0.4, density: 0.9 }], { lambda: 1.3 }),
  merge("ties", [{ weight: 0.7, density: 0.2 }, { weight: 0.4 }], { normalize: false, int8_mask: true }),
  merge("ties", [{ weight: 1, density: 0.5 }, { weight: -1, density: 0.5 }]),
  merge("ties", [{ weight: 1, density: 1e-4 }, { weight: 1, density: 1 }]),
  merge("dare_linear", [{ weight: 1, density: 0.5 }]),
  merge("dare_linear", [{ weight: 0.5, density: 1 }, { weight: 0.25, density: 1 }], { normalize: true }),
  merge("dare_ties", [{ weight: 0.6, density: 0.3 }]),
  merge("dare_ties", [{ weight: 1, density: 1 }, { weight: 0.5, density: 1 }], { normalize: true }),
  ...[0, 0.3, 1].map((t) => merge("slerp", [{}], { t })),
];

/** mergekit's file. */
const fileOf = ({ method, base, parameters, models, dtype }: Merge, folders: readonly string[]): string =>
  JSON.stringify({
    merge_method: method,
    ...(base && { base_model: folders[0] }),
    models: [
      ...base ? [{ model: folders[0] }] : [],
      ...models.map((each, i) => ({ model: folders[base ? i + 1 : i], parameters: each })),
    ],
    parameters,
    dtype,
  });

/** All numbers of a folder's tensors by name. */
function tensorsOf(folder: string): Map<string, Float32Array> {
  using checkpoint = openCheckpoint(folder);
  return new Map([...checkpoint.tensors.keys()].map((name) => [name, checkpoint.read(name)]));
}

/** Is anything drawn at random? */
const isRandom = ({ method, models }: Merge): boolean =>
  method.startsWith("dare_") && models.some(({ density }) => Number(density) < 1);

interface Difference {
  /** Of two numbers, over the largest number of their tensor; of changes drawn at random, of their quotients. */
  readonly largest: number;
  readonly where: string;
  /** Shares of the numbers that differ from the base's: ours and theirs. */
  readonly changed?: readonly [number, number];
}

const largestOf = (values: Float32Array): number => values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);

/** The largest difference of two tensors' numbers. */
const differenceOf = (own: Float32Array, other: Float32Array): number =>
  largestOf(own.map((x, i) => x - other[i])) / (largestOf(own) || 1);

/** How far the quotients of changes that both kept are apart: large changes, so that rounding does not show. */
function spreadOf(own: Float32Array, other: Float32Array, base: Float32Array): number {
  const changes = own.map((x, i) => x - base[i]), theirs = other.map((x, i) => x - base[i]), top = largestOf(changes);
  const both = [...changes.keys()].filter((i) => Math.abs(changes[i]) > top / 4 && theirs[i] !== 0);
  const quotients = both.map((i) => theirs[i] / changes[i]);
  return both.length === 0 ? 0 : Math.max(...quotients) / Math.min(...quotients) - 1;
}

function compare(each: Merge, ours: string, theirs: string, base: string): Difference {
  const own = tensorsOf(ours), other = tensorsOf(theirs), start = tensorsOf(base), random = isRandom(each);
  let largest = 0, where = "", count = 0, left = 0, right = 0;
  for (const [name, values] of own) {
    const found = other.get(name), from = start.get(name)!;
    if (found?.length !== values.length) throw new Error(`${name}: mergekit made no such tensor`);
    const difference = random ? spreadOf(values, found, from) : differenceOf(values, found);
    if (difference > largest) [largest, where] = [difference, name];
    count += values.length;
    left += values.filter((x, i) => x !== from[i]).length;
    right += found.filter((x, i) => x !== from[i]).length;
  }
  return { largest, where, ...(random && { changed: [left / count, right / count] }) };
}

/** What may differ: in f32 some roundings; in bf16 mergekit computes, we only store. */
const tolerance = (each: Merge): number => isRandom(each) ? 1e-5 : each.dtype === "bfloat16" ? 2 ** -7 : 5e-7;

const folder = await Deno.makeTempDir({ prefix: "xft-agreement-" });
try {
  const work: MergeWork = { kind: "merge", method: "linear", config: denseOf("toy"), models: 3 };
  const folders = await writeModels(work, folder),
    jobs = merges.map((each, i) => {
      const file = join(folder, `${i}.yml`), place = (who: string): string => join(folder, `${i}-${who}`);
      Deno.writeTextFileSync(file, fileOf(each, folders));
      return { each, file, ours: place("ours"), theirs: place("theirs") };
    });
  const child = new Deno.Command(await peersPython(), {
    args: [join(root, "bench/peers/many_merges.py")],
    stdin: "piped",
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  await new Response(JSON.stringify(jobs.map(({ file, theirs }) => [file, theirs]))).body!.pipeTo(child.stdin);
  if (!(await child.status).success) throw new Error("mergekit failed");
  let failed = 0;
  for (const { each, file, ours, theirs } of jobs) {
    const { models, options } = readMergekit(Deno.readTextFileSync(file), file, folder);
    await mergeDense(models, ours, options);
    const { largest, where, changed } = compare(each, ours, theirs, folders[0]), good = largest <= tolerance(each);
    if (!good) failed++;
    const share = changed ? `; changed ${changed.map((x) => `${(100 * x).toFixed(1)}%`).join(", theirs ")}` : "";
    const said = JSON.stringify([each.models, each.parameters]);
    console.log(
      `${good ? "same" : "DIFFERENT"}  ${each.method} ${each.dtype}: ${largest.toExponential(1)}${share}  ${said}${
        good ? "" : ` in ${where}`
      }`,
    );
  }
  console.log(`${jobs.length - failed} of ${jobs.length} agree`);
  if (failed > 0) Deno.exitCode = 1;
} finally {
  await Deno.remove(folder, { recursive: true });
}
