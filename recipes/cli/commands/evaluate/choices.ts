/** @file `xft evaluate --benchmark choices`: how often the likeliest of several answers is the right one. */
import { open } from "../../../../backend/open.ts";
import { loadTokenizer } from "../../../../backend/tokenizer.ts";
import { loadQuestions, type Question, splitAtChoice } from "../../../evaluate/benchmarks/choices.ts";
import { exactInterval } from "../../../evaluate/statistics/estimate.ts";
import { logLikelihoods } from "../../../generate/mod.ts";
import { loadModel } from "../../../model/parameters.ts";
import type { commands } from "../../commands.ts";
import type { Context, JsonResult } from "../../context.ts";
import type { Arguments } from "../../flags/schema.ts";

/** Accuracy by a choice's log-likelihood, and by that of a character of it. */
export async function measureChoices(
  { target, data, limit, device: name }: Arguments<typeof commands.evaluate>,
  context: Context,
): Promise<JsonResult> {
  const { sha256, questions } = await loadQuestions(data, limit);
  using tokenizer = loadTokenizer(target);
  using device = await open(name, context);
  const encode = (text: string): readonly number[] => tokenizer.encode(text, { special: false });
  const pairs = questions.flatMap(({ prompt, choices }) =>
    choices.map((choice) => splitAtChoice(prompt, choice, encode, tokenizer.bos ?? tokenizer.eos))
  );
  using bar = context.progress("choices", pairs.length, "answers");
  const found = await logLikelihoods(loadModel(target, device), device, pairs, {
    signal: context.signal,
    onProgress: (done) => bar.update(done),
  });
  const scores = found.map(({ logLikelihood }) => logLikelihood);
  const measures = {
    accuracy: accuracyOf(questions, scores, () => 1),
    accuracy_by_length: accuracyOf(questions, scores, (choice) => choice.length),
  };
  for (const [measure, { value, interval: [low, high] }] of Object.entries(measures)) {
    const [share, from, to] = [value, low, high].map((each) => `${(100 * each).toFixed(1)}%`);
    context.print(`${measure.replaceAll("_", " ")}: ${share} (95%: ${from} to ${to}) of ${questions.length} questions`);
  }
  const protocol = {
    ...{ dataset_sha256: sha256, tasks: questions.length, special_tokens: false, device: device.name },
    length: "characters of the choice",
    interval: "95%: exact (Clopper–Pearson)",
  };
  return { benchmark: "choices", questions: questions.length, ...measures, protocol };
}

/** How often the choice with the highest score, divided by a length, is the right one; the first of equal ones counts. */
function accuracyOf(
  questions: readonly Question[],
  scores: readonly number[],
  length: (choice: string) => number,
): { readonly value: number; readonly interval: readonly [number, number] } {
  let at = 0, right = 0;
  for (const { choices, answer } of questions) {
    const own = choices.map((choice) => scores[at++] / length(choice));
    if (own.indexOf(Math.max(...own)) === answer) right++;
  }
  return { value: right / questions.length, interval: exactInterval(right, questions.length) };
}
