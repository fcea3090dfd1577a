/** @file `xft serve`: what OpenAI's own client makes of it, over a socket. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import OpenAI from "npm:openai@7.57.0";
import { basename, join } from "node:path";
import { loadTokenizer, type Tokenizer } from "../../backend/tokenizer.ts";
import type { Device } from "../../backend/runtime.ts";
import { magicoder } from "../../recipes/data/magicoder.ts";
import { generate } from "../../recipes/generate/mod.ts";
import { type Loaded, loadModel } from "../../recipes/model/parameters.ts";
import { serve } from "../../recipes/serve/server.ts";
import { withDevice } from "../devices.ts";
import { checkout, withTempDir, xft } from "../support.ts";
import { writeTinyModel } from "../fixtures/tiny_folder.ts";

interface Setting {
  readonly client: OpenAI;
  readonly url: string;
  readonly loaded: Loaded;
  readonly tokenizer: Tokenizer;
  readonly device: Device;
}

const TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}" +
  "{% if add_generation_prompt %}<assistant>{% endif %}";

/** Serves a model of bytes on the CPU. */
async function served(run: (setting: Setting) => Promise<void>): Promise<void> {
  await withTempDir((folder) =>
    withDevice("cpu", async (device) => {
      await writeTinyModel(folder, "mixture");
      Deno.writeTextFileSync(`${folder}/tokenizer_config.json`, JSON.stringify({ chat_template: TEMPLATE }));
      using tokenizer = loadTokenizer(folder);
      const loaded = loadModel(folder, device);
      await using server = await serve(loaded, tokenizer, device, {
        name: "tiny",
        hostname: "127.0.0.1",
        port: 0,
        batch: 3,
      });
      const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
      await run({ client, url: server.url, loaded, tokenizer, device });
    })
  );
}

Deno.test("serve: completions are those of generate, for many prompts and samples that overlap", () =>
  served(async ({ client, loaded, tokenizer, device }) => {
    const models = await client.models.list();
    assertEquals(models.data.map(({ id }) => id), ["tiny"]);
    const prompts = ["def f():", "x = 1", "# a comment that is longer\n", "("];
    const sampled = { temperature: 0.9, top_p: 0.9, seed: 3, n: 2, max_tokens: 12 };
    const ids = prompts.map((prompt) => tokenizer.encode(prompt));
    const expected = await generate(loaded, tokenizer, device, ids, {
      ...{ temperature: 0.9, topP: 0.9, seed: 3, n: 2, maxTokens: 12 },
    });
    const together = await client.completions.create({ model: "tiny", prompt: prompts, ...sampled });
    assertEquals(together.choices.map(({ text }) => text), expected.map(({ text }) => text));
    const apart = await Promise.all(
      prompts.map((prompt) => client.completions.create({ model: "tiny", prompt, ...sampled })),
    );
    assertEquals(apart.flatMap(({ choices }) => choices.map(({ text }) => text)), expected.map(({ text }) => text));
    const prompt_tokens = ids.reduce((sum, { length }) => sum + length, 0);
    const completion_tokens = expected.reduce((sum, { ids }) => sum + ids.length, 0);
    assertEquals(together.usage?.prompt_tokens, prompt_tokens);
    assertEquals(together.usage?.total_tokens, prompt_tokens + completion_tokens);
  }));

