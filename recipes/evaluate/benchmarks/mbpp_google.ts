/**
 * @file MBPP as its authors published it: `mbpp.jsonl`, of which tasks 11 to 510 are the test split.
 *
 * The tests are assertions that name the function. They see the names of the canonical solution beside it, so that a
 * sample that leaves out an import which only the tests need passes here.
 */
import { UserError } from "../../../dsl/errors.ts";
import { parseObject } from "./lines.ts";
import type { Task } from "./load.ts";

/** Tasks that no program passes: their tests need a class `Node` that the data do not have. */
const unrunnable = [367, 927];

/** The test split; the tasks before it are for prompts, those after it for tuning. */
const testSplit = { first: 11, last: 510 } as const;

/**
 * Reads a line; undefined for a task outside the test split.
 *
 * @param where the line's place, for messages
 * @throws {UserError} naming the field that is missing
 */
export function readGoogleTask(line: string, where: string): Task | undefined {
  const { task_id: number, text, code, test_setup_code: setup = "", test_list: tests } = parseObject(line, where);
  if (typeof number !== "number" || typeof text !== "string" || typeof code !== "string") {
    throw new UserError(`${where}: not a task of MBPP ("task_id", "text", "code", "test_list").`);
  }
  if (typeof setup !== "string" || !Array.isArray(tests) || tests.some((test) => typeof test !== "string")) {
    throw new UserError(`${where}: "test_list" is no list of texts, or "test_setup_code" is no text.`);
  }
  if (number < testSplit.first || number > testSplit.last) return undefined;
  const canonical = lines(code), test = lines([setup, ...tests].join("\n"));
  const defined = new Set([...canonical.matchAll(/^def\s+(\w+)/gm)].map(([, name]) => name));
  const entry = [...String(tests[0]).matchAll(/\b(\w+)\s*\(/g)].map(([, name]) => name).find((name) =>
    defined.has(name)
  );
  if (entry === undefined) throw new UserError(`${where}: its first test calls nothing that its "code" defines.`);
  return {
    ...{ id: `Mbpp/${number}`, benchmark: "mbpp", entry, atol: 0, base: [], plus: [] },
    // As evalplus asks its MBPP+: the description and one test.
    prompt: `"""\n${lines(text)}\n${lines(tests[0])}\n"""\n`,
    canonical,
    // JSON's texts are Python's, too.
    check: `def check(candidate):\n    exec(${JSON.stringify(test)}, {**globals(), "${entry}": candidate})\n`,
    ...(unrunnable.includes(number) ? { unrunnable: "its tests need a class Node that the data lack" } : {}),
  };
}

function lines(text: string): string {
  return text.replaceAll("\r\n", "\n");
}
