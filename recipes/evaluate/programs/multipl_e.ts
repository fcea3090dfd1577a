/** @file MultiPL-E: HumanEval in other languages, with prompts, tests and stop tokens from its data. */
import { UserError } from "../../../dsl/errors.ts";
import { cutAt } from "../benchmarks/prompts.ts";
import { parseObject, readLines } from "../benchmarks/lines.ts";
import { type Language, languages, missingTools, runIn } from "./languages.ts";
import type { ProgramBenchmark, ProgramTask } from "./mod.ts";

/**
 * Reads one language's file of MultiPL-E (`.jsonl`, packed or not): fields `name`, `language`, `prompt`, `tests` and
 * `stop_tokens`.
 *
 * @throws {UserError} naming the line that is malformed or of another language
 */
export async function loadMultiplE(
  path: string,
  language: Language,
  limit?: number,
): Promise<ProgramBenchmark> {
  const { sha256, rows } = await readLines(path);
  return {
    name: `multipl-e:${language}`,
    sha256,
    tasks: rows.slice(0, limit).map(({ where, text }) => readTask(where, text, language)),
    defaults: { samples: 50, temperature: 0.2, topP: 0.95, maxTokens: 1024 },
    missing: async () => {
      const reason = await missingTools(language);
      return reason === undefined ? new Map() : new Map([[language, reason]]);
    },
    run: (program) => runIn(language, program),
    sandbox: languages[language].sandbox,
  };
}

function readTask(where: string, text: string, language: Language): ProgramTask {
  const row = parseObject(text, where);
  if (row.language !== language) throw new UserError(`${where}: a task of "${row.language}", not of "${language}".`);
  const string = (name: string): string => {
    const value = row[name];
    if (typeof value !== "string") throw new UserError(`${where}: field "${name}" is missing or is no text.`);
    return value;
  };
  const prompt = string("prompt"), tests = string("tests"), stop = row.stop_tokens;
  if (!Array.isArray(stop) || stop.some((each) => typeof each !== "string")) {
    throw new UserError(`${where}: field "stop_tokens" is no list of texts.`);
  }
  return {
    id: string("name"),
    prompt,
    stop,
    answer: (completion) => cutAt(completion, stop),
    program: (answer) => `${prompt}${answer}\n${tests}`,
    needs: language,
  };
}
