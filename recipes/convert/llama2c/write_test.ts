/** @file Hugging Face → llama2.c: Karpathy's own file comes back, and what run.c cannot compute is refused. */
import { join } from "node:path";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { openCheckpoint } from "../../../backend/checkpoint.ts";
import { UserError } from "../../../dsl/errors.ts";
import { sharedData, withTempDir } from "../../../tests/support.ts";
import { writeTinyModel } from "../../../tests/fixtures/tiny_folder.ts";
import { convert } from "../mod.ts";

const model = sharedData("ckpt/stories260K.bin"), pieces = sharedData("ckpt/tok512.bin");

Deno.test(
  "stories260K comes back from a Hugging Face folder",
  { ignore: !model || !pieces },
  () =>
    withTempDir(async (folder) => {
      const [there, back, again] = ["there", "back", "again"].map((name) => join(folder, name));
      await convert(model!, there, { tokenizer: pieces! });
      const report = await convert(there, back, { to: "llama2c" });
      assertEquals([report.wrote, report.parameters], ["llama2c", 260032]);
      using was = openCheckpoint(model!);
      using is = openCheckpoint(join(back, "model.bin"));
      assertEquals(is.metadata, was.metadata);
      for (const name of was.tensors.keys()) {
        const [a, b] = [was.read(name), is.read(name)];
        // Theirs were computed in f32.
        if (name.startsWith("rope.")) assert(a.every((x, i) => Math.abs(x - b[i]) < 1e-4), name);
        else assertEquals(b, a, name);
      }
      await convert(join(back, "model.bin"), again, { tokenizer: join(back, "tokenizer.bin") });
      assertEquals(
        Deno.readTextFileSync(join(again, "tokenizer.json")),
        Deno.readTextFileSync(join(there, "tokenizer.json")),
      );
    }),
);

Deno.test("what run.c cannot compute is refused by name, and nothing is written", () =>
  withTempDir(async (folder) => {
    const path = (name: string): string => join(folder, name), out = path("out");
    await writeTinyModel(path("dense"), "dense");
    await writeTinyModel(path("moe"), "mixture");
    const json = JSON.parse(Deno.readTextFileSync(path("dense/config.json")));
    const cases: [object, string][] = [
      [{ rope_theta: 500 }, "rope_theta 500"],
      [{ rope_scaling: { type: "linear", factor: 2 } }, 'RoPE scaling "linear"'],
      [{ rms_norm_eps: 1e-6 }, "rms_norm_eps 0.000001"],
      [{ rms_norm_eps: 1e-5 }, "only SentencePiece's tokenizers"],
    ];
    for (const [change, expected] of cases) {
      Deno.writeTextFileSync(path("dense/config.json"), JSON.stringify({ ...json, ...change }));
      await assertRejects(() => convert(path("dense"), out, { to: "llama2c" }), UserError, expected);
    }
    await assertRejects(() => convert(path("moe"), out, { to: "llama2c" }), UserError, "no mixtures");
    await assertRejects(() => convert(path("moe"), out, { to: "llama2c", dtype: "F16" }), UserError, "weights are F32");
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), ["dense", "moe"]);
  }));
