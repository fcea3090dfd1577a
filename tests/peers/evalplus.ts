/**
 * @file `deno task test:peers`: evalplus asks our server through its own OpenAI backend, and what it makes of the answers
 * is graded by us. The model knows one program by heart.
 */
import { join } from "node:path";
import { assertEquals } from "@std/assert";
import { loadTokenizer } from "../../backend/tokenizer.ts";
import { loadModel } from "../../recipes/model/parameters.ts";
import { serve } from "../../recipes/serve/server.ts";
import { withDevice } from "../devices.ts";
import { EOS, writeRecitingModel } from "../fixtures/tiny_folder.ts";
import { withTempDir, xft } from "../support.ts";
import { python } from "./python.ts";

const TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}" +
  "{% if add_generation_prompt %}<assistant>{% endif %}";
const pieces = ["Here it is:\n", "```python\n", "def one_more(x):\n", "    return x + 1\n", "```", "\nThat is all."];

const task = (index: number, name: string, sum: number) => ({
  task_id: `HumanEval/${index}`,
  prompt: `def ${name}(x):\n    """ x and ${sum} """\n`,
  entry_point: name,
  canonical_solution: `    return x + ${sum}\n`,
  test: `def check(candidate):\n    assert candidate(1) == ${1 + sum}\n`,
  contract: "",
  base_input: [[1], [2]],
  plus_input: [[3]],
  atol: 0,
});

Deno.test(
  "evalplus' OpenAI backend takes our server for OpenAI's",
  { ignore: !python },
  () =>
    withTempDir((work) =>
      withDevice("cpu", async (device) => {
        const folder = join(work, "model"), tasks = join(work, "tasks.jsonl");
        const rows = [task(0, "one_more", 1), task(1, "two_more", 2)];
        Deno.writeTextFileSync(tasks, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
        // After the template's last letter, the words one after another, and the end.
        const ids = [">".charCodeAt(0), ...pieces.map((_, i) => EOS + 1 + i), EOS];
        await writeRecitingModel(folder, ids, { words: pieces, max_position_embeddings: 2048 });
        Deno.writeTextFileSync(join(folder, "tokenizer_config.json"), JSON.stringify({ chat_template: TEMPLATE }));
        using tokenizer = loadTokenizer(folder);
        const options = { name: "tiny", hostname: "127.0.0.1", port: 0, batch: 2 };
        await using server = await serve(loadModel(folder, device), tokenizer, device, options);
        const args = ["-m", "evalplus.codegen", "--model", "tiny", "--dataset", "humaneval", "--backend", "openai"];
        const { code, stderr } = await new Deno.Command(python!, {
          args: [...args, "--base-url", `${server.url}/v1`, "--greedy", "--root", join(work, "out")],
          env: { HUMANEVAL_OVERRIDE_PATH: tasks, HOME: work, HF_HUB_OFFLINE: "1" },
          signal: AbortSignal.timeout(500_000),
        }).output();
        assertEquals(code, 0, new TextDecoder().decode(stderr));
        const place = join(work, "out/humaneval/tiny_openai_temp_0.0");
        const [raw] = Deno.readTextFileSync(`${place}.raw.jsonl`).trim().split("\n");
        assertEquals(JSON.parse(raw), { task_id: "HumanEval/0", solution: pieces.join("") });
        const graded = ["evaluate", `${place}.jsonl`, "--benchmark", "humaneval", "--data", tasks, "--json"];
        const { stdout } = await xft(graded, work);
        assertEquals(JSON.parse(stdout.trim().split("\n").at(-1)!).passed, { base: 1, plus: 1 });
      })
    ),
);