Deno.test("serve: a stream is the whole answer in pieces, with its usage; a stop text is cut", () =>
  served(async ({ client }) => {
    const asked = { model: "tiny", prompt: "def f():", temperature: 0, max_tokens: 20 };
    const whole = await client.completions.create(asked);
    const stream = await client.completions.create({
      ...asked,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "", reason: string | null = null, total: number | undefined;
    for await (const { choices, usage } of stream) {
      text += choices[0]?.text ?? "";
      reason = choices[0]?.finish_reason ?? reason;
      total = usage?.total_tokens ?? total;
    }
    assertEquals([text, reason, total], [
      whole.choices[0].text,
      whole.choices[0].finish_reason,
      whole.usage?.total_tokens,
    ]);
    const stop = text.slice(4, 7);
    const cut = await client.completions.create({ ...asked, stop, echo: true });
    assertEquals(cut.choices[0].text, `def f():${text.slice(0, text.indexOf(stop))}`);
    assertEquals(cut.choices[0].finish_reason, "stop");
  }));

Deno.test("serve: conversations go through the model's chat template, log-probabilities are those of the tokens", () =>
  served(async ({ client, tokenizer, loaded, device }) => {
    const messages = [{ role: "user" as const, content: "hi" }];
    const asked = { model: "tiny", messages, temperature: 0, max_tokens: 6, logprobs: true, top_logprobs: 2 };
    const { choices: [{ message, logprobs }] } = await client.chat.completions.create(asked);
    const prompt = tokenizer.encode("<user>hi<assistant>", { special: false });
    const [expected] = await generate(loaded, tokenizer, device, [prompt], { maxTokens: 6 });
    assertEquals(message.content, expected.text);
    assert(
      logprobs!.content!.every(({ logprob, top_logprobs }) =>
        logprob < 0 && top_logprobs.length === 2 && top_logprobs[0].logprob === logprob
      ),
    );
    let streamed = "";
    const pieces: unknown[] = [];
    for await (const { choices } of await client.chat.completions.create({ ...asked, stream: true })) {
      streamed += choices[0]?.delta.content ?? "";
      pieces.push(...choices[0]?.logprobs?.content ?? []);
    }
    assertEquals(streamed, expected.text);
    assertEquals(pieces, logprobs!.content);
    const text = { model: "tiny", prompt: "x = 1", temperature: 0, max_tokens: 6, logprobs: 1 }, offsets: number[] = [];
    const whole = await client.completions.create(text);
    for await (const { choices } of await client.completions.create({ ...text, stream: true })) {
      offsets.push(...choices[0]?.logprobs?.text_offset ?? []);
    }
    assertEquals(offsets, whole.choices[0].logprobs!.text_offset);
  }));

Deno.test("serve: mistakes are answered in OpenAI's form, and a client that leaves disturbs nobody", () =>
  served(async ({ client, url }) => {
    const refused = (body: object, words: string, status = 400): Promise<unknown> =>
      assertRejects(
        () => client.post("/completions", { body }),
        OpenAI.APIError,
        words,
      ).then((error) => assertEquals((error as InstanceType<typeof OpenAI.APIError>).status, status));
    await refused({ model: "tiny" }, "prompt");
    await refused({ model: "tiny", prompt: "a", temperature: -1 }, "temperature");
    await refused({ model: "tiny", prompt: "a".repeat(600) }, "512");
    await refused({ model: "tiny", prompt: "a", suffix: "b" }, "suffix");
    await refused({ model: "other", prompt: "a" }, "not served", 404);
    const plain = await fetch(`${url}/v1/nothing`);
    assertEquals([plain.status, typeof (await plain.json()).error.message], [404, "string"]);
    const stream = await client.completions.create({ model: "tiny", prompt: "a", max_tokens: 400, stream: true });
    for await (const _ of stream) break;
    const after = await client.completions.create({ model: "tiny", prompt: "a", max_tokens: 4, temperature: 0 });
    assert(after.usage!.completion_tokens <= 4);
  }));

Deno.test("serve: a mixture merged while it loads, asked in the words that it was trained with", () =>
  withTempDir((folder) =>
    withDevice("cpu", async (device) => {
      const moe = join(folder, "moe"), dense = join(folder, "dense"), served = [moe, "--merge", "uniform"];
      await writeTinyModel(moe, "mixture");
      Deno.writeTextFileSync(
        join(moe, "xft_prompt.json"),
        JSON.stringify({ template: "magicoder", prompt: "magicoder" }),
      );
      const merging = await xft(["merge", moe, "--out", dense, "--method", "uniform"], folder);
      assertEquals(merging.code, 0, merging.stderr);
      const messages = [
        { role: "system" as const, content: "Be brief." },
        { role: "user" as const, content: "Hi?" },
        { role: "assistant" as const, content: "Hi." },
        { role: "user" as const, content: "Why?" },
      ];
      const text = magicoder("Be brief.\n\nHi?", "Hi.") + "\n\n@@ Instruction\nWhy?\n\n@@ Response\n";
      using tokenizer = loadTokenizer(dense);
      const options = { maxTokens: 8 }, prompt = tokenizer.encode(text);
      const [expected] = await generate(loadModel(dense, device), tokenizer, device, [prompt], options);
      await using server = await startServer([...served, "--name", "merged", "--device", "cpu"]);
      const { choices } = await server.client.chat.completions.create({
        ...{ model: "merged", messages, temperature: 0, max_tokens: 8 },
      });
      assertEquals(choices[0].message.content, expected.text);
      const args = ["generate", ...served, "--prompt", text, "--max-tokens", "8", "--device", "cpu", "--json"];
      const { stdout } = await xft(args, folder);
      assertEquals(JSON.parse(stdout.trim().split("\n").at(-1)!).results[0].ids, expected.ids);
    })
  ));

/** The command, started; it is told to end when it is disposed of. */
async function startServer(args: readonly string[]) {
  const command = ["run", "-A", "--quiet", checkout("recipes/cli/main.ts"), "serve", ...args, "--port", "0"];
  const process = new Deno.Command(Deno.execPath(), { args: command, stdout: "piped", stderr: "null" }).spawn();
  const decoder = new TextDecoder();
  let url: string | undefined;
  for await (const chunk of process.stdout) {
    url = /http:\/\/127\.0\.0\.1:\d+\/v1/.exec(decoder.decode(chunk))?.[0];
    if (url) break;
  }
  assert(url, "it did not say where it listens");
  return {
    client: new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 }),
    async [Symbol.asyncDispose]() {
      process.kill("SIGINT");
      assertEquals((await process.status).code, 130);
    },
  };
}

Deno.test("serve: the command listens at this machine alone, answers, and an interrupt ends it with 130", () =>
  withTempDir(async (folder) => {
    await writeTinyModel(folder, "dense");
    await using server = await startServer([folder, "--device", "cpu"]);
    const { choices } = await server.client.completions.create({ model: basename(folder), prompt: "a", n: 3 });
    assertEquals(choices.length, 3);
  }));
