/** @file Generation with a cache equals generation without one; rows do not touch each other. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { compile, values } from "../../backend/compile.ts";
import { UserError } from "../../dsl/errors.ts";
import { tensor } from "../../dsl/mod.ts";
import { nodeOf } from "../../dsl/tensor.ts";
import type { Device } from "../../backend/runtime.ts";
import { allDevices, withDevice } from "../../tests/devices.ts";
import { withTempDir } from "../../tests/support.ts";
import { tinyDense, tinyMixture, tinyModel } from "../../tests/fixtures/tiny.ts";
import { generate, logLikelihoods, perplexity } from "./mod.ts";
import { llama, type Model, swiglu, type Tokens } from "../model/llama.ts";
import { type Moe, moe } from "../model/moe.ts";
import { type Loaded, loadModel, saveModel } from "../model/parameters.ts";
import { Sequence } from "./sequence.ts";

const tokenizer = {
  vocabSize: 10,
  decode: (ids: Iterable<number>) => [...ids].map((id) => String.fromCharCode(97 + id)).join(""),
};
const prompts = [[3, 4, 5, 6], [7], [2, 9, 2, 9, 2, 9, 2, 9, 2, 9, 2, 9, 2, 9, 2, 9, 2], [8, 3]];

/** Logits of every position, without a cache. */
async function logitsOf({ config, model }: Loaded, ids: readonly number[], device: Device): Promise<number[][]> {
  const run = compile(
    (tokens: Tokens) =>
      config.kind === "llama"
        ? llama(config, model as Model, tokens, swiglu).logits
        : llama(config, model as Model<Moe>, tokens, moe(config)).logits,
    device,
  );
  const out = await values(
    await run(tensor({ batch: 1, seq: ids.length }, Int32Array.from(ids), "i32")),
    device,
    "batch",
    "seq",
    "vocab",
  );
  return ids.map((_, i) => [...out.subarray(i * config.vocabSize, (i + 1) * config.vocabSize)]);
}

async function greedily(loaded: Loaded, prompt: readonly number[], count: number, device: Device): Promise<number[]> {
  const ids = [...prompt];
  while (ids.length < prompt.length + count) {
    const last = (await logitsOf(loaded, ids, device)).at(-1)!.slice(0, tokenizer.vocabSize);
    ids.push(last.indexOf(Math.max(...last)));
  }
  return ids.slice(prompt.length);
}

for (const name of allDevices()) {
  for (const config of [tinyDense({ rope_theta: 100 }), tinyMixture({ tie_word_embeddings: true })]) {
    Deno.test(`generate, ${name}: a ${config.kind}'s greedy tokens are those without a cache, alone and in batches`, () =>
      withDevice(name, async (device) => {
        const loaded = tinyModel(config, device) as Loaded;
        const got = await generate(loaded, tokenizer, device, prompts, {
          maxTokens: 5,
          ignoreEnd: true,
          batch: 3,
          top: 3,
        });
        for (const [i, prompt] of prompts.entries()) {
          assertEquals(got[i].ids, await greedily(loaded, prompt, 5, device));
          assertEquals(got[i].promptIds, prompt);
          const last = (await logitsOf(loaded, prompt, device)).at(-1)!;
          for (const [id, logit] of got[i].top!) {
            assert(Math.abs(last[id] - logit) < 1e-4, `${logit}, expected ${last[id]}`);
          }
        }
      }));
  }

  Deno.test(`generate, ${name}: rows end by themselves, and the cache grows under the others`, () =>
    withDevice(name, async (device) => {
      const loaded = tinyModel(tinyDense({ max_position_embeddings: 160 }), device);
      const long = prompts.map((ids) => ids.concat(...Array.from({ length: 30 }, () => [2, 5, 3, 7])).slice(0, 121));
      const free = await generate(loaded, tokenizer, device, long, { maxTokens: 12, ignoreEnd: true });
      const ends = [free[0].ids[1], free[1].ids[2]];
      const got = await generate(loaded, tokenizer, device, long, { maxTokens: 12, stopTokens: ends });
      got.forEach(({ ids, finished }, i) => {
        const end = free[i].ids.findIndex((id) => ends.includes(id));
        assertEquals(ids, end < 0 ? free[i].ids : free[i].ids.slice(0, end));
        assertEquals(finished, end < 0 ? "length" : "end");
      });
    }));

  for (const dtype of ["BF16", "F16"] as const) {
    Deno.test(`generate, ${name}: weights stored as ${dtype} give what they give widened to f32`, () =>
      withDevice(name, (device) =>
        withTempDir(async (folder) => {
          for (const config of [tinyDense({ tie_word_embeddings: true }), tinyMixture()]) {
            await saveModel(folder, tinyModel(config, device) as Loaded, device, { dtype, overwrite: true });
            const options = { maxTokens: 4, ignoreEnd: true, top: 10 };
            const narrow = loadModel(folder, device, "stored"), wide = loadModel(folder, device);
            assertEquals(nodeOf(narrow.model.embedding).dtype, dtype.toLowerCase());
            const got = await generate(narrow, tokenizer, device, prompts, options);
            const expected = await generate(wide, tokenizer, device, prompts, options);
            for (const [i, { ids, top }] of got.entries()) {
              assertEquals(ids, expected[i].ids);
              const logits = new Map(expected[i].top);
              for (const [id, logit] of top!) assert(Math.abs(logits.get(id)! - logit) < 1e-4);
            }
          }
        })));
  }
}

