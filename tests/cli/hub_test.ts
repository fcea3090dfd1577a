/** @file Publishing to a hub and reading from it, as a user types it: a local server speaks the hub's protocol. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { parse } from "npm:yaml@2.9.1";
import { join } from "node:path";
import { type LocalHub, startLocalHub } from "../fixtures/local_hub.ts";
import { withTempDir } from "../support.ts";
import { writeTinyData, writeTinyModel } from "../fixtures/tiny_folder.ts";
import { additions, ran, refused, writeLines } from "./running.ts";

const token = "hf_mine", large = 4000;
const environment = (hub: LocalHub, folder: string): Record<string, string> => ({
  HF_ENDPOINT: hub.endpoint,
  HF_TOKEN: token,
  HF_HOME: join(folder, "cache"),
});

/** The files of a repository on the hub. */
const filesOf = (hub: LocalHub, name: string) => hub.repositories.get(name)!;
const textOf = (hub: LocalHub, name: string, path: string): string =>
  new TextDecoder().decode(filesOf(hub, name).get(path));

/** A merged model, its mixture, and samples of it that were graded. */
async function prepare(folder: string): Promise<void> {
  const tasks = additions(2);
  writeLines(folder, "tasks.jsonl", tasks);
  writeLines(
    folder,
    "answers.jsonl",
    tasks.map(({ task_id }, i) => ({ task_id, solution: `def f${i}(x):\n    return x + ${2 * i}` })),
  );
  await writeTinyModel(join(folder, "moe"), "mixture");
  const alpha = [[0.1, 0.2, 0], [0.3, 0.1, 0]];
  Deno.writeTextFileSync(
    join(folder, "coefficients.json"),
    JSON.stringify({ version: 1, objective: "xft", lambda: 0.75, alpha, data: { files: ["code.jsonl"], train: 9 } }),
  );
  Deno.writeTextFileSync(
    join(folder, "recipe.json"),
    JSON.stringify({ model: "hf:maker/base@v1", data: [join(folder, "code.jsonl"), "hf:datasets/maker/code/a.jsonl"] }),
  );
  await ran(["merge", "moe", "--out", "merged", "--coefficients", "coefficients.json"], folder);
  const evaluate = ["evaluate", "answers.jsonl", "--benchmark", "humaneval", "--data", "tasks.jsonl"];
  await ran([...evaluate, "--out", "scores"], folder);
}

