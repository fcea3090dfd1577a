/** @file How byte-level tokenizers cut a text before merging, by llama.cpp's names and as a tokenizer.json has it. */
import { UserError } from "../../../dsl/errors.ts";
import { isJsonObject } from "../fields.ts";

/** GPT-2's pieces; `tokenizers` calls the same pattern ByteLevel's own. */
const gpt2Pieces = String
  .raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

/** Llama 3's pieces with at most `digits` digits together; Qwen 2's take one. */
function llama3Pieces(digits: string): string {
  return String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|` + digits +
    String.raw`| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
}

/** How a text is cut before merging: patterns, one after another, each isolating its matches. */
const preTokenizers: Readonly<Record<string, readonly string[]>> = {
  "gpt-2": [gpt2Pieces],
  // Single digits, then GPT-2's pieces.
  smollm: [String.raw`\p{N}`, gpt2Pieces],
  "deepseek-coder": [
    String.raw`[\r\n]`,
    String.raw`\s?\p{L}+`,
    String.raw`\s?\p{P}+`,
    "[一-龥ࠀ-一가-퟿]+",
    String.raw`\p{N}`,
  ],
  "llama-bpe": [llama3Pieces(String.raw`\p{N}{1,3}`)],
  qwen2: [llama3Pieces(String.raw`\p{N}`)],
  default: [
    String.raw`[\p{P}\$\+<=>\^~\|]+`,
    gpt2Pieces,
    String.raw`\p{N}+`,
    "[0-9][0-9][0-9]",
  ],
};

/** Other names for the same cuts, as llama.cpp lists them. */
const aliases: Readonly<Record<string, string>> = {
  starcoder: "smollm",
  refact: "smollm",
  "command-r": "smollm",
  codeshell: "smollm",
  mpt: "gpt-2",
  olmo: "gpt-2",
  jais: "gpt-2",
  phi: "gpt-2",
  llama3: "llama-bpe",
  "llama-v3": "llama-bpe",
  "deepseek-r1-qwen": "qwen2",
};

/**
 * The patterns of a cut.
 *
 * @param pre llama.cpp's name of it, or another name for the same
 * @param where the source's name, for messages
 * @throws {UserError} if there is none of that name
 */
export function patternsOf(
  pre: string,
  where: string,
): { readonly name: string; readonly patterns: readonly string[] } {
  const name = aliases[pre] ?? pre, patterns = preTokenizers[name];
  if (patterns === undefined) {
    const known = [...Object.keys(preTokenizers), ...Object.keys(aliases)].join(", ");
    throw new UserError(`${where}: the pre-tokenizer "${pre}" is not supported (${known} are).`);
  }
  return { name, patterns };
}

/** A tokenizer.json's steps as patterns: single digits are one, and so are the pieces that ByteLevel cuts by itself. */
function stepsOf(pre: unknown): string[] | undefined {
  if (!isJsonObject(pre)) return undefined;
  const { type, pattern } = pre;
  if (type === "Sequence" && Array.isArray(pre.pretokenizers)) {
    const steps = pre.pretokenizers.map(stepsOf);
    return steps.some((step) => step === undefined) ? undefined : steps.flatMap((step) => step ?? []);
  }
  if (type === "ByteLevel") {
    return pre.add_prefix_space === true ? undefined : pre.use_regex === false ? [] : [gpt2Pieces];
  }
  if (type === "Digits") return [pre.individual_digits === true ? String.raw`\p{N}` : String.raw`\p{N}+`];
  if (type === "Split" && isJsonObject(pattern)) {
    return pre.behavior === "Isolated" && typeof pattern.Regex === "string" ? [pattern.Regex] : undefined;
  }
  return undefined;
}

/** llama.cpp's name of a tokenizer.json's `pre_tokenizer`, if it has one. */
export function nameOfCut(pre: unknown): string | undefined {
  const steps = stepsOf(pre)?.join("\n");
  return Object.keys(preTokenizers).find((name) => preTokenizers[name].join("\n") === steps);
}
