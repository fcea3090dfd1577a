/** @file `xft convert`: any checkpoint we read → a Hugging Face folder, or a coefficients file; and back. */
import { openCheckpoint } from "../../../backend/checkpoint.ts";
import { checkTarget, convert, kindOf } from "../../convert/mod.ts";
import type { commands } from "../commands.ts";
import type { Context, JsonResult } from "../context.ts";
import { columns, count } from "../output/format.ts";
import type { Arguments } from "../flags/schema.ts";

/** Runs the command. */
export async function run(args: Arguments<typeof commands.convert>, context: Context): Promise<JsonResult> {
  const { input, out, overwrite, tokenizer, dtype, to, coefficients, ffn } = args;
  if (args.dryRun) {
    using checkpoint = openCheckpoint(input);
    const kind = to === "gguf" || kindOf(out) === "file" || out.endsWith(".json") ? "file" : "folder";
    checkTarget(out, kind, { overwrite });
    const { format, tensors } = checkpoint;
    context.print(`would read ${input} (${format}, ${tensors.size} tensors) and write ${out}`);
    return { dry_run: true, from: format, tensor_count: tensors.size, out };
  }
  using bar = context.progress("convert", undefined, "tensors");
  const options = { overwrite, tokenizer, dtype, to, coefficients, ffn, signal: context.signal, progress: bar.of };
  const report = await convert(input, out, options);
  context.print(columns([
    ["read", `${input} (${report.from})`],
    [
      "wrote",
      `${out} (${report.wrote}, ${count(report.parameters)} ${report.wrote === "coefficients" ? "values" : "weights"})`,
    ],
    ...(report.tokens === undefined ? [] : [["tokens", `${report.tokens}, ${report.spareRows} spare rows`]]),
  ]));
  const { spareRows, ...rest } = report;
  return { ...rest, spare_rows: spareRows };
}