Deno.test("generate: a stop text is cut off, sampling repeats with its seed, spare rows are never generated", () =>
  withDevice("interpreter", async (device) => {
    const loaded = tinyModel(tinyDense(), device);
    const [whole] = await generate(loaded, tokenizer, device, [prompts[0]], { maxTokens: 6, ignoreEnd: true });
    const stop = [whole.text.slice(2, 4)];
    const [cut] = await generate(loaded, tokenizer, device, [prompts[0]], { maxTokens: 6, ignoreEnd: true, stop });
    assertEquals([cut.text, cut.finished], [whole.text.slice(0, whole.text.indexOf(stop[0])), "stop"]);
    const sampled = { maxTokens: 6, temperature: 1.5, topP: 0.95, seed: 4, ignoreEnd: true };
    const one = await generate(loaded, tokenizer, device, prompts, sampled);
    const two = await generate(loaded, tokenizer, device, prompts, { ...sampled, batch: 2 });
    assertEquals(one.map(({ ids }) => ids), two.map(({ ids }) => ids));
    const all = await generate(loaded, { ...tokenizer, vocabSize: 3 }, device, prompts, { ...sampled, topP: 1 });
    assert(all.every(({ ids }) => ids.every((id) => id < 3)));
  }));

Deno.test("a text that continues a prompt keeps the space it begins with; one that begins anew has none", () => {
  // As SentencePiece's: a token may begin with a space, which a text's first one loses.
  const pieces = ["<s>", " a", " cat", "s", "\uFFFD"];
  const decode = (ids: Iterable<number>): string =>
    [...ids].map((id) => id ? pieces[id] : "").join("").replace(/^ /, "");
  const options = { sampling: {}, key: [0, 0] as const, maxTokens: 9, ends: new Set<number>(), stop: [" cats"] };
  const textOf = (promptIds: number[], beginsAnew = false): string => {
    const shown: string[] = [];
    const sequence = new Sequence({ ...options, promptIds, beginsAnew, onText: (piece) => shown.push(piece) }, {
      vocabSize: 5,
      decode,
    });
    for (const picked of [2, 2, 1, 2, 3]) sequence.accept({ picked });
    assertEquals([shown.join(""), sequence.finished], [sequence.text, "stop"]);
    return sequence.text;
  };
  assertEquals(textOf([0, 1]), " cat cat a");
  assertEquals(textOf([0]), "cat cat a");
  assertEquals(textOf([0, 1], true), "cat cat a");
  // The prompt ends within a character.
  assertEquals(textOf([0, 4]), "cat cat a");
});

Deno.test("perplexity: the mean over all predicted tokens, however long their texts are", () =>
  withDevice("interpreter", async (device) => {
    const loaded = tinyModel(tinyDense(), device);
    const { nll, tokens } = await perplexity(loaded, device, prompts, { batch: 2 });
    let total = 0, count = 0;
    for (const ids of prompts) {
      const logits = await logitsOf(loaded, ids, device);
      for (let i = 1; i < ids.length; i++, count++) {
        total += Math.log(logits[i - 1].reduce((sum, x) => sum + Math.exp(x), 0)) - logits[i - 1][ids[i]];
      }
    }
    assertEquals(tokens, count);
    assert(Math.abs(nll - total / count) < 1e-6, `${nll}, expected ${total / count}`);
  }));

for (const config of [tinyDense(), tinyMixture()]) {
  Deno.test(`likelihoods of a ${config.kind}: each continuation's own tokens are counted, whatever stands beside it`, () =>
    withDevice("interpreter", async (device) => {
      const loaded = tinyModel(config, device) as Loaded;
      const pairs = [[[3, 4, 5], [6]], [[7], [1, 2, 3]], [[2, 9, 2, 9, 2, 9, 2, 9, 2, 9, 2, 9, 2, 9, 2, 9, 2], [4, 4]]]
        .map(([context, continuation]) => ({ context, continuation }));
      const found = await logLikelihoods(loaded, device, pairs, { batch: 2 });
      for (const [i, { context, continuation }] of pairs.entries()) {
        const ids = [...context, ...continuation], logits = await logitsOf(loaded, ids, device);
        const wanted = continuation.reduce((total, id, k) => {
          const row = logits[context.length + k - 1];
          return total + row[id] - Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0));
        }, 0);
        assertEquals(found[i].tokens, continuation.length);
        assert(Math.abs(found[i].logLikelihood - wanted) < 1e-6, `${found[i].logLikelihood}, expected ${wanted}`);
      }
      const longest = config.maxPositions, long = Array.from({ length: longest }, (_, i) => i % 10);
      const [cut, whole] = await logLikelihoods(loaded, device, [
        { context: [1, 1, ...long.slice(0, -1)], continuation: [5] },
        { context: long.slice(0, -1), continuation: [5] },
      ]);
      assertEquals(cut, whole);
      await assertRejects(
        () => logLikelihoods(loaded, device, [{ context: [], continuation: [1] }]),
        UserError,
        "token",
      );
      await assertRejects(
        () => logLikelihoods(loaded, device, [{ context: [1], continuation: long }]),
        UserError,
        `was made for ${longest}`,
      );
    }));
}

Deno.test("generate: what cannot be continued is refused in words", () =>
  withDevice("interpreter", async (device) => {
    const loaded = tinyModel(tinyDense(), device);
    for (
      const [prompt, words] of [[[], "no tokens"], [[11], "beyond"], [new Array(64).fill(2), "made for 64"]] as const
    ) {
      await assertRejects(() => generate(loaded, tokenizer, device, [prompt], { maxTokens: 1 }), UserError, words);
    }
  }));
