/** @file `xft upcycle`: dense model → mixture, and the proof that it computes at first what the dense model computes. */
import { join } from "node:path";
import { open } from "../../../../backend/open.ts";
import { loadTokenizer, type Tokenizer } from "../../../../backend/tokenizer.ts";
import { checkTarget, writeFolder } from "../../../convert/files.ts";
import { readConfig } from "../../../convert/huggingface.ts";
import { parseFields, type Placed, readExamples, templateOf, tokenizeExamples } from "../../../data/mod.ts";
import { batchesOf, type HostBatch } from "../../../model/batch.ts";
import { loadDense, loadMixture } from "../../../model/parameters.ts";
import { mixtureConfig, proveStepZero, type StepZero, upcycle } from "../../../upcycle.ts";
import type { commands } from "../../commands.ts";
import type { Context, JsonResult } from "../../context.ts";
import { readText } from "../../inputs/files.ts";
import type { Arguments } from "../../flags/schema.ts";

/** What the proof uses where the user gives nothing: both prose and code. */
const BUILT_IN_TEXT = "The sum of the first n odd numbers is a square.\n\ndef squares(n):\n    total = 0\n" +
  "    for i in range(n):\n        total += 2 * i + 1\n        yield total\n";

/** Tokens that the proof compares, at most: a few hundred say as much as many. */
const PROOF = { rows: 4, tokens: 128 };

/** Runs the command. */
export async function run(args: Arguments<typeof commands.upcycle>, context: Context): Promise<JsonResult> {
  const { dense, out, overwrite, experts, active, router, init, share, noise, seed } = args;
  const settings = { experts, active, router, init, share, noise, seed };
  checkTarget(out, "folder", { overwrite });
  const config = mixtureConfig(readConfig(dense), settings);
  const batches = await proofBatches(args, config.vocabSize);
  if (args.dryRun) {
    context.print(`would write ${out}: ${experts} experts, ${active} active, ${router} router`);
    return { dry_run: true, out, experts, active };
  }
  let proof: StepZero | undefined;
  await writeFolder(out, async (folder) => {
    using bar = context.progress("upcycle", undefined, "tensors");
    const model = join(folder, "model");
    await upcycle(dense, model, settings, { signal: context.signal, progress: bar.of });
    if (init === "copy") proof = await prove(dense, model, args.device, batches);
    for (const { name } of Deno.readDirSync(model)) Deno.renameSync(join(model, name), join(folder, name));
    Deno.removeSync(model);
  }, { overwrite, signal: context.signal });
  context.print(
    proof
      ? `${out}: at step 0 the mixture's logits differ from the dense model's by at most ${
        proof.largest.toExponential(1)
      } ` +
        `(${proof.tokens} tokens, logits up to ${proof.scale.toFixed(1)})`
      : `${out}: --init drop starts away from the dense model on purpose, so there is nothing to prove`,
  );
  return { out, experts, active, step_zero: proof };
}

/** Loads both and compares; their memory is free again afterwards. */
async function prove(dense: string, mixture: string, name: string, batches: readonly HostBatch[]): Promise<StepZero> {
  using device = await open(name);
  return await proveStepZero(loadDense(dense, device), loadMixture(mixture, device), device, batches);
}

/** The user's own text, or the built-in one, as a few short rows. */
async function proofBatches(args: Arguments<typeof commands.upcycle>, vocab: number): Promise<HostBatch[]> {
  using tokenizer = loadTokenizer(args.dense);
  const rows: ArrayLike<number>[] = args.data.length === 0 ? [tokenizer.encode(BUILT_IN_TEXT)] : [];
  for (const path of args.data) {
    if (rows.length >= PROOF.rows) break;
    rows.push(...await rowsOf(path, tokenizer, vocab, args));
  }
  const samples = rows.slice(0, PROOF.rows).map((ids) => ({ ids, scoredFrom: 1 }));
  return batchesOf(samples, { batch: 1, seq: PROOF.tokens, bucket: 16 });
}

async function rowsOf(
  path: string,
  tokenizer: Tokenizer,
  vocab: number,
  { fields, skipMalformed }: Arguments<typeof commands.upcycle>,
): Promise<ArrayLike<number>[]> {
  if (!/\.(jsonl?|parquet)(\.(gz|zst))?$/.test(path)) return [tokenizer.encode(readText(path))];
  const examples: Placed[] = [];
  const mapping = fields === undefined ? undefined : parseFields(fields);
  for await (
    const placed of readExamples([path], { fields: mapping, onMalformed: skipMalformed ? () => {} : undefined })
  ) {
    if (examples.push(placed) === PROOF.rows) break;
  }
  // Prompts are long and alike: enough room for some of each response.
  const options = { maxTokens: 4 * PROOF.tokens, vocab, template: await templateOf("magicoder", tokenizer) };
  return tokenizeExamples(examples, tokenizer, options).flatMap(({ sample }) => sample ? [sample.ids] : []);
}
