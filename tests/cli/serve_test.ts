/** @file `xft serve`: what OpenAI's own client makes of it, over a socket. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import OpenAI from "npm:openai@7.57.0";
import { loadTokenizer, type Tokenizer } from "../../backend/tokenizer.ts";
import type { Device } from "../../backend/runtime.ts";
import { generate } from "../../recipes/generate/mod.ts";
import { type Loaded, loadModel } from "../../recipes/model/parameters.ts";
import { serve } from "../../recipes/serve/server.ts";
import { withDevice } from "../devices.ts";
import { checkout, withTempDir } from "../support.ts";
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
    for await (
      const { choices } of await client.chat.completions.create({
        ...asked,
        logprobs: false,
        top_logprobs: undefined,
        stream: true,
      })
    ) {
      streamed += choices[0]?.delta.content ?? "";
    }
    assertEquals(streamed, expected.text);
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

Deno.test("serve: the command listens at this machine alone, answers, and an interrupt ends it with 130", () =>
  withTempDir(async (folder) => {
    await writeTinyModel(folder, "dense");
    const args = [
      "run",
      "-A",
      "--quiet",
      checkout("recipes/cli/main.ts"),
      "serve",
      folder,
      "--port",
      "0",
      "--device",
      "cpu",
    ];
    const process = new Deno.Command(Deno.execPath(), { args, stdout: "piped", stderr: "null" }).spawn();
    let url: string | undefined;
    const decoder = new TextDecoder();
    for await (const chunk of process.stdout) {
      url = /http:\/\/127\.0\.0\.1:\d+\/v1/.exec(decoder.decode(chunk))?.[0];
      if (url) break;
    }
    assert(url, "it did not say where it listens");
    const client = new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 });
    const { choices } = await client.completions.create({ model: folder.split("/").at(-1)!, prompt: "a", n: 3 });
    assertEquals(choices.length, 3);
    process.kill("SIGINT");
    assertEquals((await process.status).code, 130);
  }));
