/** @file `xft tokenize`: text → ids, and back. */
import { loadTokenizer } from "../../../backend/tokenizer.ts";
import { UserError } from "../../../dsl/errors.ts";
import type { commands } from "../commands.ts";
import type { Context, JsonResult } from "../context.ts";
import { readText } from "../inputs/files.ts";
import type { Arguments } from "../flags/schema.ts";

/** Runs the command. */
export function run(args: Arguments<typeof commands.tokenize>, context: Context): Promise<JsonResult> {
  using tokenizer = loadTokenizer(args.model);
  if (args.ids !== undefined) {
    const ids = args.ids.split(/[\s,]+/).filter((word) => word !== "").map((word) => {
      const id = Number(word);
      if (Number.isInteger(id) && id >= 0 && id < tokenizer.vocabSize) return id;
      throw new UserError(`--ids: ${word} is no token id of this model (0 to ${tokenizer.vocabSize - 1}).`);
    });
    const text = tokenizer.decode(ids, { skipSpecial: args.noSpecial });
    context.print(text);
    return Promise.resolve({ ids, text });
  }
  const text = args.text ?? readText(args.file!);
  const ids = tokenizer.encode(text, { special: !args.noSpecial });
  context.print(ids.join(","));
  return Promise.resolve({ ids });
}
