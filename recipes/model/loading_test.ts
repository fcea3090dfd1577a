/** @file What loading a model takes of memory, in a process of its own. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { open } from "../../backend/open.ts";
import { tinyDense, tinyModel } from "../../tests/fixtures/tiny.ts";
import { checkout, withTempDir } from "../../tests/support.ts";
import { layout, sizeOf } from "./layout.ts";
import { saveModel } from "./parameters.ts";

Deno.test({
  name: "loading takes the model's memory in every precision, and no copy of a tensor beside it",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    withTempDir(async (folder) => {
      // Nearly all of it is one tensor: the embedding, which is the head, too.
      const one = { vocab_size: 65536, hidden_size: 512, num_hidden_layers: 1, tie_word_embeddings: true };
      const config = tinyDense(one), weights = layout(config).map(sizeOf), mebibyte = 2 ** 20;
      const total = weights.reduce((sum, size) => sum + size, 0);
      assert(Math.max(...weights) * 2 >= 64 * mebibyte, "a copy of the largest tensor would be seen");
      using cpu = await open("cpu");
      await saveModel(join(folder, "model"), tinyModel(config, cpu), cpu);
      for (const [precision, bytes] of [["f32", 4], ["bf16", 2], ["bf16-master", 6]] as const) {
        const worker = checkout("tests/fixtures/loading.ts"), own = ["run", "--quiet", "--allow-all", "--no-check"];
        const args = [...own, worker, join(folder, "model"), precision];
        const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
        assertEquals(code, 0, new TextDecoder().decode(stderr));
        const { before, peak, tensors } = JSON.parse(new TextDecoder().decode(stdout));
        assert(tensors >= 0.99 * total * bytes, `${precision}: ${tensors} bytes of tensors`);
        // What JavaScript and the library take besides is not the model's.
        const more = (peak - before - tensors) / mebibyte;
        assert(more < 32, `${precision}: ${more.toFixed(1)} MiB more than the model`);
      }
    }),
});
