/** @file How the samples of a file were made, as the report says that lies beside it. */
import { dirname, join } from "node:path";
import { isJsonObject } from "../../convert/fields.ts";
import { kindOf } from "../../convert/files.ts";
import { readJson } from "../../convert/huggingface.ts";
import { sha256 } from "../bytes.ts";
import type { Sample } from "../grading/grade.ts";
import { type Protocol, unknownMaking } from "../protocol.ts";
import { sampleLines } from "./files.ts";
import { sanitizers } from "./sanitize.ts";

/** What a report says of samples besides how they were made. */
const origin = ["model", "device", "seed", "sanitizer_grammar"] as const;

/** By what a report knows its files of samples again: SHA-256 of their text. */
export async function sampleHashes(samples: readonly Sample[], raw?: readonly Sample[]): Promise<Protocol> {
  const hash = (list: readonly Sample[]): Promise<string> => sha256(sampleLines(list));
  return { samples_sha256: await hash(samples), ...(raw && { raw_samples_sha256: await hash(raw) }) };
}

/**
 * What the report beside a file of samples says of how they were made; empty where there is none, or where the file is
 * not the one that the report is about.
 *
 * @throws {UserError} if the report is not JSON
 */
export async function makingBeside(path: string): Promise<Protocol> {
  const place = join(dirname(path), "report.json");
  const report = kindOf(place) === "file" ? readJson(place) : undefined;
  if (!isJsonObject(report) || !isJsonObject(report.protocol)) return {};
  const protocol = report.protocol as Protocol, hash = await sha256(Deno.readFileSync(path));
  const isRaw = hash === protocol.raw_samples_sha256;
  if (!isRaw && hash !== protocol.samples_sha256) return {};
  const names = [...Object.keys(unknownMaking), ...origin];
  const said = Object.fromEntries(names.filter((name) => name in protocol).map((name) => [name, protocol[name]]));
  return isRaw ? { ...said, sanitizer: sanitizers.none } : said;
}
