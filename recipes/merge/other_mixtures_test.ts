/** @file transformers' Mixtral and Qwen2-MoE, merged: the logits that transformers gives for the same merge. */
import { join } from "node:path";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { openCheckpoint } from "../../backend/checkpoint.ts";
import { compile, values } from "../../backend/compile.ts";
import { tensor } from "../../dsl/mod.ts";
import { UserError } from "../../dsl/errors.ts";
import { allDevices, withDevice } from "../../tests/devices.ts";
import { golden, withTempDir } from "../../tests/support.ts";
import { readConfig } from "../convert/huggingface.ts";
import { llama, swiglu, type Tokens } from "../model/llama.ts";
import { loadDense } from "../model/parameters.ts";
import { mergeOther, otherMixture } from "./other_mixtures.ts";

const places = { mixtral: golden("transformers/mixtral"), qwen2_moe: golden("transformers/qwen2_moe") };
const expected: Record<string, { ids: number[]; logits: number[] }> = JSON.parse(
  Deno.readTextFileSync(golden("transformers/merged.json")),
);

for (const device of allDevices()) {
  for (const [name, place] of Object.entries(places)) {
    Deno.test(`merge, ${device}: a ${name} becomes the dense model that transformers' weights give`, () =>
      withTempDir((folder) =>
        withDevice(device, async (device) => {
          const { ids, logits } = expected[name], out = join(folder, "dense");
          await mergeOther(otherMixture(place)!, out);
          const { config, model } = loadDense(out, device);
          const run = compile((tokens: Tokens) => llama(config, model, tokens, swiglu).logits, device);
          const got = await values(
            await run(tensor({ batch: 1, seq: ids.length }, ids, "i32")),
            device,
            "batch",
            "seq",
            "vocab",
          );
          const scale = Math.max(...logits.map(Math.abs));
          logits.forEach((x, i) => assert(Math.abs(got[i] - x) <= 1e-4 * scale, `${i}: ${got[i]}, expected ${x}`));
        })
      ));
  }
}

Deno.test("merge: weights choose among another maker's experts, λ scales the shared one", () =>
  withTempDir(async (folder) => {
    const mixture = otherMixture(places.qwen2_moe)!, out = join(folder, "one");
    const weights = Array.from({ length: 2 }, () => [0, 0, 0, 1, 0, 0]);
    await mergeOther(mixture, out, { weights, lambda: [0.25, 1] });
    using from = openCheckpoint(places.qwen2_moe);
    using to = openCheckpoint(out);
    const read = (name: string): Float32Array => from.read(`model.layers.0.mlp.${name}_proj.weight`);
    assertEquals(
      [...to.read("model.layers.0.mlp.up_proj.weight")],
      [...read("shared_expert.up"), ...read("experts.3.up")],
    );
    const down = to.read("model.layers.0.mlp.down_proj.weight");
    assertEquals([...down.subarray(0, 20)], [...read("shared_expert.down").subarray(0, 20)].map((x) => x / 4));
    const scaled = [...read("experts.3.down").subarray(0, 8)].map((x) => Math.fround(0.75 * x));
    assertEquals([...down.subarray(20, 28)], scaled);
  }));

Deno.test("merge: what does not fit another maker's mixture is refused in words", () =>
  withTempDir(async (folder) => {
    const [mixtral, qwen] = [otherMixture(places.mixtral)!, otherMixture(places.qwen2_moe)!], out = join(folder, "out");
    await assertRejects(() => mergeOther(mixtral, out, { lambda: [0.5, 0.5] }), UserError, "no shared expert");
    await assertRejects(() => mergeOther(qwen, out, { weights: [[1, 0]] }), UserError, "1 layers of 2 routed experts");
    const more = { ...mixtral, experts: 5 };
    await assertRejects(() => mergeOther(more, out), UserError, "experts.4.w1.weight");
    assertThrows(() => readConfig(places.mixtral), UserError, "`merge` makes a dense model");
    const json = JSON.parse(Deno.readTextFileSync(join(places.qwen2_moe, "config.json")));
    Deno.writeTextFileSync(join(folder, "config.json"), JSON.stringify({ ...json, mlp_only_layers: [1] }));
    assertThrows(() => otherMixture(folder), UserError, "layer 1 is no mixture");
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["config.json"]);
  }));
