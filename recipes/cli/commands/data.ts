/** @file `xft data`: what is in instruction data, as a model would see it. */
import { loadTokenizer } from "../../../backend/tokenizer.ts";
import { checkTarget, writeFile } from "../../convert/files.ts";
import { readConfig } from "../../convert/huggingface.ts";
import type { DataReport, Encoder, Removal } from "../../data/mod.ts";
import type { Sample } from "../../model/batch.ts";
import type { commands } from "../commands.ts";
import type { Context, JsonResult } from "../context.ts";
import { dataSettings } from "../flags/shared.ts";
import { columns } from "../output/format.ts";
import type { Arguments } from "../flags/schema.ts";
import { readData, summaryOf } from "./stages/stage.ts";

/** Removals that are told one by one on a terminal; `--drops` has them all. */
const TOLD = 10;

/** A tokenizer that can also say what a model would read. */
interface Reader extends Encoder, Disposable {
  decode(ids: readonly number[]): string;
}

/** Runs the command. */
export async function run(args: Arguments<typeof commands.data>, context: Context): Promise<JsonResult> {
  const { files, model, show, seq, validation, seed, drops, overwrite } = args;
  if (drops) checkTarget(drops, "file", { overwrite });
  using reader = model === undefined ? bytes() : tokens(model);
  const vocab = model === undefined ? BYTES : readConfig(model).vocabSize;
  const removals: Removal[] = [], shown: { readonly where: string; readonly parts: readonly Part[] }[] = [];
  const onSample = (sample: Sample): void => {
    if (shown.length < show) shown.push({ where: sample.source ?? "", parts: partsOf(sample, reader) });
  };
  const options = {
    batch: 1,
    seq,
    vocab,
    validation,
    seed,
    onSample,
    onRemoved: (one: Removal) => void removals.push(one),
  };
  using data = await readData(files, reader, { ...dataSettings(args), ...options }, context);
  if (drops) writeFile(drops, removals.map((removal) => `${JSON.stringify(removal)}\n`).join(""), { overwrite });
  const unit = model === undefined ? "bytes" : "tokens";
  for (const { where, parts } of shown) context.print(`── ${where}\n${painted(parts)}\n`);
  context.print(summaryOf(data.report).replaceAll("tokens", unit));
  context.print(lengthsOf(data.report, seq, unit));
  for (const removal of removals.slice(0, TOLD)) {
    context.print(`left out: ${removal.where}: ${removal.reason}: ${removal.detail}`);
  }
  if (removals.length > TOLD) {
    context.print(`… and ${removals.length - TOLD} more${drops ? ` in ${drops}` : " (--drops FILE writes them all)"}`);
  }
  return { unit, seq, ...data.report, samples: shown, ...(drops && { drops }) };
}

/** A part of a sample's text, learned or only read. */
interface Part {
  readonly text: string;
  readonly tokens: number;
  readonly scored: boolean;
}

/** A sample as its model reads it, special tokens spelled out. */
function partsOf({ ids, scoredFrom, unscored = [] }: Sample, reader: Reader): Part[] {
  const scored = (at: number): boolean => at >= scoredFrom && !unscored.some(([from, to]) => from <= at && at < to);
  const parts: Part[] = [];
  for (let from = 0; from < ids.length;) {
    let to = from + 1;
    while (to < ids.length && scored(to) === scored(from)) to++;
    const text = reader.decode(Array.from(ids).slice(from, to));
    parts.push({ text, tokens: to - from, scored: scored(from) });
    from = to;
  }
  return parts;
}

function painted(parts: readonly Part[]): string {
  const colours = Deno.stdout.isTerminal() && !Deno.noColor;
  const paint = ({ text, scored }: Part): string => {
    if (!colours) return scored ? `⟦${text}⟧` : text;
    return `\x1b[${scored ? 32 : 2}m${text}\x1b[0m`;
  };
  return parts.map(paint).join("");
}

/** Lengths in numbers and as bars. */
function lengthsOf({ lengths }: DataReport, seq: number, unit: string): string {
  const { least, median, mean, p95, most, histogram } = lengths;
  const largest = Math.max(...histogram.map(({ count }) => count));
  const rows = histogram.map(({ upTo, count }) => [
    `≤ ${upTo}`,
    count,
    "█".repeat(Math.ceil(40 * count / largest)) + (upTo > seq && upTo / 2 <= seq ? ` --seq ${seq}` : ""),
  ]);
  return `${unit} of a sample: ${least} at least, median ${median}, mean ${mean.toFixed(0)}, 95% up to ${p95}, ` +
    `${most} at most\n${columns(rows)}`;
}

function tokens(model: string): Reader {
  const tokenizer = loadTokenizer(model);
  const { bos, eos, chatTemplate } = tokenizer;
  return {
    bos,
    eos,
    chatTemplate,
    idToToken: (id) => tokenizer.idToToken(id),
    encodeBatch: (texts, options) => tokenizer.encodeBatch(texts, options),
    decode: (ids) => tokenizer.decode(ids, { skipSpecial: false }),
    [Symbol.dispose]: () => tokenizer[Symbol.dispose](),
  };
}

/** Ids of the stand-in for a tokenizer: every byte, and the end. */
const BYTES = 257;

/** Without a model: its bytes are a text's tokens. */
function bytes(): Reader {
  const eos = 256, encoder = new TextEncoder(), decoder = new TextDecoder();
  return {
    eos,
    encodeBatch: (texts) => texts.map((text) => Array.from(encoder.encode(text))),
    decode: (ids) =>
      decoder.decode(Uint8Array.from(ids.filter((id) => id !== eos))) + (ids.includes(eos) ? "<end>" : ""),
    [Symbol.dispose]: () => {},
  };
}