Deno.test("publish uploads a model with card, recipe, coefficients, samples and hashes, which verify checks", () =>
  withTempDir(async (folder) => {
    await prepare(folder);
    const cards = { "maker/base": { license: "apache-2.0" } };
    await using hub = startLocalHub({ token, large, cards, failures: 1 });
    const variables = environment(hub, folder), name = "models/me/model";
    const command = ["publish", "merged", "--repo", "me/model", "--results", "scores", "--recipe", "recipe.json"];
    command.push("--coefficients", "coefficients.json");

    const planned = await ran([...command, "--dry-run"], folder, variables);
    assertEquals(hub.repositories.size, 0);
    const paths = (planned.files as { path: string }[]).map(({ path }) => path);
    for (const path of ["model.safetensors", "recipe.json", "coefficients.json", "SHA256SUMS", "xft_merge.json"]) {
      assert(paths.includes(path), `${path} is missing from ${paths.join(" ")}`);
    }
    const card = planned.card as string, fields = parse(card.split("---")[1]);
    assertEquals([fields.license, fields.base_model, fields.datasets], ["apache-2.0", "maker/base", ["maker/code"]]);
    const [{ dataset, metrics }] = fields["model-index"][0].results;
    assertEquals([dataset.type, metrics[0].type, metrics[0].value], ["openai/openai_humaneval", "pass@1", 50]);
    assertMatch(card, /\| `samples\/scores` \| humaneval \| plus \| 2 \| pass@1 \| 50\.0 \| 1\.3 to 98\.7 \|/);
    for (const words of ["from_pretrained", "## Recipe", "objective xft, λ 0.75", "dataset_sha256", "code.jsonl"]) {
      assertStringIncludes(card, words);
    }
    assert(!card.includes(folder), "the card names a folder of this machine");

    // The storage fails once; what had arrived is not asked for again.
    assertMatch(await refused(command, folder, variables), /answered 503; the same command goes on/);
    const published = await ran(command, folder, variables);
    assertMatch(String(published.commit), /^[0-9a-f]{40}$/);
    assertEquals(hub.commits, ["Upload model"]);
    assertEquals([...filesOf(hub, name).keys()].sort(), paths.toSorted());
    assert(hub.asked.some((line) => /storage\/\w+\/complete/.test(line)), "no file was sent in parts");
    assertEquals(
      filesOf(hub, name).get("model.safetensors"),
      Deno.readFileSync(join(folder, "merged/model.safetensors")),
    );
    assertEquals(textOf(hub, name, "README.md"), card);
    for (const path of ["samples/scores/report.json", "recipe.json"]) {
      assert(!textOf(hub, name, path).includes(folder), `${path} names a folder of this machine`);
    }
    const again = hub.asked.length;
    await ran(command, folder, variables);
    assertEquals(hub.asked.slice(again).filter((line) => line.startsWith("PUT")), []);

    const verify = ["verify", "hf:me/model", "--data", "tasks.jsonl", "--moe", "moe"];
    const verified = await ran(verify, folder, variables);
    assertEquals([verified.merge, verified.hashes], [{ equal: true }, { equal: true }]);
    assertEquals(
      (verified.results as { samples: number; different: string[] }[]).map(({ samples, different }) => ({
        samples,
        different,
      })),
      [{ samples: 2, different: [] }],
    );
    filesOf(hub, name).set("samples/scores/samples.raw.jsonl", new Uint8Array());
    filesOf(hub, name).set("coefficients.json", new TextEncoder().encode("{}"));
    assertMatch(await refused(verify, folder, variables), /coefficients\.json is not what was published/);
  }));

Deno.test("publish takes a run's folder whole, and refuses without licence or leave to write", () =>
  withTempDir(async (folder) => {
    await prepare(folder);
    const run = join(folder, "run");
    for (const path of ["models", "samples"]) Deno.mkdirSync(join(run, path), { recursive: true });
    Deno.renameSync(join(folder, "merged"), join(run, "models/merged"));
    Deno.renameSync(join(folder, "scores"), join(run, "samples/dense"));
    for (const name of ["recipe.json", "coefficients.json"]) Deno.renameSync(join(folder, name), join(run, name));
    await using hub = startLocalHub({ token, large });
    const variables = environment(hub, folder), command = ["publish", "run", "--repo", "me/model"];
    assertMatch(await refused(command, folder, variables), /^xft: --license NAME: /);
    command.push("--license", "mit");
    const { files, card } = await ran([...command, "--dry-run"], folder, variables) as {
      files: { path: string }[];
      card: string;
    };
    const paths = files.map(({ path }) => path);
    for (const path of ["recipe.json", "coefficients.json", "samples/dense/samples.jsonl"]) {
      assert(paths.includes(path));
    }
    // What the base scores is in the table, but no claim about the model.
    assert(card.includes("`samples/dense`") && !card.includes("model-index"));
    const mixture = await ran(
      ["publish", "moe", "--repo", "me/moe", "--license", "mit", "--dry-run"],
      folder,
      variables,
    );
    assertStringIncludes(mixture.card as string, 'from_pretrained("me/moe", trust_remote_code=True)');
    assert((mixture.files as { path: string }[]).some(({ path }) => path === "modeling_xft_moe.py"));
    assertMatch(await refused(command, folder, { ...variables, HF_TOKEN: "" }), /set HF_TOKEN/);
    assertMatch(await refused(command, folder, { ...variables, HF_TOKEN: "hf_other" }), /may not write there/);
    assertEquals(hub.repositories.size, 0);
  }));

