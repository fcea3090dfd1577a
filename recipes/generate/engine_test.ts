/** @file Continuous batching: what a text becomes does not depend on what else runs, how many, or in which order. */
import { assert, assertEquals } from "@std/assert";
import type { Device } from "../../backend/runtime.ts";
import { allDevices, withDevice } from "../../tests/devices.ts";
import { tinyDense, tinyMixture, tinyModel } from "../../tests/fixtures/tiny.ts";
import type { Loaded } from "../model/parameters.ts";
import { openEngine, widthFor } from "./engine.ts";
import { generate, type GenerateOptions } from "./generate.ts";
import { sampleKey } from "./sampling/draws.ts";
import { type Prediction, Sequence } from "./sequence.ts";
import { settled } from "./text.ts";

const letters = {
  vocabSize: 10,
  decode: (ids: Iterable<number>) => [...ids].map((id) => String.fromCharCode(97 + id)).join(""),
};
const prompts = [[3, 4, 5, 6], [7], [2, 9, 2, 9, 2, 9, 2, 9, 2, 9, 2, 9, 2, 9, 2, 9, 2, 4, 4], [8, 3], [5, 5, 5]];

/** Keeps what it was told. */
class Recorded extends Sequence {
  readonly seen: number[][] = [];
  override accept(prediction: Prediction): void {
    if (prediction.logits) this.seen.push([...prediction.logits]);
    super.accept(prediction);
  }
}

const recorded = (promptIds: readonly number[], maxTokens: number): Recorded =>
  new Recorded({
    promptIds,
    sampling: { temperature: 1.2 },
    key: sampleKey(1, promptIds, 0),
    maxTokens,
    ends: new Set(),
    stop: [],
  }, letters);

async function logitsOf(
  loaded: Loaded,
  device: Device,
  wanted: readonly (readonly [prompt: readonly number[], tokens: number])[],
  batch: number,
): Promise<number[][][]> {
  using engine = openEngine(loaded, device, { batch, known: 10 });
  const sequences = wanted.map(([prompt, tokens]) => recorded(prompt, tokens));
  engine.add(...sequences);
  while (await engine.round());
  return sequences.map(({ seen }) => seen);
}

for (const name of allDevices()) {
  for (const config of [tinyDense({ max_position_embeddings: 400 }), tinyMixture()]) {
    Deno.test(`engine, ${name}: a ${config.kind}'s logits are the same alone, together and in another order`, () =>
      withDevice(name, async (device) => {
        const loaded = tinyModel(config, device) as Loaded;
        // Different lengths: rows end at different times, and others take their places.
        const wanted = prompts.map((prompt, i) => [prompt, 2 + 3 * i] as const);
        const alone = await logitsOf(loaded, device, wanted, 1), together = await logitsOf(loaded, device, wanted, 3);
        const reversed = (await logitsOf(loaded, device, wanted.toReversed(), 2)).toReversed();
        for (const other of [together, reversed]) {
          assertEquals(other.map(({ length }) => length), wanted.map(([, tokens]) => tokens));
          other.flat(2).forEach((logit, i) => {
            const expected = alone.flat(2)[i];
            assert(Math.abs(logit - expected) <= 2e-5 * (1 + Math.abs(expected)), `${logit}, alone ${expected}`);
          });
        }
      }));
  }

  if (name === "cpu") {
    for (const kind of ["llama", "moe"] as const) {
      Deno.test(`engine, ${name}: a ${kind}'s logits have the same bits alone, among neighbours and in another order`, () =>
        withDevice(name, async (device) => {
          const sizes = {
            ...{
              hidden_size: 192,
              intermediate_size: 160,
              num_attention_heads: 6,
              num_key_value_heads: 2,
              head_dim: 32,
            },
            ...{ vocab_size: 300, max_position_embeddings: 2048 },
          };
          const config = kind === "moe"
            ? tinyMixture({ ...sizes, num_experts: 8, num_selects: 6 })
            : tinyDense({ ...sizes, num_hidden_layers: 3 });
          const loaded = tinyModel(config, device, 1, 4) as Loaded;
          // The long one makes the cache of all grow, to where sums over keys would be cut in parts.
          const wanted = [40, 3, 1, 17, 25, 1100, 9, 60, 33, 16].map((length, i) => {
            const prompt = Array.from({ length }, (_, at) => (7 * at * at + 31 * i + at) % 300);
            return [prompt, 3 + (5 * i) % 7] as const;
          });
          const chosen = [0, 1, 2, 3, 4].map((i) => wanted[i]);
          const alone = await Promise.all(chosen.map(async (one) => (await logitsOf(loaded, device, [one], 1))[0]));
          const seven = await logitsOf(loaded, device, wanted.slice(0, 7), 7);
          const turned = (await logitsOf(loaded, device, wanted.toReversed(), 20)).toReversed();
          for (const [i, expected] of alone.entries()) {
            assertEquals(expected.length, chosen[i][1]);
            assertEquals(seven[i], expected, `prompt ${i} among 7`);
            assertEquals(turned[i], expected, `prompt ${i} among 10, in another order`);
          }
        }));
    }
  }

  Deno.test(`engine, ${name}: samples do not depend on batch, order or neighbours, and differ from each other`, () =>
    withDevice(name, async (device) => {
      const loaded = tinyModel(tinyDense({ max_position_embeddings: 200 }), device);
      const options: GenerateOptions = { maxTokens: 20, temperature: 1, topP: 0.95, n: 3, seed: 5, ignoreEnd: true };
      const all = await generate(loaded, letters, device, prompts, options);
      assertEquals(all.length, 15);
      assertEquals(new Set(all.map(({ text }) => text)).size, 15);
      const one = await generate(loaded, letters, device, [prompts[2]], { ...options, batch: 1 });
      assertEquals(one.map(({ ids }) => ids), all.slice(6, 9).map(({ ids }) => ids));
      const turned = await generate(loaded, letters, device, prompts.toReversed(), { ...options, batch: 4 });
      assertEquals(turned.slice(6, 9).map(({ ids }) => ids), all.slice(6, 9).map(({ ids }) => ids));
    }));
}

