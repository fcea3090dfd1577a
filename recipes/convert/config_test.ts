/** @file config.json: what is read is written again, and what we cannot compute is refused by name. */
import { assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../dsl/errors.ts";
import { formatConfig, parseConfig } from "./config.ts";
import type { JsonObject } from "./fields.ts";
import { expectedTensors } from "./names.ts";

const llama: JsonObject = {
  model_type: "llama",
  vocab_size: 64,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
};

const moe: JsonObject = { ...llama, model_type: "xft_moe", num_experts: 8, num_selects: 6, router: "mlp" };

Deno.test("a config survives writing and reading", () => {
  const scalings = [
    null,
    { type: "linear", factor: 4 },
    {
      rope_type: "llama3",
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    },
    { type: "dynamic", factor: 2 },
    {
      type: "yarn",
      factor: 40,
      original_max_position_embeddings: 4096,
      mscale: 0.707,
      mscale_all_dim: 1,
      beta_fast: 8,
    },
  ];
  const qwen = { ...llama, model_type: "qwen2" }, biased = { ...llama, attention_bias: true };
  for (
    const json of [llama, qwen, biased, moe, { ...moe, qkv_bias: true }, {
      ...moe,
      router: "linear",
      router_noise: true,
      normalised_gates: false,
    }]
  ) {
    for (const rope_scaling of scalings) {
      const config = parseConfig({ ...json, rope_scaling, bos_token_id: 1, eos_token_id: [2, 3] }, "c");
      assertEquals(parseConfig(formatConfig(config), "c"), config);
    }
  }
});

Deno.test("transformers 5 writes RoPE's settings in one object", () => {
  const rope_parameters = { rope_type: "linear", factor: 4, rope_theta: 100000 };
  const config = parseConfig({ ...llama, rope_parameters }, "c");
  assertEquals(config.ropeTheta, 100000);
  assertEquals(config.ropeScaling, { type: "linear", factor: 4 });
  assertEquals(parseConfig({ ...llama, rope_parameters: { rope_type: "default", rope_theta: 5 } }, "c").ropeTheta, 5);
});

Deno.test("tokens that are −1 or null are none", () => {
  const config = parseConfig({ ...llama, bos_token_id: null, pad_token_id: -1, eos_token_id: 2 }, "c");
  assertEquals([config.bos, config.pad, config.eos], [undefined, undefined, [2]]);
});

Deno.test("every config we cannot use is refused in a sentence", () => {
  const cases: [JsonObject, string][] = [
    [{}, 'the field "model_type" is missing'],
    [{ model_type: "gpt2" }, 'model_type "gpt2" is not supported'],
    [{ model_type: "llama_moe_upscaling" }, "with `convert` first"],
    [{ ...llama, hidden_size: undefined }, 'the field "hidden_size" is missing'],
    [{ ...llama, hidden_size: "32" }, '"hidden_size" is "32", a number was expected'],
    [{ ...llama, hidden_size: 3.5 }, "a whole number"],
    [{ ...llama, vocab_size: 0 }, "a whole number"],
    [{ ...llama, mlp_bias: true }, '"mlp_bias" is true'],
    [{ ...llama, hidden_act: "gelu" }, 'activation "gelu"'],
    [{ ...llama, num_key_value_heads: 3 }, "cannot share 3 key heads"],
    [{ ...llama, hidden_size: 33 }, "no multiple"],
    [{ ...llama, head_dim: 7 }, "even width"],
    [{ ...llama, rope_scaling: { rope_type: "longrope", factor: 2 } }, 'RoPE scaling "longrope"'],
    [{ ...llama, partial_rotary_factor: 0.5 }, "only 0.5 of a head's channels are rotated"],
    [{ ...llama, model_type: "mistral", sliding_window: 4096 }, '"sliding_window" is set'],
    [{ ...llama, model_type: "qwen2", use_sliding_window: true, sliding_window: 64 }, '"sliding_window" is set'],
    [{ ...llama, rope_scaling: { type: "linear" } }, 'rope_scaling: the field "factor" is missing'],
    [{ ...llama, rope_theta: 0 }, "above 0"],
    [{ ...llama, eos_token_id: [1, "x"] }, "a token id was expected"],
    [{ ...moe, num_experts: 1 }, "at least one more"],
    [{ ...moe, num_selects: 9 }, "between 2"],
    [{ ...moe, router: "hash" }, 'router "hash"'],
  ];
  for (const [json, expected] of cases) {
    const { message } = assertThrows(() => parseConfig(json, "m/config.json"), UserError, expected);
    assertEquals(message.startsWith("m/config.json"), true, message);
  }
  assertThrows(() => parseConfig([], "c"), UserError, "a JSON object was expected");
});

Deno.test("a mixture's tensors are the dense model's with experts and router in the network's place", () => {
  const dense = expectedTensors(parseConfig(llama, "c"));
  const mixture = expectedTensors(parseConfig({ ...moe, router_noise: true }, "c"));
  assertEquals(dense.length, 2 * 9 + 3);
  assertEquals(mixture.length, 2 * (6 + 8 * 3 + 3) + 3);
  assertEquals(
    mixture.filter(({ name }) => !name.includes(".mlp.")),
    dense.filter(({ name }) => !name.includes(".mlp.")),
  );
  assertEquals(expectedTensors(parseConfig({ ...llama, tie_word_embeddings: true }, "c")).length, dense.length - 1);
});
