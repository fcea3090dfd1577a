/** @file From files to examples. */
import { UserError } from "../../../dsl/errors.ts";
import { type Example, type Fields, toExample } from "./examples.ts";
import { recordsOf } from "./records.ts";

export { sha256Of } from "./bytes.ts";
export { answerOf, type Example, type Fields, parseFields, questionOf, type Turn } from "./examples.ts";
export { type DataRecord, recordsOf } from "./records.ts";

/** An example and its place: file and line. */
export interface Placed {
  readonly where: string;
  readonly example: Example;
}

/** How files are read. */
export interface ReadOptions {
  /** Which fields to take (default: found by name). */
  readonly fields?: Fields;
  /** Called for each malformed record, which is then left out; without it the first one is an error. */
  readonly onMalformed?: (where: string, complaint: string) => void;
}

/**
 * The examples of files, in order, one in memory at a time.
 *
 * @throws {UserError} naming file and line of what is missing or malformed, or if there is no example at all
 */
export async function* readExamples(paths: readonly string[], options: ReadOptions = {}): AsyncGenerator<Placed> {
  let any = false;
  for (const path of paths) {
    for await (const { where, read } of recordsOf(path)) {
      let example: Example;
      try {
        example = toExample(read(), where, options.fields);
      } catch (error) {
        if (!(error instanceof UserError && options.onMalformed)) throw error;
        options.onMalformed(where, error.message);
        continue;
      }
      any = true;
      yield { where, example };
    }
  }
  if (!any) throw new UserError(`${paths.join(", ")}: no instruction in the data.`);
}
