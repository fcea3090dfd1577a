/**
 * @file `deno task test:peers`: a mixture's folder as others' programs take it. lm-eval's likelihoods and accuracies are
 * ours; a few steps of TRL's SFTTrainer leave the weights that our own training leaves.
 */
import { join } from "node:path";
import { assert, assertEquals } from "@std/assert";
import { loadTokenizer, type Tokenizer } from "../../backend/tokenizer.ts";
import { loadQuestions, splitAtChoice } from "../../recipes/evaluate/benchmarks/choices.ts";
import { logLikelihoods } from "../../recipes/generate/mod.ts";
import { makeBatch } from "../../recipes/model/batch.ts";
import { loadModel } from "../../recipes/model/parameters.ts";
import { train, type TrainLine } from "../../recipes/training/train.ts";
import { treeValues, withDevice } from "../devices.ts";
import { EOS, writeTinyModel } from "../fixtures/tiny_folder.ts";
import { withTempDir, xft } from "../support.ts";
import { ask, python } from "./python.ts";

interface Answer {
  readonly class: string;
  readonly accuracy: number;
  readonly accuracy_by_length: number;
  /** Of each question's choices. */
  readonly likelihoods: readonly (readonly number[])[];
  /** Of a whole text. */
  readonly text: number;
  /** Of the steps. */
  readonly losses: readonly number[];
}

const questions = [
  { prompt: "def add(a, b): return", choices: [" a + b", " a", " b - a + 0"], answer: 0 },
  { prompt: "x = ", choices: ["1", "22", "é"], answer: 1 },
  { prompt: "The sky is ", choices: ["blue", "a fish"], answer: 1 },
  { prompt: "1, 2, 3,", choices: [" 4", " 5", " six"], answer: 2 },
];
const data = [
  { prompt: "Name: cat\n", completion: "a cat" },
  { prompt: "Name: a bird\n", completion: "tweet" },
  { prompt: "2 + 2 =", completion: " 4" },
];
const text = "def f(x):\n    return x + 1\n", steps = 3, rate = 0.1;

/** The training's samples, as TRL makes them: text and answer, with the end token after it. */
const samplesOf = (tokenizer: Tokenizer) =>
  data.map(({ prompt, completion }) => {
    const given = tokenizer.encode(prompt);
    return { ids: [...given, ...tokenizer.encode(completion), EOS], scoredFrom: given.length };
  });

Deno.test(
  "lm-eval and TRL take a mixture's folder for what it is to us",
  { ignore: !python },
  (t) =>
    withTempDir((work) =>
      withDevice("interpreter", async (device) => {
        const folder = join(work, "mixture"), file = join(work, "questions.jsonl"), out = join(work, "tuned");
        await writeTinyModel(folder, "mixture", { balance_loss_weight: 0.5 });
        const special = { tokenizer_class: "PreTrainedTokenizerFast", bos_token: "<bos>", eos_token: "<eos>" };
        Deno.writeTextFileSync(join(folder, "tokenizer_config.json"), JSON.stringify(special));
        Deno.writeTextFileSync(file, questions.map((row) => JSON.stringify(row)).join("\n"));
        const request = { folder, data, questions: file, text, steps, rate, out };
        const theirs = await ask<Answer>("harness_peer.py", request, work);
        assertEquals(theirs.class, "XftMoeForCausalLM");
        using tokenizer = loadTokenizer(folder);
        const loaded = loadModel(folder, device);

        await t.step("lm-eval: likelihoods of choices, and of a text", async () => {
          const encode = (words: string) => tokenizer.encode(words, { special: false });
          const asked = (await loadQuestions(file)).questions;
          const pairs = asked.flatMap(({ prompt, choices }) =>
            choices.map((choice) => splitAtChoice(prompt, choice, encode, tokenizer.bos))
          );
          // A whole text follows the beginning token.
          pairs.push({ context: [tokenizer.bos!], continuation: encode(text) });
          const found = (await logLikelihoods(loaded, device, pairs)).map(({ logLikelihood }) => logLikelihood);
          [...theirs.likelihoods.flat(), theirs.text].forEach((expected, i) =>
            assert(Math.abs(found[i] - expected) <= 1e-4, `${i}: ${found[i]}, lm-eval's is ${expected}`)
          );
          const args = ["evaluate", folder, "--benchmark", "choices", "--data", file, "--device", "cpu", "--json"];
          const { accuracy, accuracy_by_length } = JSON.parse((await xft(args)).stdout.trim().split("\n").at(-1)!);
          assertEquals([accuracy.value, accuracy_by_length.value], [theirs.accuracy, theirs.accuracy_by_length]);
        });

        await t.step("TRL: losses and weights after some steps, the balance loss included", async () => {
          const batch = makeBatch(samplesOf(tokenizer), 24), lines: TrainLine[] = [];
          const { loaded: ours } = await train(loaded, device, {
            schedule: { kind: "constant", rate, steps, warmup: 0 },
            batches: { at: () => batch },
            optimizer: "sgd",
            onLine: (line) => void (line.loss !== undefined && lines.push(line)),
          });
          lines.forEach(({ loss }, i) =>
            assert(Math.abs(loss! - theirs.losses[i]) <= 1e-4, `${i}: ${loss}, TRL's is ${theirs.losses[i]}`)
          );
          assertEquals(lines.length, theirs.losses.length);
          const weights = await treeValues(ours.model, device);
          for (const [path, values] of await treeValues(loadModel(out, device).model, device)) {
            const own = weights.get(path)!;
            values.forEach((x, i) => assert(Math.abs(x - own[i]) <= 1e-4, `${path}: ${own[i]}, TRL's is ${x}`));
          }
        });
      })
    ),
);
