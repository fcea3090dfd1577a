/** @file What loading a model takes of memory, in a process of its own. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { open } from "../../backend/open.ts";
import { tinyDense, tinyModel } from "../../tests/fixtures/tiny.ts";
import { checkout, withTempDir } from "../../tests/support.ts";
import { layout, sizeOf } from "./layout.ts";
import { saveModel } from "./parameters.ts";

Deno.test({
  name: "loading takes one tensor more than the model, and no copy of it",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    withTempDir(async (folder) => {
      const config = tinyDense({ hidden_size: 512, intermediate_size: 4096, num_hidden_layers: 4, head_dim: 128 });
      using cpu = await open("cpu");
      await saveModel(join(folder, "model"), tinyModel(config, cpu), cpu);
      const args = [
        "run",
        "--quiet",
        "--allow-all",
        "--no-check",
        checkout("tests/fixtures/loading.ts"),
        `${folder}/model`,
      ];
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
      assertEquals(code, 0, new TextDecoder().decode(stderr));
      const { before, peak, tensors } = JSON.parse(new TextDecoder().decode(stdout));
      const largest = 4 * Math.max(...layout(config).map(sizeOf)), mebibyte = 2 ** 20;
      assert(tensors > 100 * mebibyte, `${tensors} bytes of tensors`);
      // What JavaScript and the library take besides is not the model's.
      const more = (peak - before - tensors - largest) / mebibyte;
      assert(more < 32, `${more} MiB more than the model and its largest tensor`);
    }),
});
