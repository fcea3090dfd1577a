/** @file stories260K, converted from llama2.c's file, tells llama2.c's own golden story on every device. */
import { join } from "node:path";
import { assertEquals } from "@std/assert";
import { loadTokenizer } from "../../backend/tokenizer.ts";
import { convert } from "../../recipes/convert/mod.ts";
import { generate } from "../../recipes/generate/mod.ts";
import { loadModel } from "../../recipes/model/parameters.ts";
import { withDevice } from "../devices.ts";
import { sharedData, testDevices, withTempDir } from "../support.ts";

const checkpoint = sharedData("ckpt/stories260K.bin"), pieces = sharedData("ckpt/tok512.bin");
const golden = sharedData("ckpt/expected_stdout.txt");

/** The golden file is a line of Python: `expected_stdout = b'…'`. */
function storyOf(line: string): string {
  const [, literal] = /^expected_stdout = b'(.*)'\s*$/s.exec(line)!;
  return literal.replaceAll("\\n", "\n").replaceAll("\\'", "'");
}

for (const name of testDevices()) {
  Deno.test({
    name: `stories260K on ${name}: greedy text is llama2.c's`,
    ignore: !checkpoint || !pieces || !golden,
    fn: () =>
      withTempDir((folder) =>
        withDevice(name, async (device) => {
          const out = join(folder, "model");
          await convert(checkpoint!, out, { tokenizer: pieces! });
          using tokenizer = loadTokenizer(out);
          const [{ text }] = await generate(loadModel(out, device), tokenizer, device, [tokenizer.encode("")], {
            maxTokens: 200,
          });
          const story = storyOf(Deno.readTextFileSync(golden!)), length = Math.min(story.length, text.trim().length);
          assertEquals(length > 440, true);
          assertEquals(text.trim().slice(0, length), story.slice(0, length));
        })
      ),
  });
}
