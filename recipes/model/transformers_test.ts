/** @file transformers' own small models and rotary settings: the same frequencies, logits and greedy tokens. */
import { assert, assertEquals } from "@std/assert";
import { compile, values } from "../../backend/compile.ts";
import { ropeFrequencies, tensor } from "../../dsl/mod.ts";
import { allDevices, withDevice } from "../../tests/devices.ts";
import { golden } from "../../tests/support.ts";
import { parseConfig } from "../convert/config.ts";
import { generate } from "../generate/mod.ts";
import { llama, swiglu, type Tokens } from "./llama.ts";
import { loadDense } from "./parameters.ts";

/** A model of `tests/golden/transformers` as transformers computes it. */
interface Expected {
  readonly ids: readonly number[];
  /** [token][vocab], flat. */
  readonly logits: readonly number[];
  readonly prompt: readonly number[];
  readonly greedy: readonly number[];
}
const read = <T>(name: string): T => JSON.parse(Deno.readTextFileSync(golden(`transformers/${name}.json`)));
const models = Object.entries(read<Record<string, Expected>>("models"));

/** Asserts that numbers differ by at most this share of the largest. */
function assertClose(got: ArrayLike<number>, want: readonly number[], share: number): void {
  assertEquals(got.length, want.length);
  const scale = Math.max(...want.map(Math.abs));
  want.forEach((x, i) => assert(Math.abs(got[i] - x) <= share * scale, `${i}: ${got[i]}, expected ${x}`));
}

Deno.test("rotary frequencies and YaRN's factor are transformers', for the settings of real models", () => {
  type Case = { name: string; config: object; length: number; factor: number; frequencies: number[] };
  for (const { name, config, length, factor, frequencies } of read<Case[]>("rope")) {
    const { headDim, ropeTheta: theta, ropeScaling: scaling } = parseConfig({
      ...config,
      model_type: "llama",
      vocab_size: 8,
      hidden_size: 8,
      intermediate_size: 8,
      num_hidden_layers: 1,
      num_attention_heads: 1,
    }, name);
    const got = ropeFrequencies(headDim, { theta, scaling }, length);
    // Theirs are computed in f32, each rounded by itself.
    frequencies.forEach((x, i) => assert(Math.abs(got[i] - x) <= 2e-6 * x, `${name} ${i}: ${got[i]}, expected ${x}`));
    assertClose([scaling?.type === "yarn" ? scaling.attentionFactor : 1], [factor], 1e-6);
  }
});

for (const device of allDevices()) {
  for (const [name, { ids, logits, prompt, greedy }] of models) {
    Deno.test(`transformers, ${device}: ${name} has their logits and greedy tokens`, () =>
      withDevice(device, async (device) => {
        const loaded = loadDense(golden(`transformers/${name}`), device);
        const run = compile((tokens: Tokens) => llama(loaded.config, loaded.model, tokens, swiglu).logits, device);
        const out = await run(tensor({ batch: 1, seq: ids.length }, Int32Array.from(ids), "i32"));
        assertClose(await values(out, device, "batch", "seq", "vocab"), logits, 1e-4);
        const tokenizer = { vocabSize: loaded.config.vocabSize, decode: () => "" };
        const [got] = await generate(loaded, tokenizer, device, [[...prompt]], {
          maxTokens: greedy.length,
          ignoreEnd: true,
        });
        assertEquals(got.ids, greedy);
      }));
  }
}