Deno.test("engine: those who come later and those who leave early do not disturb the others", () =>
  withDevice("interpreter", async (device) => {
    const loaded = tinyModel(tinyDense({ max_position_embeddings: 300 }), device);
    const [alone] = await logitsOf(loaded, device, [[prompts[0], 30]], 1);
    using engine = openEngine(loaded, device, { batch: 4, known: 10 });
    const first = recorded(prompts[0], 30), leaving = recorded(prompts[1], 30);
    engine.add(first, leaving);
    for (let round = 0; round < 4; round++) await engine.round();
    leaving.finish("cancelled");
    // Longer than what the cache has room for: the rows that run move.
    const long = Array.from({ length: 150 }, (_, i) => i % 10), late = recorded(long, 5);
    engine.add(late);
    while (await engine.round());
    assertEquals([first.finished, leaving.finished, late.finished], ["length", "cancelled", "length"]);
    first.seen.flat().forEach((logit, i) => assert(Math.abs(logit - alone.flat()[i]) < 1e-9));
    const [expected] = await logitsOf(loaded, device, [[long, 5]], 1);
    late.seen.flat().forEach((logit, i) => assert(Math.abs(logit - expected.flat()[i]) < 1e-9));
  }));

Deno.test("engine: a text ends where the model's positions do", () =>
  withDevice("interpreter", async (device) => {
    const loaded = tinyModel(tinyDense({ max_position_embeddings: 20 }), device);
    const [{ ids, finished }] = await generate(loaded, letters, device, [prompts[0]], {
      maxTokens: 100,
      ignoreEnd: true,
    });
    assertEquals([ids.length, finished], [16, "length"]);
  }));

Deno.test("engine: a prompt's width is never below its length, and wastes at most half of it", () => {
  for (let tokens = 17; tokens < 3000; tokens++) {
    assert(
      widthFor(tokens) >= tokens && (tokens < 22 || widthFor(tokens) <= 1.5 * tokens),
      `${tokens}: ${widthFor(tokens)}`,
    );
  }
});

/** Tokens that are one byte each. */
const bytes = {
  vocabSize: 256,
  decode: (ids: Iterable<number>) => new TextDecoder().decode(Uint8Array.from(ids)),
};

Deno.test("sequence: stop texts are cut across tokens and characters, and what is shown is never taken back", () => {
  const feed = (text: string, stop: string[]): { pieces: string[]; text: string; finished?: string } => {
    const pieces: string[] = [], ids = new TextEncoder().encode(text);
    const sequence = new Sequence({
      promptIds: [1],
      sampling: {},
      key: [0, 0],
      maxTokens: ids.length,
      ends: new Set(),
      stop,
      onText: (piece) => pieces.push(piece),
    }, bytes);
    for (const picked of ids) sequence.accept({ picked });
    return { pieces, text: sequence.text, finished: sequence.finished };
  };
  const umlaut = feed("a€b\n\ndef f", ["\n\ndef", "zzz"]);
  assertEquals(umlaut, { pieces: ["a", "€", "b"], text: "a€b", finished: "stop" });
  assertEquals(feed("x\n\nde", ["\n\ndef"]).pieces.join(""), "x\n\nde");
  assertEquals(feed("né→日本", ["日本"]), { pieces: ["n", "é", "→"], text: "né→", finished: "stop" });
  assert(feed("abababac", ["abac"]).text === "abab");
  assert(!feed("日本語", ["本"]).pieces.join("").includes("\uFFFD"));
});

Deno.test("settled: what may become a stop text, or a character, is held back", () => {
  assertEquals(settled("abc", ["cd", "bcx"]), 1);
  assertEquals(settled("abc", ["abc"]), 3);
  assertEquals(settled("ab\uFFFD\uFFFD", []), 2);
});
