/** @file The samples of a file, and how they were made: as the report beside it says, as flags say, or not known. */
import { basename } from "node:path";
import { UserError } from "../../../../dsl/errors.ts";
import { stopsOf } from "../../../evaluate/benchmarks/prompts.ts";
import { type Protocol, readSamples, type Sample, sanitizers } from "../../../evaluate/mod.ts";
import { unknown, unknownFields, unknownMaking } from "../../../evaluate/protocol.ts";
import { makingBeside } from "../../../evaluate/samples/making.ts";
import type { commands } from "../../commands.ts";
import type { Context } from "../../context.ts";
import { type Arguments, flagName } from "../../flags/schema.ts";

/** Answers to a benchmark's tasks. */
export interface Answers {
  /** What is graded. */
  readonly samples: readonly Sample[];
  /** Before they were sanitised, where they were. */
  readonly raw?: readonly Sample[];
  /** How they were made. */
  readonly protocol: Protocol;
}

type EvaluateArguments = Arguments<typeof commands.evaluate>;

/** What prompts and stops are called where they are the benchmark's. */
export const dataOwn = "the data's own";

/**
 * Samples of a file; those of tasks beyond `--limit` are left out.
 *
 * @throws {UserError} if the file holds no samples, or flags and the report beside it contradict each other
 */
export async function given(
  args: EvaluateArguments,
  tasks: readonly { readonly id: string }[],
  context: Context,
): Promise<Answers> {
  const { target, limit } = args, all = await readSamples(target), wanted = new Set(tasks.map(({ id }) => id));
  const samples = limit === undefined ? all : all.filter(({ task_id }) => wanted.has(task_id));
  const making = makingOf(await makingBeside(target), saidBy(args), basename(target));
  const unsaid = unknownFields(making);
  if (unsaid.length > 0) {
    context.note(
      `how these samples were made is not known (${unsaid.join(", ")}), and compare asks for it: ` +
        "say it by --prompt, --max-tokens, --temperature, --top-p and --sanitizer",
    );
  }
  return { samples, protocol: { samples: target, ...making } };
}

/** Refuses what only a file of samples can be said of. @throws {UserError} */
export function checkGenerated({ sanitizer }: EvaluateArguments): void {
  if (sanitizer === undefined) return;
  throw new UserError(
    `--sanitizer ${sanitizer}: it says what a file of samples went through; a model's answers go through what belongs ` +
      "to --prompt.",
  );
}

/** What flags say of how samples were made. */
function saidBy({ benchmark, prompt, greedy, maxTokens, temperature, topP, sanitizer }: EvaluateArguments): Protocol {
  const said = {
    prompt: prompt === "data" ? dataOwn : prompt,
    stop: prompt === undefined || prompt === "data"
      ? prompt && dataOwn
      : stopsOf(benchmark === "humaneval" ? benchmark : "mbpp", prompt),
    max_tokens: maxTokens,
    temperature: greedy ? 0 : temperature,
    top_p: greedy ? 1 : topP,
    sanitizer: sanitizer && sanitizers[sanitizer],
  };
  return Object.fromEntries(
    Object.entries(said).flatMap(([name, value]) => value === undefined ? [] : [[name, value]]),
  );
}

/** Both together. @throws {UserError} if a flag says otherwise than the report */
function makingOf(reported: Protocol, said: Protocol, file: string): Protocol {
  for (const [name, value] of Object.entries(said)) {
    const [flag, before] = [JSON.stringify(value), JSON.stringify(reported[name] ?? unknown)];
    if (before === flag || before === JSON.stringify(unknown)) continue;
    const camel = name.replaceAll(/_[a-z]/g, (letters) => letters[1].toUpperCase());
    throw new UserError(
      `${flagName(camel)}: ${name} is ${flag} by this flag and ${before} by report.json beside ${file}.`,
    );
  }
  return { ...unknownMaking, ...reported, ...said };
}