Deno.test("a tuned model's card names the model and the data that the training was given", () =>
  withTempDir(async (folder) => {
    await writeTinyModel(join(folder, "base"), "dense");
    Deno.writeTextFileSync(join(folder, "base/README.md"), "---\nlicense: mit\n---\n");
    writeTinyData(join(folder, "code.jsonl"));
    const data = ["--data", "code.jsonl", "--validation", "2", "--steps", "1", "--batch", "2"];
    await ran(["train", "base", "--stage", "sft", "--out", "tuned", ...data], folder);
    await using hub = startLocalHub({ token, large });
    const publish = ["publish", "tuned", "--repo", "me/tuned", "--dry-run"];
    const { card } = await ran(publish, folder, environment(hub, folder)) as { card: string };
    const fields = parse(card.split("---")[1]);
    assertEquals(
      [fields.license, card.includes("base"), /## Data\n\n- `code\.jsonl`/.test(card)],
      ["mit", true, true],
      card,
    );
    assert(!card.includes(folder), "the card names a folder of this machine");
  }));

Deno.test("recipes, mergekit's files and data flags name files on the hub", () =>
  withTempDir(async (folder) => {
    await using hub = startLocalHub({ token, large });
    const variables = environment(hub, folder);
    await writeTinyModel(join(folder, "a"), "dense");
    await ran(["convert", "a", "--out", "a.gguf", "--to", "gguf", "--dtype", "F16"], folder);
    const read = (path: string) => Deno.readFileSync(join(folder, path));
    const tiny = ["config.json", "model.safetensors", "tokenizer.json"].map((name) =>
      [name, read(`a/${name}`)] as const
    );
    const rows = Array.from({ length: 9 }, (_, i) => ({ instruction: `Add ${i}`, response: `return x + ${i}` }));
    const data = new TextEncoder().encode(rows.map((row) => JSON.stringify(row)).join("\n"));
    hub.repositories.set("models/me/tiny", new Map(tiny));
    hub.repositories.set("models/me/gguf", new Map([["a.gguf", read("a.gguf")], ["README.md", new Uint8Array()]]));
    hub.repositories.set("models/me/two", new Map([["a.gguf", read("a.gguf")], ["in/b.gguf", read("a.gguf")]]));
    hub.repositories.set("datasets/me/code", new Map([["train/a.jsonl", data]]));

    const shown = await ran(["data", "hf:datasets/me/code/train/a.jsonl", "--validation", "0"], folder, variables);
    assertEquals(shown.train, 9);
    assertMatch(
      await refused(["data", "hf:datasets/me/code"], folder, variables),
      /name one of its files, such as hf:datasets\/me\/code\/train\/a\.jsonl/,
    );
    for (const [i, word] of ["hf:me/gguf", "hf:me/two/in/b.gguf"].entries()) {
      assertEquals((await ran(["convert", word, "--out", `from-${i}`], folder, variables)).from, "gguf");
    }
    assertMatch(
      await refused(["convert", "hf:me/two", "--out", "none"], folder, variables),
      /several GGUF files; name one/,
    );

    Deno.writeTextFileSync(
      join(folder, "merge.yml"),
      "merge_method: task_arithmetic\nbase_model: hf:me/tiny\nmodels:\n  - model: hf:me/tiny@main\n  - model: a\n",
    );
    await ran(["merge", "--mergekit", "merge.yml", "--out", "soup"], folder, variables);
    assertEquals(read("soup/model.safetensors"), read("a/model.safetensors"));

    // The recipe keeps its addresses: the card can name the base.
    Deno.writeTextFileSync(
      join(folder, "mine.ts"),
      'export default { model: "hf:me/tiny", data: ["hf:datasets/me/code/train/a.jsonl"], validation: 2,\n' +
        "  moe: { steps: 1, batch: 1, seq: 288 }, learn: { steps: 1, batch: 1, seq: 288 } };\n",
    );
    const result = await ran(["run", "mine.ts", "--out", "run"], folder, variables);
    assertEquals((result.merge as { method: string }).method, "xft");
    const { model, data: kept } = JSON.parse(Deno.readTextFileSync(join(folder, "run/recipe.json")));
    assertEquals([model, kept], ["hf:me/tiny", ["hf:datasets/me/code/train/a.jsonl"]]);
  }));
